//! The files by which root and people hand tokens to the daemon, and what it keeps beside its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::host::{credential, offered};
use rebootd_fuzz::{SECRET, file, is_fit};

fuzz_target!(|content: &[u8]| {
    match offered::parse(content) {
        Ok(offered) => {
            assert!(offered.server.is_err() || offered.server.is_ok_and(|it| it.starts_with("https://")));
        }
        Err(error) => is_fit(&error.to_string()),
    }
    let token = file("token", b"t");
    file("credential.json", content);
    if let Err(error) = credential::load(token.parent().unwrap()) {
        // No token stands there.
        is_fit(&error.to_string().replace(SECRET, ""));
    }
});
