//! Answers of the API server and of Prometheus, one a line, and what the core makes of them: the Node, the slots, the
//! kubelet's Lease, the pods, the budgets, then any other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::cluster::fuzzing::answer;
use rebootd::decide::{Memory, Part};
use rebootd_fuzz::{is_fit, look, settings, world};

fuzz_target!(|content: &[u8]| {
    let mut facts = Vec::new();
    let parts = [Part::Node, Part::Slots, Part::Kubelet, Part::Pods, Part::Budgets];
    let parts = parts.into_iter().chain(std::iter::repeat(Part::Others));
    for (part, body) in parts.zip(content.split(|byte| *byte == b'\n').take(10)) {
        let (events, told) = answer(part, body);
        told.iter().for_each(|text| is_fit(text));
        facts.extend(events);
    }
    if facts.is_empty() {
        return;
    }
    let (mut world, settings) = (world(Memory::default()), settings());
    for seconds in [1001, 1002, 1003, 1004, 1100, 1101, 5000, 200_000] {
        look(&mut world, &settings, facts.clone(), seconds);
    }
});
