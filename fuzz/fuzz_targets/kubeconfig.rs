//! A kubeconfig, read for all that it says, and as root reads the kubelet's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebootd::config::{read_kubelets_cluster, read_persons_kubeconfig};
use rebootd_fuzz::{file, is_fit};

fuzz_target!(|content: &[u8]| {
    let path = file("kubeconfig", content);
    match read_persons_kubeconfig(&path) {
        Ok(access) => {
            assert!(access.server.starts_with("https://"), "{}", access.server);
            is_fit(&format!("{access:?}"));
        }
        Err(error) => is_fit(&error.to_string()),
    }
    match read_kubelets_cluster(&path) {
        Ok((server, _)) => assert!(server.starts_with("https://"), "{server}"),
        Err(error) => is_fit(&error.to_string()),
    }
});
