//! Whole configurations: from directories of files to settings or an error.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::access::{ApiAccess, Credential, PemSource};
use crate::decide::settings::{
    AfterSettings, BarePods, BlockingPodsAfter, Breaker, DrainMode, DrainSettings, EmptyDirPods,
    ForeignCordon, GatesSettings, HooksSettings, HostSettings, Mode, NotifySettings, OnTimeout,
    PolicySettings, Share, SignsSettings, Zones,
};
use crate::decide::{Open, Windows};

mod sample;

/// A directory that belongs to the test and is removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rebootd-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Loads from `usr` and then `etc`, with paths in errors relative to this directory.
    fn load(&self) -> Result<Settings, String> {
        let (usr, etc) = (self.0.join("usr"), self.0.join("etc"));
        load(&[&usr, &etc], "Worker-1\n").map_err(|error| self.shorten(&error.to_string()))
    }

    fn shorten(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }

    fn error(&self) -> String {
        self.load().unwrap_err()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const KUBECONFIG: &str = include_str!("../../tests/config/kubeconfig");

#[test]
fn nothing_configured_gives_the_defaults() {
    let directory = Directory::new("defaults");
    let settings = directory.load().unwrap();
    let policy = PolicySettings {
        urgent: None,
        windows: None,
        drain: DrainMode::Auto,
        window_left: Duration::from_secs(30 * 60),
        min_interval: Duration::from_secs(86_400),
        max_reboots_per_day: None,
        deadline: Some(Duration::from_secs(14 * 86_400)),
        yielding: vec![],
        min_age: Duration::ZERO,
        kexec: false,
        settle: Duration::from_secs(60),
        reboot_timeout: Duration::from_secs(600),
        reboot_tries: 2,
        return_timeout: Duration::from_secs(900),
        breaker: Breaker::Cluster,
        zones: Zones::Any,
        canary: None,
        order: vec![],
    };
    let drain = DrainSettings {
        timeout: None,
        on_timeout: OnTimeout::Abort,
        bare_pods: BarePods::Leave,
        empty_dir_pods: EmptyDirPods::Evict,
        grace_period: None,
        delete: None,
        volume_timeout: Duration::from_secs(120),
        leave_pods: vec![],
        leaving_pods: None,
        labels: [].into(),
        leave_load_balancers: None,
        keep_from_autoscalers: true,
        keep_from_autoscalers_for: Duration::ZERO,
    };
    let expected = Settings {
        node_name: "worker-1".to_owned(),
        pool: "worker".to_owned(),
        pool_is_written: false,
        node_is_written: false,
        credential_node: None,
        credential_ends: None,
        token_life: Duration::from_secs(86_400),
        mode: Mode::Active,
        api: None,
        host: HostSettings {
            sentinel: "/run/reboot-required".into(),
            sentinel_command: Vec::new(),
            sentinel_command_interval: Duration::from_secs(600),
            newer_kernel: false,
            livepatched_min_age: None,
            needrestart: false,
            request_annotation: true,
            max_uptime: None,
            hold: directory.0.join("etc/hold"),
        },
        policy,
        drain,
        signs: SignsSettings { waiting_label: true, waiting_taint: false },
        gates: GatesSettings {
            max_nodes_not_ready: Share::Nodes(0),
            count_cordoned: false,
            min_uptime: Duration::ZERO,
            blocking_pods: vec![],
            blocking_annotations: vec![],
            blocking_pods_after: BlockingPodsAfter::Request,
            blocking_pods_limit: Duration::from_secs(6 * 3600),
            foreign_cordon: ForeignCordon::Wait,
            control_plane_labels: vec![],
            require_installed_packages: true,
            require_policies: false,
            query: None,
            sessions: None,
            require_synchronized_clock: true,
        },
        after: AfterSettings::default(),
        measure: None,
        hooks: HooksSettings::default(),
        notify: NotifySettings::default(),
        sources: vec![],
    };
    assert_eq!(settings, expected);
}

#[test]
fn files_are_read_in_order_and_only_files_that_are_meant() {
    let directory = Directory::new("order");
    directory
        .write("usr/config.toml", "node.pool = 'a'\npolicy.reboot_tries = 5\nmode = 'observe'")
        .write("usr/config.d/99-last.toml", "node.pool = 'b'")
        .write("etc/config.toml", "node.pool = 'c'\nnode.name = 'given'")
        .write("etc/config.d/20-b.toml", "node.pool = 'e'")
        .write("etc/config.d/10-a.toml", "node.pool = 'd'\npolicy.window = 'always'")
        .write("etc/config.d/.hidden.toml", "broken")
        .write("etc/config.d/30-c.toml.dpkg-old", "broken")
        .write("etc/config.d/README", "broken")
        .write("etc/kubeconfig", KUBECONFIG);
    let settings = directory.load().unwrap();
    assert_eq!(settings.pool, "e");
    assert_eq!(settings.node_name, "given");
    assert_eq!(settings.mode, Mode::Observe);
    assert_eq!(settings.policy.windows, Some(Windows::always()));
    assert_eq!(settings.policy.reboot_tries, 5);
    assert_eq!(settings.api.unwrap().server, "https://10.0.0.1:6443");
    let sources: Vec<String> =
        settings.sources.iter().map(|path| directory.shorten(&path.display().to_string())).collect();
    assert_eq!(
        sources,
        [
            "usr/config.toml",
            "usr/config.d/99-last.toml",
            "etc/config.toml",
            "etc/config.d/10-a.toml",
            "etc/config.d/20-b.toml",
            "etc/kubeconfig"
        ]
    );
}

#[test]
fn one_bad_file_is_an_error_even_where_a_later_one_wins() {
    let directory = Directory::new("bad");
    directory
        .write("usr/config.toml", "[policy]\nsettle = '5 parsecs'")
        .write("etc/config.toml", "policy.settle = 5");
    assert!(directory.error().starts_with("usr/config.toml:2:10: unknown unit of time \"parsecs\""));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let directory = Directory::new("unreadable");
    directory.write("etc/config.d/x.toml/file", "");
    assert!(directory.error().starts_with("etc/config.d/x.toml: cannot be read: "));
    fs::remove_dir_all(directory.0.join("etc")).unwrap();
    directory.write("etc/config.d", "");
    assert!(directory.error().starts_with("etc/config.d: cannot be read: "));
    fs::remove_file(directory.0.join("etc/config.d")).unwrap();
    fs::write(directory.0.join("etc/config.toml"), b"mode = '\xff'").unwrap();
    assert!(directory.error().starts_with("etc/config.toml: cannot be read: "));
}

#[test]
fn limits_name_the_key_and_its_place() {
    let directory = Directory::new("limits");
    for (text, message) in [
        ("policy.settle = '999ms'", "1:17: \"settle\" must be at least 1s"),
        ("policy.reboot_timeout = '29s'", "1:25: \"reboot_timeout\" must be at least 30s"),
        ("policy.reboot_tries = 0", "1:23: \"reboot_tries\" must be between 1 and 10"),
        ("policy.min_interval = '11y'", "1:23: \"min_interval\" must be at most 10 years"),
        ("host.sentinel_command_interval = '9s'", "1:34: \"sentinel_command_interval\" must be at least 10s"),
        ("host.max_uptime = '59min'", "1:19: \"max_uptime\" must be at least 1h"),
        ("policy.max_reboots_per_day = 0", "1:30: \"max_reboots_per_day\" must be between 1 and 10"),
        ("drain.timeout = 0", "1:17: \"timeout\" must be at least 1s"),
        ("drain.grace_period = 0", "1:22: \"grace_period\" must be at least 1s"),
        ("drain.delete_after = '5min'", "1:22: \"delete_after\" needs \"delete_namespaces\" as well"),
        ("drain.delete_namespaces = ['a']", "1:27: \"delete_namespaces\" needs \"delete_after\" as well"),
        ("drain.delete_namespaces = []", "1:27: name at least one namespace"),
        ("drain.delete_namespaces = ['A']", "1:27: \"A\" cannot be the name of a namespace"),
        (
            "drain.bare_pods = 'ignore'",
            "1:19: unknown value \"ignore\"; expected \"leave\", \"evict\" or \"refuse\"",
        ),
        (
            "node.name = 'A'",
            "1:13: \"A\" cannot be the name of a node: those have lower-case letters, digits, '-' and '.', at most 253 in all",
        ),
    ] {
        directory.write("etc/config.toml", text);
        assert_eq!(directory.error(), format!("etc/config.toml:{message}"));
    }
    directory.write("etc/config.toml", "policy.min_interval = 0\ndrain.timeout = '1h'");
    let settings = directory.load().unwrap();
    assert_eq!(settings.policy.min_interval, Duration::ZERO);
    assert_eq!(settings.drain.timeout, Some(Duration::from_secs(3600)));
}

#[test]
fn pods_are_deleted_only_where_both_keys_say_so() {
    let directory = Directory::new("delete");
    directory
        .write("etc/config.toml", "[drain]\ndelete_after = '10min'\ndelete_namespaces = ['ci', 'batch']");
    let delete = directory.load().unwrap().drain.delete.unwrap();
    assert_eq!(delete.after, Duration::from_secs(600));
    assert!(delete.namespaces.iter().eq(["batch", "ci"]));
}

#[test]
fn windows_and_freezes_are_tables_or_arrays_of_tables() {
    let directory = Directory::new("windows");
    let load = |text: &str| {
        directory.write("etc/config.toml", &format!("[policy]\n{text}\n"));
        directory.load().map(|settings| settings.policy.windows)
    };
    let wednesday = "{ start = 'Wed 06:00 Europe/Stockholm', length = '2h' }";
    let one = load(&format!("window = {wednesday}")).unwrap().unwrap();
    assert_eq!(Ok(Some(one.clone())), load(&format!("window = [{wednesday}]")));
    assert_eq!(Ok(Some(one)), load("[[policy.window]]\nstart = 'Wed 06:00 Europe/Stockholm'\nlength = '2h'"));
    let freezes = "freeze = [{ from = '2026-12-20 UTC', to = '2027-01-06 UTC', why = 'holidays' }, \
                   { start = 'Fri 12:00', length = '3d' }]";
    assert_eq!(load(freezes), Ok(None), "without a window");
    let windows = load(&format!("window = 'always'\n{freezes}")).unwrap().unwrap();
    let names: Vec<&str> = windows.freezes.iter().map(|freeze| freeze.name.as_str()).collect();
    assert_eq!((windows.open, names), (Open::Always, vec!["holidays", "Fri 12:00"]));
    // The last day is frozen up to its end.
    assert_eq!(windows.freezes[0].window.length, Duration::from_secs(18 * 86_400));
    let until_noon =
        load("window = 'always'\nfreeze = { from = '2026-12-20 UTC', to = '2026-12-20 12:00 UTC' }");
    assert_eq!(until_noon.unwrap().unwrap().freezes[0].window.length, Duration::from_secs(12 * 3600));
    // A later file lifts the freezes of an earlier one.
    directory.write("etc/config.d/1.toml", "policy.freeze = []");
    assert_eq!(load(&format!("window = 'always'\n{freezes}")), Ok(Some(Windows::always())));
}

#[test]
fn wrong_windows_and_freezes_name_their_place() {
    let directory = Directory::new("wrong-windows");
    for (text, message) in [
        ("window = {}", "10: a window has \"start\" and \"length\""),
        ("window = []", "10: name at least one window, or \"always\""),
        (
            "window = 5",
            "10: invalid type: integer `5`, expected \"always\", a table with \"start\" and \"length\", or an array of such tables",
        ),
        (
            "window = { start = 'Wed 06:00', length = 0 }",
            "42: \"length\" must be at least 1min and at most 366d",
        ),
        (
            "window = { start = 'Wed 06:00', length = '2y' }",
            "42: \"length\" must be at least 1min and at most 366d",
        ),
        ("window = { start = 'Wed 25:00', length = '2h' }", "20: there is no hour 25; they go from 0 to 23"),
        (
            "window = { start = 'Wed 06:00 Europe/Stokholm', length = '2h' }",
            "20: unknown time zone \"Europe/Stokholm\"; write UTC, or a name such as Europe/Stockholm",
        ),
        (
            "window = [{ start = '*-02-30', length = '2h' }]",
            "21: \"*-02-30\" never comes: there is no such day or time",
        ),
        (
            "window = [{ start = 'daily', lenght = '2h' }]",
            "30: unknown key \"lenght\" in [policy.window]; did you mean \"length\"?",
        ),
        (
            "freeze = [{ from = '2026-12-20', til = '2h' }]",
            "34: unknown key \"til\" in [policy.freeze]; known here: from, to, start, length, why",
        ),
        ("freeze = [{ from = '2026-12-20', to = '2026-12-19' }]", "11: \"to\" must be after \"from\""),
        (
            "freeze = [{ from = '2026-12-20', length = '2h' }]",
            "11: a freeze has either \"from\" and \"to\", or \"start\" and \"length\"",
        ),
        (
            "freeze = [{ from = 'Fri', to = '2026-12-19' }]",
            "20: \"Fri\" is not one date; write for example 2026-12-20 or 2026-12-20 18:00 UTC",
        ),
    ] {
        directory.write("etc/config.toml", &format!("[policy]\n{text}"));
        assert_eq!(directory.error(), format!("etc/config.toml:2:{message}"), "{text}");
    }
}

#[test]
fn settings_with_which_no_reboot_could_start_in_time_are_mistakes() {
    let directory = Directory::new("never");
    let short = "window = [{ start = 'Sat', length = '20min' }, { start = 'Sun', length = '10min' }]\n";
    let left = "so no reboot could ever start";
    for (text, mistake) in [
        (format!("[policy]\n{short}"), Some(left)),
        (format!("[policy]\n{short}window_left = '25min'"), Some(left)),
        (format!("[policy]\n{short}window_left = '20min'"), None),
        (format!("[policy]\n{short}window_left = '5min'\n[drain]\ntimeout = '1h'"), None),
        ("[policy]\nwindow = { start = 'Sat', length = '2h' }\n[drain]\ntimeout = '3h'".into(), Some(left)),
        // Windows without a gap between them are one.
        ("[policy]\nwindow = { start = '*:0/10', length = '10min' }".into(), None),
        ("[policy]\nwindow = { start = '2..4:0/10', length = '10min' }\nwindow_left = '3h'".into(), None),
        (
            "[policy]\nwindow = { start = '2..4:0/10', length = '10min' }\nwindow_left = '4h'".into(),
            Some(left),
        ),
        ("[policy]\nmin_age = '15d'".into(), Some("longer than \"deadline\" (14d)")),
        ("[policy]\nmin_age = '2d'\ndeadline = '1d'".into(), Some("every request would be overdue first")),
        ("[policy]\nmin_age = '2d'\ndeadline = '2d'".into(), None),
        ("[policy]\nmin_age = '20d'\ndeadline = 0".into(), None),
    ] {
        directory.write("etc/config.toml", &text);
        match mistake {
            Some(mistake) => assert!(directory.error().contains(mistake), "{text}: {}", directory.error()),
            None => assert!(directory.load().is_ok(), "{text}"),
        }
    }
}

#[test]
fn a_host_name_that_no_node_can_have_asks_for_a_name() {
    // Not where the node gets a credential for itself, which says its name.
    assert_eq!(load(&[], "my_host").unwrap().node_name, "");
    let by_keys = "[api]\nserver = 'https://a'\ncertificate_authority = '/a'\ntoken_file = '/nowhere'";
    let directory = Directory::new("nameless");
    directory.write("etc/config.toml", by_keys);
    let error = load(&[&directory.0.join("etc")], "my_host").unwrap_err();
    assert!(error.to_string().ends_with("this is the host name, set \"name\" in [node]"), "{error}");
    assert_eq!(error.place(), None);
}

#[test]
fn access_by_keys() {
    let directory = Directory::new("keys");
    let server = "[api]\nserver = 'https://a:1'\n";
    let authority = "certificate_authority = '/ca'\n";
    let load = |rest: &str| {
        directory.write("etc/config.toml", &format!("{server}{rest}"));
        directory.load().map(|settings| settings.api.unwrap())
    };
    let access = |credential| ApiAccess {
        server: "https://a:1".to_owned(),
        certificate_authority: PemSource::File("/ca".into()),
        credential,
    };
    assert_eq!(
        load(&format!("{authority}token_file = '/t'")),
        Ok(access(Credential::TokenFile("/t".into())))
    );
    assert_eq!(
        load(&format!("{authority}client_certificate = '/c'\nclient_key = '/k'")),
        Ok(access(Credential::ClientCertificate {
            certificate: PemSource::File("/c".into()),
            key: PemSource::File("/k".into())
        }))
    );
    for (rest, message) in [
        ("token_file = '/t'", "2:10: \"server\" needs \"certificate_authority\" as well"),
        ("A", "2:10: \"server\" needs \"token_file\", or \"client_certificate\" and \"client_key\" as well"),
        ("Aclient_key = '/k'", "2:10: \"server\" needs \"client_certificate\" as well"),
        ("Aclient_certificate = '/c'", "2:10: \"server\" needs \"client_key\" as well"),
        (
            "Atoken_file = '/t'\nclient_key = '/k'",
            "5:14: either \"token_file\" or a client certificate, not both",
        ),
        (
            "Atoken_file = '/t'\nkubeconfig = '/k'",
            "5:14: either \"kubeconfig\" or \"server\" (etc/config.toml:2:10), not both",
        ),
        ("Atoken_file = 't'", "4:14: \"token_file\" must be an absolute path"),
    ] {
        let error = load(&rest.replace('A', authority)).unwrap_err();
        assert_eq!(error, format!("etc/config.toml:{message}"));
    }
    directory.write("etc/config.toml", "api.token_file = '/t'");
    assert_eq!(
        directory.error(),
        "etc/config.toml:1:18: this has no effect without \"server\"; a kubeconfig brings its own credential"
    );
}

#[test]
fn a_kubeconfig_that_is_promised_must_be_there() {
    let directory = Directory::new("promised");
    let path = directory.0.join("elsewhere");
    directory.write("etc/config.toml", &format!("api.kubeconfig = '{}'", path.display()));
    assert_eq!(directory.error(), "etc/config.toml:1:18: there is no such kubeconfig");
    directory.write("elsewhere", KUBECONFIG);
    assert_eq!(directory.load().unwrap().sources.last(), Some(&path));
}

#[test]
fn all_mistakes_of_all_files_are_told() {
    let directory = Directory::new("all");
    directory
        .write("etc/config.d/1.toml", "mode = 1\nx = 1")
        .write("usr/config.toml", "[policy]\nsettle = 0");
    assert_eq!(
        directory.error(),
        "etc/config.d/1.toml:1:8: expected \"active\" or \"observe\"\n\
         etc/config.d/1.toml:2:1: unknown key \"x\"; known here: mode, node, api, host, policy, drain, gates, after, \
         prometheus, hooks, notify\n\
         usr/config.toml:2:10: \"settle\" must be at least 1s"
    );
    directory.write("usr/config.toml", "").write(
        "etc/config.d/1.toml",
        "[drain]\ndelete_after = 9\nleave_load_balancers = 9\ntimeout = 9\n[gates]\nquery = 'x'\n[api]\nclient_key = '/k'",
    );
    let error = directory.error();
    let places: Vec<&str> = error.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["2:16", "3:24", "6:9", "8:14"].map(|place| format!("etc/config.d/1.toml:{place}")));
}

#[test]
fn kept_files_that_an_earlier_version_allowed_still_work() {
    let directory = Directory::new("kept");
    let text = "[gates]\nquery = 'up'\n[prometheus]\nurl = 'http://p'\ntoken_file = '/t'";
    let stored = serde_json::json!({
        "files": [["/etc/rebootd/config.toml", text]], "administrators": directory.0.join("etc"),
    });
    directory.write("kept.json", &stored.to_string());
    assert!(Files::load(&directory.0.join("kept.json")).unwrap().settings("n").is_ok());
    let fresh = Files::from_texts(vec![("f".into(), text.to_owned())], &directory.0).unwrap();
    assert!(fresh.settings("n").unwrap_err().to_string().contains("unencrypted"));
}

#[test]
fn a_text_with_very_many_mistakes_is_told_in_a_moment_and_in_short() {
    for text in ["=\n", "k=1\n[x]\n", "[[policy.freeze]]\na=1\n"] {
        let error = Files::from_texts(vec![("f".into(), text.repeat(50_000))], Path::new("/x")).unwrap_err();
        assert!(error.to_string().lines().count() <= 50, "{text}");
    }
    let keys: String = (0..60_000).map(|number| format!("k{number}=1\n")).collect();
    assert!(Files::from_texts(vec![("f".into(), keys)], Path::new("/x")).is_err());
    let long = format!("{} = 1", "k".repeat(900_000));
    let error = Files::from_texts(vec![("f".into(), long)], Path::new("/x")).unwrap_err().to_string();
    assert!(error.len() < 2000, "{}", error.len());
    assert!(Files::from_texts(vec![("f".into(), "#".repeat(2 << 20))], Path::new("/x")).is_err());
}

#[test]
fn what_others_wrote_is_clean_in_errors() {
    let text = "[policy]\n\"\\u001b[31mHACK\\u0007\\nLINE\\u202e\" = 1";
    let error =
        Files::from_texts(vec![("f".into(), text.to_owned())], Path::new("/x")).unwrap_err().to_string();
    assert!(!error.contains(char::is_control) && !error.contains('\u{202e}'), "{error:?}");
}
