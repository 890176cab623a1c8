//! A file of the host's configuration.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rebootd::config::{Files, effective};
use rebootd_fuzz::is_fit;

fuzz_target!(|text: &str| {
    let files = match Files::from_texts(vec![("/f".into(), text.to_owned())], Path::new("/nowhere")) {
        Ok(files) => files,
        Err(error) => return is_fit(&error.to_string()),
    };
    if let Err(error) = files.check() {
        is_fit(&error.to_string());
    }
    match files.settings("n1") {
        Ok(settings) => {
            for day in [0, 20_000, 30_000] {
                settings
                    .policy
                    .windows
                    .iter()
                    .for_each(|it| drop(it.judge(Duration::from_secs(day * 86_400))));
            }
        }
        Err(error) => {
            is_fit(&error.to_string());
            is_fit(&error.summary());
        }
    }
    if let Err(error) = effective(&files, None, &BTreeMap::new()) {
        is_fit(&error.to_string());
    }
});
