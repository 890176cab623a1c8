//! What one configuration file says. Every key is optional, an unknown one is an
//! error: a mistyped key would otherwise leave a default in force that nobody wants.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checks::{Expression, ObjectsKey, PrometheusUrl, ServicePort};
use super::error::{ConfigError, Place};
use super::value::{
    AbsolutePath, Command, LabelSelector, Labels, Namespaces, NodeName, PoolName, ServerAddress, Sessions,
};
use super::windows::{FreezeKey, WindowKey};
use crate::decide::settings::{
    AtLimit, BarePods, DrainMode, EmptyDirPods, Mode, OnHookFailure, OnTimeout, Yielding,
};
use crate::notation::TimeSpan;

/// A configuration file that was read and understood.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The file's content, which turns the byte ranges in `keys` into lines.
    pub(super) text: String,
    pub(super) keys: Keys,
}

/// All keys of a file, see rebootd.toml(5) for their meaning. A new key goes here,
/// into [`KNOWN_KEYS`] and into [`super::merge`].
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) mode: Option<Spanned<Mode>>,
    pub(super) node: NodeKeys,
    pub(super) api: ApiKeys,
    pub(super) host: HostKeys,
    pub(super) policy: PolicyKeys,
    pub(super) drain: DrainKeys,
    pub(super) gates: GatesKeys,
    pub(super) after: AfterKeys,
    pub(super) prometheus: PrometheusKeys,
    pub(super) hooks: HooksKeys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [node]")]
pub(super) struct NodeKeys {
    pub(super) name: Option<Spanned<NodeName>>,
    pub(super) pool: Option<Spanned<PoolName>>,
    pub(super) waiting_label: Option<Spanned<bool>>,
    pub(super) waiting_taint: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [api]")]
pub(super) struct ApiKeys {
    pub(super) kubeconfig: Option<Spanned<AbsolutePath>>,
    pub(super) server: Option<Spanned<ServerAddress>>,
    pub(super) certificate_authority: Option<Spanned<AbsolutePath>>,
    pub(super) token_file: Option<Spanned<AbsolutePath>>,
    pub(super) client_certificate: Option<Spanned<AbsolutePath>>,
    pub(super) client_key: Option<Spanned<AbsolutePath>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [host]")]
pub(super) struct HostKeys {
    pub(super) sentinel: Option<Spanned<AbsolutePath>>,
    pub(super) sentinel_command: Option<Spanned<Command>>,
    pub(super) sentinel_command_interval: Option<Spanned<TimeSpan>>,
    pub(super) newer_kernel: Option<Spanned<bool>>,
    pub(super) livepatched_min_age: Option<Spanned<TimeSpan>>,
    pub(super) needrestart: Option<Spanned<bool>>,
    pub(super) request_annotation: Option<Spanned<bool>>,
    pub(super) max_uptime: Option<Spanned<TimeSpan>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [policy]")]
pub(super) struct PolicyKeys {
    pub(super) window: Option<Spanned<WindowKey>>,
    pub(super) freeze: Option<Spanned<FreezeKey>>,
    pub(super) window_left: Option<Spanned<TimeSpan>>,
    pub(super) drain: Option<Spanned<DrainMode>>,
    pub(super) min_interval: Option<Spanned<TimeSpan>>,
    pub(super) max_reboots_per_day: Option<Spanned<u32>>,
    pub(super) min_age: Option<Spanned<TimeSpan>>,
    pub(super) deadline: Option<Spanned<TimeSpan>>,
    pub(super) give_up_after_deadline: Option<Spanned<Vec<Yielding>>>,
    pub(super) kexec: Option<Spanned<bool>>,
    pub(super) settle: Option<Spanned<TimeSpan>>,
    pub(super) reboot_timeout: Option<Spanned<TimeSpan>>,
    pub(super) reboot_tries: Option<Spanned<u32>>,
    pub(super) return_timeout: Option<Spanned<TimeSpan>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [drain]")]
pub(super) struct DrainKeys {
    pub(super) timeout: Option<Spanned<TimeSpan>>,
    pub(super) on_timeout: Option<Spanned<OnTimeout>>,
    pub(super) bare_pods: Option<Spanned<BarePods>>,
    pub(super) empty_dir_pods: Option<Spanned<EmptyDirPods>>,
    pub(super) grace_period: Option<Spanned<TimeSpan>>,
    pub(super) delete_after: Option<Spanned<TimeSpan>>,
    pub(super) delete_namespaces: Option<Spanned<Namespaces>>,
    pub(super) volume_timeout: Option<Spanned<TimeSpan>>,
    pub(super) labels: Option<Spanned<Labels>>,
    pub(super) leave_load_balancers: Option<Spanned<TimeSpan>>,
    pub(super) keep_from_autoscalers: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [gates]")]
pub(super) struct GatesKeys {
    pub(super) max_nodes_not_ready: Option<Spanned<u32>>,
    pub(super) count_cordoned: Option<Spanned<bool>>,
    pub(super) min_uptime: Option<Spanned<TimeSpan>>,
    pub(super) blocking_pods: Option<Spanned<Vec<LabelSelector>>>,
    pub(super) alerts: Option<Spanned<bool>>,
    pub(super) ignore_alerts: Option<Spanned<Vec<String>>>,
    pub(super) query: Option<Spanned<Expression>>,
    pub(super) sessions: Option<Spanned<Sessions>>,
    pub(super) require_synchronized_clock: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [after]")]
pub(super) struct AfterKeys {
    pub(super) soak: Option<Spanned<TimeSpan>>,
    pub(super) query: Option<Spanned<Expression>>,
    pub(super) object: Option<Spanned<ObjectsKey>>,
    pub(super) pods: Option<Spanned<Vec<LabelSelector>>>,
    pub(super) limit: Option<Spanned<TimeSpan>>,
    pub(super) at_limit: Option<Spanned<AtLimit>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [prometheus]")]
pub(super) struct PrometheusKeys {
    pub(super) url: Option<Spanned<PrometheusUrl>>,
    pub(super) service: Option<Spanned<ServicePort>>,
    pub(super) token_file: Option<Spanned<AbsolutePath>>,
    pub(super) certificate_authority: Option<Spanned<AbsolutePath>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [hooks]")]
pub(super) struct HooksKeys {
    pub(super) before_drain: Option<Spanned<bool>>,
    pub(super) before_reboot: Option<Spanned<bool>>,
    pub(super) after_boot: Option<Spanned<bool>>,
    pub(super) timeout: Option<Spanned<TimeSpan>>,
    pub(super) on_failure: Option<Spanned<OnHookFailure>>,
    pub(super) on_failure_after_boot: Option<Spanned<OnHookFailure>>,
}

/// The keys of each table, "" being the top. A test holds them against [`Keys`],
/// which knows the same names but does not tell them.
pub(super) const KNOWN_KEYS: &[(&str, &[&str])] = &[
    ("", &["mode", "node", "api", "host", "policy", "drain", "gates", "after", "prometheus", "hooks"]),
    ("node", &["name", "pool", "waiting_label", "waiting_taint"]),
    (
        "api",
        &["kubeconfig", "server", "certificate_authority", "token_file", "client_certificate", "client_key"],
    ),
    (
        "host",
        &[
            "sentinel",
            "sentinel_command",
            "sentinel_command_interval",
            "newer_kernel",
            "livepatched_min_age",
            "needrestart",
            "request_annotation",
            "max_uptime",
        ],
    ),
    (
        "policy",
        &[
            "window",
            "freeze",
            "window_left",
            "drain",
            "min_interval",
            "max_reboots_per_day",
            "min_age",
            "deadline",
            "give_up_after_deadline",
            "kexec",
            "settle",
            "reboot_timeout",
            "reboot_tries",
            "return_timeout",
        ],
    ),
    ("policy.window", &["start", "length"]),
    ("policy.freeze", &["from", "to", "start", "length", "why"]),
    (
        "drain",
        &[
            "timeout",
            "on_timeout",
            "bare_pods",
            "empty_dir_pods",
            "grace_period",
            "delete_after",
            "delete_namespaces",
            "volume_timeout",
            "labels",
            "leave_load_balancers",
            "keep_from_autoscalers",
        ],
    ),
    (
        "gates",
        &[
            "max_nodes_not_ready",
            "count_cordoned",
            "min_uptime",
            "blocking_pods",
            "alerts",
            "ignore_alerts",
            "query",
            "sessions",
            "require_synchronized_clock",
        ],
    ),
    ("after", &["soak", "query", "object", "pods", "limit", "at_limit"]),
    ("after.object", &["path", "field", "equals"]),
    ("prometheus", &["url", "service", "token_file", "certificate_authority"]),
    (
        "hooks",
        &["before_drain", "before_reboot", "after_boot", "timeout", "on_failure", "on_failure_after_boot"],
    ),
];

impl File {
    /// Reads the file; None if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::unreadable(path, &error)),
        }
    }

    /// Understands the content of the file at `path`.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        match parse_keys(&text) {
            Ok(keys) => Ok(Self { path: path.to_owned(), text, keys }),
            Err(problem) => Err(ConfigError::at(Place::in_text(path, &text, problem.span), problem.message)),
        }
    }
}

/// What is wrong with the text, and in which bytes of it.
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// Tables by name, each with the keys that it may have.
pub(super) type Known = [(String, &'static [&'static str])];

impl From<toml::de::Error> for Problem {
    fn from(error: toml::de::Error) -> Self {
        Self { span: error.span().unwrap_or_default(), message: error.message().replace('\n', "; ") }
    }
}

fn parse_keys(text: &str) -> Result<Keys, Problem> {
    let known: Vec<_> = KNOWN_KEYS.iter().map(|(table, keys)| ((*table).to_owned(), *keys)).collect();
    check_keys(DeTable::parse(text)?.get_ref(), &known)?;
    Ok(toml::from_str(text)?)
}

/// Finds the unknown key that stands first, at the top or in a known table.
pub(super) fn check_keys(document: &DeTable, known: &Known) -> Result<(), Problem> {
    let unknown = known.iter().flat_map(|(name, _)| {
        let tables = tables(document, name).into_iter();
        tables.flat_map(|content| unknown_keys(known, name, content))
    });
    match unknown.min_by_key(|problem| problem.span.start) {
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// The tables of this name, which are several where they stand in an array.
pub(super) fn tables<'a>(document: &'a DeTable<'a>, name: &str) -> Vec<&'a DeTable<'a>> {
    if name.is_empty() {
        return vec![document];
    }
    let (outer, name) = name.rsplit_once('.').unwrap_or(("", name));
    let values = tables(document, outer).into_iter().filter_map(|table| Some(table.get(name)?.get_ref()));
    let in_value = |value: &'a DeValue<'a>| match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_table()).collect(),
        _ => vec![],
    };
    values.flat_map(in_value).collect()
}

fn unknown_keys(known: &Known, table: &str, content: &DeTable) -> Vec<Problem> {
    let here = keys_of(known, table);
    let unknown = content.iter().filter(|(key, _)| !here.contains(&key.get_ref().as_ref()));
    unknown
        .map(|(key, value)| Problem {
            span: key.span(),
            message: explain_unknown(known, table, key.get_ref(), value.get_ref().is_table()),
        })
        .collect()
}

fn keys_of(known: &Known, table: &str) -> &'static [&'static str] {
    known.iter().find(|(name, _)| name == table).map_or(&[], |(_, keys)| keys)
}

/// Says that the key is unknown and which one may be meant.
fn explain_unknown(known: &Known, table: &str, key: &str, is_table: bool) -> String {
    let what = match (table, is_table) {
        ("", true) => format!("unknown table [{key}]"),
        ("", false) => format!("unknown key \"{key}\""),
        (_, true) => format!("unknown table [{table}.{key}]"),
        (_, false) => format!("unknown key \"{key}\" in [{table}]"),
    };
    let here = keys_of(known, table);
    let has = |name: &str, keys: &[&str]| name != table && keys.contains(&key);
    let below = known.iter().find(|(name, keys)| name.starts_with(&format!("{table}.")) && has(name, keys));
    // A table of the hosts' files may have the name of a key.
    let is_host_table = is_table && KNOWN_KEYS.iter().any(|(name, _)| *name == key);
    let elsewhere = below.or_else(|| known.iter().find(|(name, keys)| has(name, keys) && !is_host_table));
    let hint = match (nearest(key, here), elsewhere.map(|(name, _)| name.as_str())) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, Some("")) => format!("\"{key}\" belongs to the top of the file, before any table"),
        (None, Some(other)) => format!("\"{key}\" belongs in [{other}]"),
        (None, None) => format!("known here: {}", here.join(", ")),
    };
    format!("{what}; {hint}")
}

/// The candidate that is the fewest edits away, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, candidate) =
        candidates.iter().map(|candidate| (edit_distance(word, candidate), *candidate)).min()?;
    // One edit in three letters; with more, any short word is near to any other.
    (distance <= candidate.len().div_ceil(3)).then_some(candidate)
}

/// How many letters have to be inserted, deleted or replaced to turn one word into
/// the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    // `row` holds the distances of the letters of `from` so far to each prefix of `to`.
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, other) in row.iter().skip(1).zip(to.chars()) {
            left = (diagonal + usize::from(letter != other)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse(Path::new("f.toml"), text.to_owned()).unwrap_err().to_string()
    }

    #[test]
    fn unknown_keys_are_errors_with_a_hint() {
        for (text, message) in [
            (
                "[policy]\nsetle = 1",
                "f.toml:2:1: unknown key \"setle\" in [policy]; did you mean \"settle\"?",
            ),
            ("policy.setle = 1", "f.toml:1:8: unknown key \"setle\" in [policy]; did you mean \"settle\"?"),
            (
                "policy = { setle = 1 }",
                "f.toml:1:12: unknown key \"setle\" in [policy]; did you mean \"settle\"?",
            ),
            ("[polcy]\n", "f.toml:1:2: unknown table [polcy]; did you mean \"policy\"?"),
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
                "[policy]\nzzzz = 1\n[drain]\nzz = 1",
                "f.toml:2:1: unknown key \"zzzz\" in [policy]; known here: window, freeze, window_left, drain, \
                 min_interval, max_reboots_per_day, min_age, deadline, give_up_after_deadline, kexec, settle, reboot_timeout, reboot_tries, return_timeout",
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
            ("mode = 'off'", "f.toml:1:8: \"off\" is not a mode; there are \"active\" and \"observe\""),
            ("\n mode = 1", "f.toml:2:9: invalid type: integer `1`, expected a string"),
            ("node = 1", "f.toml:1:8: invalid type: integer `1`, expected a table, as in [node]"),
            ("[host]\nsentinel = 'run/x'", "f.toml:2:12: \"run/x\" is not an absolute path"),
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
        assert!(error("[node]\nname='a'\nname='b'").contains("f.toml:3:1: duplicate key"));
    }

    #[test]
    fn a_span_of_time_may_be_a_number_of_seconds() {
        let file = File::parse(Path::new("f"), "policy.settle = 90".to_owned()).unwrap();
        assert_eq!(file.keys.policy.settle.unwrap().into_inner().0.as_secs(), 90);
    }

    /// serde's own complaint lists the names that [`Keys`] knows.
    #[test]
    fn known_keys_are_those_of_the_struct() {
        for (table, keys) in KNOWN_KEYS {
            let text = if table.is_empty() { "? = 1" } else { "[TABLE]\n? = 1" };
            let text = text.replace("TABLE", table).replace('?', "no-such-key");
            let error = toml::from_str::<Keys>(&text).unwrap_err();
            let listed: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
            assert_eq!(listed, *keys, "[{table}]");
        }
    }

    #[test]
    fn edit_distance_counts_edits() {
        for (from, to, distance) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("setle", "settle", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edit_distance(from, to), distance);
        }
    }
}
