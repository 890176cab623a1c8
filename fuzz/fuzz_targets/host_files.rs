//! What the package manager, needrestart, Livepatch and people leave on the host.
#![no_main]

use std::path::Path;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rebootd::host::packages::HalfInstalled;
use rebootd::host::{graceful, hold, identity, livepatch, needrestart, others, sentinel, upgrades};
use rebootd_fuzz::{file, is_fit};

fuzz_target!(|content: &[u8]| {
    let sentinel = file("reboot-required", b"");
    let path = file("reboot-required.pkgs", content);
    let request = sentinel::read(&sentinel).unwrap().unwrap();
    is_fit(&request.reason);
    request.packages.iter().for_each(|name| is_fit(name));
    match hold::read(&path) {
        Ok(why) => is_fit(&why.unwrap()),
        Err(error) => is_fit(&error),
    }
    match needrestart::read(&path).unwrap() {
        Ok(request) => request.iter().for_each(|it| is_fit(&it.reason)),
        Err(error) => is_fit(&error),
    }
    match HalfInstalled::default().read(&path) {
        Ok(names) => names.first.iter().for_each(|name| is_fit(name)),
        Err(error) => is_fit(&error),
    }
    let upgraded = upgrades::read(&path, Duration::ZERO, Duration::from_secs(u64::MAX));
    upgraded.unwrap().keys().for_each(|name| is_fit(name));
    is_fit(&livepatch::read(&path, Path::new("/no/such/sentinel")).err().unwrap_or_default());
    is_fit(&others::cron_job(&path).unwrap().unwrap_or_default());
    is_fit(&graceful::period(&path).unwrap_or_else(Some).unwrap_or_default());
    is_fit(&identity::machine_id(&path).err().unwrap_or_default());
});
