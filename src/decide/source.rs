//! Where requests come from.

use super::Request;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The sentinel file.
    SentinelFile,
    /// The sentinel command.
    SentinelCommand,
    /// A newer kernel than the running one is installed.
    Kernel,
    /// needrestart finds that something outdated is running.
    Needrestart,
    /// The host has been up for too long.
    Uptime,
    /// An annotation of the Node: from a person, a provider, a hypervisor.
    Annotation,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 6] = [
        Source::SentinelFile,
        Source::SentinelCommand,
        Source::Kernel,
        Source::Needrestart,
        Source::Uptime,
        Source::Annotation,
    ];

    /// A short, stable name for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Source::SentinelFile => "sentinel-file",
            Source::SentinelCommand => "sentinel-command",
            Source::Kernel => "kernel",
            Source::Needrestart => "needrestart",
            Source::Uptime => "uptime",
            Source::Annotation => "annotation",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::SentinelFile => "the sentinel file",
            Source::SentinelCommand => "the sentinel command",
            Source::Kernel => "the installed kernels",
            Source::Needrestart => "what needrestart finds",
            Source::Uptime => "the time since boot",
            Source::Annotation => "the Node's annotation rebootd.io/request",
        }
    }
}

/// What a source says; `None` if it has not been asked yet.
pub type Answer = Option<Result<Option<Request>, String>>;
