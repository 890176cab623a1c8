//! Reports: what this node does and waits for, in every place where somebody may look (P9). They run beside the work:
//! if one fails, that is logged and nothing else happens.

pub mod dbus;
pub mod kept;
pub mod messages;
pub mod metrics;
pub mod reboot;
pub mod shown;
pub mod status;
pub mod systemd;
pub mod telemetry;
pub mod webhook;
