//! A real Kubernetes cluster of real systemd hosts on one machine, for rebootd's demo, tests and benchmarks.
//!
//! A host is a systemd-nspawn machine that boots systemd, logind, D-Bus and polkit, with a network namespace
//! and a kubelet identity of its own; it really reboots and can be cut off and powered off. The cluster is a
//! real etcd, kube-apiserver, controller manager and scheduler. A host's kubelet is the real one with containerd,
//! or kubemark's hollow one, which pretends the containers. The kernel, its time of day and its uptime are those
//! of this machine.

pub mod audit;
pub mod bench;
pub mod binaries;
pub mod bus;
pub mod cache;
pub mod check;
pub mod command;
pub mod control_plane;
pub mod debian;
pub mod demo;
pub mod dice;
mod disk;
mod drain_cases;
pub mod faults;
pub mod host;
pub mod images;
pub mod kubelet;
pub mod lab;
pub mod machine;
pub mod namespaces;
pub mod network;
pub mod observer;
pub mod package;
pub mod pki;
pub mod processes;
pub mod progress;
pub mod prometheus;
pub mod proxy;
pub mod rebootd;
mod rehearsal;
pub mod rollout;
pub mod scenarios;
mod shop;
mod simulated;
pub mod virtual_machine;
pub mod workload;
