//! The files by which root hands tokens to the daemon.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::host::offered;
use rebootd_fuzz::{file, is_fit};

fuzz_target!(|content: &[u8]| {
    if let Err(error) = offered::load(&file("offered.json", content)) {
        is_fit(&error.to_string());
    }
});
