//! What was found out about one workload.

use serde::{Deserialize, Serialize};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nobody notices anything.
    Note,
    /// Somebody may notice the reboot.
    Warns,
    /// It could not be found out.
    Unknown,
    /// A node with a pod of it does not reboot.
    Blocks,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By which programs and people know this kind of finding; never changed.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The object that it is about, beside the workload: `poddisruptionbudget/api`.
    pub about: Option<String>,
    /// What is so, and what follows from it.
    pub found: String,
    /// What it was seen by.
    pub evidence: Vec<String>,
    /// What to change, if there is something.
    pub remedy: Option<Remedy>,
    /// By whom it was accepted: the annotation's reason, and its end.
    pub accepted: Option<String>,
}

/// What to change, in which object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What it does.
    pub what: String,
    /// The object, as `kubectl` names it: `deployment/api`.
    pub object: String,
    /// YAML to paste into it, or all of it if the object is new; empty if there is none to give.
    pub yaml: String,
}

impl Finding {
    /// A finding without evidence and remedy.
    pub(super) fn new(id: &'static str, severity: Severity, found: impl Into<String>) -> Finding {
        Finding {
            id,
            severity,
            about: None,
            found: found.into(),
            evidence: Vec::new(),
            remedy: None,
            accepted: None,
        }
    }

    pub(super) fn about(self, object: impl Into<String>) -> Finding {
        Finding { about: Some(object.into()), ..self }
    }

    pub(super) fn seen(mut self, evidence: impl Into<String>) -> Finding {
        self.evidence.push(evidence.into());
        self
    }

    pub(super) fn remedy(
        self,
        what: impl Into<String>,
        object: impl Into<String>,
        yaml: impl Into<String>,
    ) -> Finding {
        let remedy = Remedy { what: what.into(), object: object.into(), yaml: yaml.into() };
        Finding { remedy: Some(remedy), ..self }
    }
}
