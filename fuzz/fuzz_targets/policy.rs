//! The fleet's policy, over a host's configuration.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rebootd::config::{Files, FleetPolicy, effective};
use rebootd_fuzz::is_fit;

fuzz_target!(|text: &str| {
    let data = BTreeMap::from([("policy.toml".to_owned(), text.to_owned())]);
    let fleet = match FleetPolicy::from_config_map(&data) {
        Ok(fleet) => fleet,
        Err(error) => {
            is_fit(&error.to_string());
            return is_fit(&error.summary());
        }
    };
    let host = "[policy]\nwindow = { start = 'Mon 02:00', length = '4h' }\n".to_owned();
    let files = Files::from_texts(vec![("/f".into(), host)], Path::new("/nowhere")).unwrap();
    let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("zone".to_owned(), "a".to_owned())]);
    for told in [
        files.pool(Some(&fleet), &labels).err(),
        files.policy(Some(&fleet), &labels).err(),
        files.windows(Some(&fleet), &labels).err(),
        effective(&files, Some(&fleet), &labels).err(),
    ] {
        told.iter().for_each(|error| is_fit(&error.to_string()));
    }
});
