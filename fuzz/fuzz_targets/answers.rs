//! Answers of the API server and of Prometheus, one a line, and what the core makes of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::cluster::fuzzing::answer;
use rebootd::decide::Memory;
use rebootd_fuzz::{is_fit, look, settings, world};

fuzz_target!(|content: &[u8]| {
    let mut facts = Vec::new();
    for body in content.split(|byte| *byte == b'\n').take(6) {
        let (events, told) = answer(body);
        told.iter().for_each(|text| is_fit(text));
        facts.extend(events);
    }
    if facts.is_empty() {
        return;
    }
    let (mut world, settings) = (world(Memory::default()), settings());
    for seconds in [1001, 1100, 1200, 5000, 200_000] {
        look(&mut world, &settings, facts.clone(), seconds);
    }
});
