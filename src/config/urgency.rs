//! What a person has declared urgent: the key `urgent.toml` of the ConfigMap `rebootd/policy`, which `rebootctl urgent`
//! writes. It ends by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Place};
use crate::decide::settings::{PolicySettings, Urgent};
use crate::decide::{Open, Window, Windows};
use crate::notation::{Calendar, Selector};
use crate::words::{NOTE, words};

/// Where it is in the ConfigMap.
pub const URGENT_KEY: &str = "urgent.toml";
/// The shortest and the longest time for which something may be urgent.
pub const URGENT_FOR: (Duration, Duration) =
    (Duration::from_secs(60 * 60), Duration::from_secs(14 * 24 * 60 * 60));
const PLACE: &str = "ConfigMap rebootd/policy, urgent.toml";

/// What a person has declared urgent, and for which nodes: for all unless a pool or a selector is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Urgency {
    /// Why.
    pub why: String,
    /// Who says so.
    pub by: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Nodes of this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Nodes with these labels, as `kubectl -l` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

impl Urgency {
    /// Reads what [`Urgency::written`] has written.
    pub fn parse(text: &str) -> Result<Urgency, ConfigError> {
        let refused = |message: String| ConfigError::at(Place::file(Path::new(PLACE)), message);
        if text.len() > NOTE * 20 {
            return Err(refused("is too long; write it by rebootctl urgent".to_owned()));
        }
        let urgency: Urgency =
            toml::from_str(text).map_err(|error| refused(error.message().trim().to_owned()))?;
        if let Some(selector) = &urgency.selector {
            selector.parse::<Selector>().map_err(refused)?;
        }
        let lasts = urgency.until.duration_since(urgency.from).unsigned_abs();
        if urgency.until <= urgency.from || lasts > URGENT_FOR.1 {
            return Err(refused("\"until\" has to come after \"from\", within 14 days".to_owned()));
        }
        Ok(urgency)
    }

    /// As the ConfigMap has it.
    pub fn written(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::nowhere(error.to_string()))
    }

    /// Whether it is for a node of this pool and with these labels.
    pub fn is_for(&self, pool: &str, labels: &BTreeMap<String, String>) -> bool {
        let selects = |text: &String| text.parse::<Selector>().is_ok_and(|selector| selector.selects(labels));
        self.pool.as_ref().is_none_or(|it| it == pool) && self.selector.as_ref().is_none_or(selects)
    }

    /// Adds it to a policy: until its end, its time is a window.
    pub(super) fn lay_over(&self, policy: &mut PolicySettings) {
        let seconds =
            |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
        let (from, until) = (seconds(self.from), seconds(self.until));
        if let Some(start) = Calendar::at(from) {
            let window = Window { start, length: until.saturating_sub(from) };
            let windows =
                policy.windows.get_or_insert(Windows { open: Open::During(vec![]), freezes: vec![] });
            if let Open::During(open) = &mut windows.open {
                open.push(window);
            }
        }
        let why = words(&format!("{} ({})", self.why, self.by), NOTE);
        policy.urgent = Some(Urgent { why, from, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Judgement;

    fn urgency() -> Urgency {
        Urgency {
            why: "CVE-2026-1 \"x\"\n".into(),
            by: "ann@laptop".into(),
            from: "2026-11-28T12:00:00Z".parse().unwrap(),
            until: "2026-11-29T00:00:00Z".parse().unwrap(),
            pool: None,
            selector: Some("tier!=test".into()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let urgency = urgency();
        assert_eq!(Urgency::parse(&urgency.written().unwrap()), Ok(urgency));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let text = urgency().written().unwrap();
        for (old, new, message) in [
            ("why", "whi", "unknown field `whi`"),
            ("2026-11-29", "2026-11-27", "\"until\" has to come after \"from\""),
            ("2026-11-29", "2026-12-29", "within 14 days"),
            ("tier!=test", "tier in (", "ConfigMap rebootd/policy, urgent.toml"),
            ("2026-11-28T12:00:00Z", "soon", "ConfigMap rebootd/policy, urgent.toml"),
        ] {
            let error = Urgency::parse(&text.replace(old, new)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn its_time_is_a_window_whatever_else_is_one() {
        let at = |text: &str| {
            let time: Timestamp = text.parse().unwrap();
            Duration::from_secs(time.as_second().try_into().unwrap())
        };
        let mut policy = PolicySettings::default();
        urgency().lay_over(&mut policy);
        let windows = policy.windows.clone().unwrap();
        let until = Some(at("2026-11-29T00:00:00Z"));
        assert_eq!(windows.judge(at("2026-11-28T12:00:00Z")), Judgement::Open { until });
        assert!(matches!(windows.judge(at("2026-11-29T00:00:00Z")), Judgement::Closed { opens: None, .. }));
        let urgent = policy.urgent.unwrap();
        assert_eq!(urgent.why, "CVE-2026-1 \"x\" (ann@laptop)");
        assert_eq!(Some(urgent.until), until);
    }

    #[test]
    fn it_is_for_the_nodes_that_it_names() {
        let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        assert!(urgency().is_for("worker", &labels("live")) && !urgency().is_for("worker", &labels("test")));
        let of_pool = Urgency { pool: Some("db".into()), selector: None, ..urgency() };
        assert!(of_pool.is_for("db", &BTreeMap::new()) && !of_pool.is_for("worker", &BTreeMap::new()));
    }
}
