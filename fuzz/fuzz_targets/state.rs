//! The state file, and what the core makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::cluster::fuzzing::answer;
use rebootd::decide::Part;
use rebootd::host::memory;
use rebootd_fuzz::{file, is_fit, look, settings, world};

/// A Node that is well, and a slot that it holds.
const CLUSTER: [(Part, &[u8]); 2] = [
    (Part::Node, include_bytes!("../samples/node.json")),
    (Part::Slots, include_bytes!("../samples/slots.json")),
];

fuzz_target!(|content: &[u8]| {
    let path = file("state.json", content);
    let remembered = match memory::load(&path) {
        Ok(remembered) => remembered,
        Err(error) => return is_fit(&error.to_string()),
    };
    memory::store(&path, &remembered).unwrap();
    assert_eq!(memory::load(&path).unwrap(), remembered);
    let facts: Vec<_> = CLUSTER.into_iter().flat_map(|(part, body)| answer(part, body).0).collect();
    let (mut world, settings) = (world(remembered), settings());
    for seconds in [1001, 1002, 1003, 1200, 200_000] {
        look(&mut world, &settings, facts.clone(), seconds);
    }
});
