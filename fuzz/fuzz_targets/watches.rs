//! The lines of a watch, and what the core makes of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::cluster::fuzzing::watched;
use rebootd::decide::Memory;
use rebootd_fuzz::{is_fit, look, settings, world};

fuzz_target!(|content: &[u8]| {
    let mut facts = Vec::new();
    for line in content.split(|byte| *byte == b'\n').take(6) {
        let (events, told) = watched(line);
        told.iter().for_each(|text| is_fit(text));
        facts.extend(events);
    }
    if !facts.is_empty() {
        look(&mut world(Memory::default()), &settings(), facts, 1001);
    }
});
