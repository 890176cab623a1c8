//! Mistakes in a text, and how they are reported.

use super::*;
use crate::config::tables::tables;

fn parse(text: &str) -> Result<Document<'_>, String> {
    Document::parse(Path::new("f.toml"), text, &tables()).map_err(|error| error.to_string())
}

fn error(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn unknown_keys_are_errors_with_a_hint() {
    for (text, message) in [
        ("[policy]\nsetle = 1", "f.toml:2:1: unknown key \"setle\" in [policy]; did you mean \"settle\"?"),
        ("policy.setle = 1", "f.toml:1:8: unknown key \"setle\" in [policy]; did you mean \"settle\"?"),
        (
            "policy = { setle = 1 }",
            "f.toml:1:12: unknown key \"setle\" in [policy]; did you mean \"settle\"?",
        ),
        ("[polcy]\n", "f.toml:1:2: unknown table [polcy]; did you mean [policy]?"),
        ("[node.labels]\n", "f.toml:1:7: unknown table [node.labels]; \"labels\" belongs in [drain]"),
        ("settle = 1", "f.toml:1:1: unknown key \"settle\"; \"settle\" belongs in [policy]"),
        (
            "[policy]\nmode = 'active'",
            "f.toml:2:1: unknown key \"mode\" in [policy]; \"mode\" belongs to the top of the file, before any table",
        ),
        (
            "[host]\nfrob = 1",
            "f.toml:2:1: unknown key \"frob\" in [host]; known here: sentinel, \
             sentinel_command, sentinel_command_interval, newer_kernel, livepatched_min_age, needrestart, \
             request_annotation, max_uptime",
        ),
        (
            "[policy]\nzzzz = 1",
            "f.toml:2:1: unknown key \"zzzz\" in [policy]; known here: window, freeze, window_left, drain, \
             min_interval, max_reboots_per_day, min_age, deadline, give_up_after_deadline, kexec, settle, reboot_timeout, reboot_tries, return_timeout, breaker, zones, canary",
        ),
        (
            "[gates]\nmax_nodes_notready = 1",
            "f.toml:2:1: unknown key \"max_nodes_notready\" in [gates]; did you mean \"max_nodes_not_ready\"?",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn wrong_values_name_their_place() {
    for (text, message) in [
        ("mode = 'off'", "f.toml:1:8: unknown value \"off\"; expected \"active\" or \"observe\""),
        ("\n mode = 1", "f.toml:2:9: expected \"active\" or \"observe\""),
        ("node = 1", "f.toml:1:8: expected a table, as in [node]"),
        (
            "drain = true",
            "f.toml:1:9: expected a table, as in [drain]; the key \"drain\" belongs in [policy]",
        ),
        ("policy.drain = true", "f.toml:1:16: expected \"auto\", \"always\" or \"never\""),
        ("gates.blocking_pods = 'a'", "f.toml:1:23: invalid type: string \"a\", expected a list"),
        (
            "policy.window = “always”",
            "f.toml:1:17: typographic quotes; write straight ones, as in \"always\"",
        ),
        ("policy.window = always", "f.toml:1:17: a text must be in quotes, as in \"always\""),
        (
            "policy.freeze = { from = '12/20/2026', to = '2027-01-06' }",
            "f.toml:1:26: \"12/20/2026\" is not one date; write for example 2026-12-20 or 2026-12-20 18:00 UTC",
        ),
        (
            "policy.freeze = { from = '20.12.2026', to = '2027-01-06' }",
            "f.toml:1:26: \"20.12.2026\" is not a date; write 2026-12-20",
        ),
        ("[host]\nsentinel = 'run/x'", "f.toml:2:12: \"sentinel\" must be an absolute path"),
        ("[host]\nsentinel_command = ['x', '/y']", "f.toml:2:20: \"x\" is not an absolute path"),
        (
            "[policy]\nsettle = '1 min 3 mo'",
            "f.toml:2:10: unknown unit of time \"mo\"; known are us, ms, s, min, h, d, w, M (months) and y",
        ),
        (
            "[policy]\nsettle = -1",
            "f.toml:2:10: expected a number before \"-1\"; write for example \"90s\" or \"2h 30min\"",
        ),
        (
            "[policy]\nsettle = true",
            "f.toml:2:10: invalid type: boolean `true`, expected a time span such as \"2h 30min\" or \"90s\"",
        ),
        (
            "[policy]\nwindow = 'Sat 02:00'",
            "f.toml:2:10: \"Sat 02:00\" is not a window; write \"always\", or for example { start = \"Sat 02:00\", length = \"2h\" }",
        ),
    ] {
        assert_eq!(error(text), message);
    }
    assert_eq!(
        error("[gates]\nblocking_pods = ['app=db', 'app db']"),
        "f.toml:2:17: \"app db\" is not a label selector: expected \",\" before \"db\""
    );
    assert!(error("[gates]\nmax_nodes_not_ready = -1").starts_with("f.toml:2:23: invalid value"));
    assert!(error("[gates]\ncount_cordoned = 1").starts_with("f.toml:2:18: invalid type"));
    assert!(error("[policy]\nreboot_tries = -1").starts_with("f.toml:2:16: invalid value"));
    assert!(error("[policy]\na =\n").starts_with("f.toml:2:4: "));
    for (text, message) in [
        ("[node]\nname='a'\n'name'='b'", "f.toml:3:1: duplicate key \"name\"; the first is at 2:1"),
        ("[node]\n[policy]\n[node]\nname='b'", "f.toml:3:2: duplicate key \"node\"; the first is at 1:2"),
    ] {
        assert_eq!(error(text), message);
    }
}

/// People paste a token where the path of its file belongs, and messages stand in the journal and in the status.
#[test]
fn values_that_may_be_secret_are_never_repeated() {
    let written = [
        "'s3cr3t'",
        "'ey.s3cr3t, expected s3cr3t'",
        "'https://s3cr3t@h'",
        "'https://h/?s3cr3t'",
        "'http://s3cr3t:s3cr3t'",
        "'m/s3cr3t'",
        "['s3cr3t']",
        "{ s3cr3t = 's3cr3t' }",
        "s3cr3t",
        "s3cr3t.ey-x_y",
        "“s3cr3t”",
        "'s3cr3t",
        "\"s3cr3t\\q\"",
        "'''s3cr3t'''x",
    ];
    let values = written.map(|value| (value, "s3cr3t")).into_iter();
    let values = values.chain(["4711", "47.11", "true", "1979-05-27"].map(|value| (value, value)));
    for table in tables().iter().filter(|table| table.is_secret()) {
        for (key, (value, secret)) in
            table.keys().flat_map(|key| values.clone().map(move |value| (key, value)))
        {
            for text in [
                format!("[{}]\n{key} = {value}\n", table.name),
                format!("{} = {{ {key} = {value} }}", table.name),
                format!("[{}]\n{key} = '/x'\n{key} = {value}", table.name),
            ] {
                // An expression in PromQL may be any text, and is no mistake.
                let told = parse(&text).err().map(|error| error.to_string()).unwrap_or_default();
                assert!(!told.contains(secret), "{text}: {told}");
            }
        }
    }
}

#[test]
fn a_span_of_time_may_be_a_number_of_seconds() {
    assert!(parse("policy.settle = 90").is_ok());
    assert_eq!(error("policy.settle = 0"), "f.toml:1:17: \"settle\" must be at least 1s");
}

#[test]
fn every_key_is_read_by_one_struct() {
    for table in tables() {
        let keys: Vec<&str> = table.keys().collect();
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert!(!keys.is_empty() && keys.len() == different.len(), "[{}] {keys:?}", table.name);
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_in_their_order() {
    let text = "mode = 'off'
nods = 1
[policy]
settle = 0
windw = 'always'
reboot_tries = 11
freeze = [
  { from = '2026-12-20', to = '2026-12-19' },
  { start = 'Fri', lenght = '2h', length = 0 },
  { from = '2026-12-20', to = '2026-12-21' },
  { start = 'Wed 25:00' },
]
[[policy.window]]
start = 'daily'
length = '3d'
[[policy.window]]
start = 'daily'
lenght = '3d'
[node]
pool = 'a b'
name = true
";
    let expected = "f.toml:1:8: unknown value \"off\"; expected \"active\" or \"observe\"
f.toml:2:1: unknown key \"nods\"; did you mean \"node\"?
f.toml:4:10: \"settle\" must be at least 1s
f.toml:5:1: unknown key \"windw\" in [policy]; did you mean \"window\"?
f.toml:6:16: \"reboot_tries\" must be between 1 and 10
f.toml:8:3: \"to\" must be after \"from\"
f.toml:9:20: unknown key \"lenght\" in [policy.freeze]; did you mean \"length\"?
f.toml:9:44: \"length\" must be at least 1min and at most 366d
f.toml:11:13: there is no hour 25; they go from 0 to 23
f.toml:18:1: unknown key \"lenght\" in [policy.window]; did you mean \"length\"?
f.toml:20:8: \"a b\" cannot be the name of a pool: it becomes the value of a Kubernetes label, which has 1 to 63 \
letters, digits, '-', '_' and '.' and begins and ends with a letter or a digit
f.toml:21:8: invalid type: boolean `true`, expected a string";
    assert_eq!(error(text), expected);
    assert_eq!(error("a = \nb = 1\nc = [\n").lines().count(), 2);
}
