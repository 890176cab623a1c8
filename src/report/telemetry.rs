//! Logs: to the journal with fields if systemd has connected us to it, to stderr otherwise. Never to both.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. `REBOOTD_LOG=debug` shows more.
pub fn start() {
    let level = match std::env::var("REBOOTD_LOG").as_deref() {
        Ok("debug") => Level::DEBUG,
        Ok("trace") => Level::TRACE,
        _ => Level::INFO,
    };
    let ours = Targets::new().with_target("rebootd", level);
    let registry = tracing_subscriber::registry().with(ours);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(plain(journal)).init(),
        None => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init(),
    }
}

/// Fields keep their own names (`NODE=`, `PHASE=`), and `info` becomes syslog's info.
fn plain(journal: tracing_journald::Layer) -> tracing_journald::Layer {
    use tracing_journald::{Priority, PriorityMappings};
    journal
        .with_field_prefix(None)
        .with_syslog_identifier("rebootd".to_owned())
        .with_priority_mappings(PriorityMappings { info: Priority::Informational, ..PriorityMappings::new() })
}
