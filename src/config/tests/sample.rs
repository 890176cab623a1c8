//! The sample and the manual page, checked against the keys that exist.

use std::collections::BTreeSet;

use super::*;

/// The file that the package installs, with every key in it. The keys of [api] exclude each other, so each way to
/// reach the cluster is tried on its own.
#[test]
fn the_sample_loads_with_every_key_set() {
    let sample = include_str!("../../../packaging/etc/rebootd/config.toml");
    let directory = Directory::new("sample");
    directory.write("etc/config.toml", sample);
    assert_eq!(
        directory.load(),
        Directory::new("sample-empty").load().map(|settings| Settings {
            sources: vec![directory.0.join("etc/config.toml")],
            host: HostSettings { hold: directory.0.join("etc/hold"), ..settings.host },
            ..settings
        })
    );

    let by_token = ["server", "certificate_authority", "token_file"];
    let by_certificate = ["server", "certificate_authority", "client_certificate", "client_key"];
    let mut tried = BTreeSet::new();
    // Prometheus is asked either directly or as a Service, for alerts or with an expression.
    let (directly, as_service) = (["service", "query"], ["url", "alerts", "ignore_alerts"]);
    for (access, left_out) in
        [(&["kubeconfig"][..], &as_service[..]), (&by_token, &directly), (&by_certificate, &directly)]
    {
        let is_access = |key: &str| !all_access_keys().contains(&key) || access.contains(&key);
        let wanted = |key: &str| is_access(key) && !left_out.contains(&key);
        let text: Vec<&str> = sample.lines().map(|line| uncomment(line, wanted)).collect();
        let text = text.join("\n").replace("/etc/rebootd/kubeconfig", "/nowhere/kubeconfig");
        directory.write("etc/config.toml", &text);
        let file = document::Document::parse(Path::new("sample"), &text, &tables::tables());
        assert!(file.is_ok(), "{file:?}");
        match directory.load() {
            Ok(settings) => assert_eq!(settings.api.unwrap().server, "https://kubernetes.example.org:6443"),
            Err(error) => assert!(error.ends_with("there is no such kubeconfig"), "{error}"),
        }
        tried.extend(toml::from_str::<toml::Table>(&text).unwrap().into_iter().flat_map(leaf_keys));
    }
    assert_eq!(tried, known_leaf_keys(), "the sample must show every key");
}

/// The line, uncommented if it contains a wanted key.
fn uncomment(line: &str, wanted: impl Fn(&str) -> bool) -> &str {
    let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = "));
    match key {
        Some((key, _)) if !key.contains(' ') && wanted(key) => &line[1..],
        _ => line,
    }
}

fn all_access_keys() -> Vec<&'static str> {
    tables::tables().iter().filter(|table| table.name == "api").flat_map(|table| table.keys()).collect()
}

fn leaf_keys((key, value): (String, toml::Value)) -> Vec<String> {
    match value {
        toml::Value::Table(table) => table.keys().map(|inner| format!("{key}.{inner}")).collect(),
        _ => vec![key],
    }
}

fn known_leaf_keys() -> BTreeSet<String> {
    let tables = tables::tables();
    // Tables inside tables are values of their keys.
    let outer = tables.iter().filter(|table| !table.name.contains('.'));
    outer.flat_map(|table| table.keys().map(|key| table.dotted(key))).collect()
}

/// The manual must name every key.
#[test]
fn the_manual_describes_every_key() {
    let manual = include_str!("../../../packaging/usr/share/man/man5/rebootd.toml.5");
    for table in tables::tables().iter().filter(|table| !table.name.is_empty()) {
        assert!(manual.contains(&format!(".SS [{}]", table.name)), "{}", table.name);
        for key in table.keys() {
            assert!(manual.contains(&format!("\n.B {key}")), "{}", table.dotted(key));
        }
    }
}
