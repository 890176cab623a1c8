//! Reports: what this node does and waits for, in every place where somebody may look (P9). They run beside the
//! work: one that fails is logged and costs nothing else.

pub mod status;
pub mod systemd;
pub mod telemetry;
