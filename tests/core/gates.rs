//! Every gate at every moment of a turn, and every two of them at once: what the node says, and that it goes on when the
//! last has opened. The table is golden: `BLESS=1 cargo test --test core gates` writes it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use rebootd::decide::{Reason, decide};

use crate::imitation::Cluster;
use crate::scenarios::tell;

/// Name, and the commands of a scenario that shut and open it.
const GATES: [(&str, &str, &str); 25] = [
    ("hold", "hold n1 why", "unhold n1"),
    ("annotation", "annotate n1 why", "unannotate n1"),
    ("hold unreadable", "hold-unreadable n1", "unhold n1"),
    ("pause", "pause why", "resume"),
    ("window", "window n1 1 00:00", "window-always n1"),
    ("freeze", "freeze n1 1440 00:00", "thaw n1"),
    ("dpkg", "install n1 /var/lib/dpkg/lock", "installed n1"),
    ("inhibitor", "inhibit n1 why", "uninhibit n1"),
    ("shutdown", "shutdown n1 7200", "shutdown-cancel n1"),
    ("disk", "disk n1 No space left on device", "disk n1 ok"),
    ("half-installed", "half-installed n1 libc6", "all-installed n1"),
    ("kernel", "kernel-broken n1 no initrd", "kernel-mended n1"),
    ("two members", "members 1 n9", "node-up"),
    ("removal", "taint n1 karpenter.sh/disrupted", "untaint n1"),
    ("blocking pod", "block-by n1 app=web", "block-by-nothing n1"),
    ("kured", "kured n1", "end n1 kured"),
    ("other node", "node-down n9", "node-up"),
    ("only node", "only-node", "node-up"),
    ("others unreadable", "others-unreadable", "node-up"),
    ("alert", "alert n1 NodeDown", "alert-over n1"),
    ("alerts unreadable", "alerts-unreadable n1", "alert-over n1"),
    ("policy", "policy-typo n1 unknown key", "policy-mended n1"),
    ("configuration", "configuration-typo n1 unknown key", "configuration-mended n1"),
    ("API", "api-down", "api-up"),
    ("hook unit", "hook-missing n1 before-reboot", "hook-unwanted n1 before-reboot"),
];

/// A node whose only pod is kept by a budget, and may be named by its label.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["n1"], 1);
    for command in
        ["pod n1 web", "label n1 web app=web", "keep n1", "drain-timeout n1 3600", "min-interval n1 1"]
    {
        tell(&mut cluster, command);
    }
    cluster
}

/// Phase and reasons now.
fn stand(cluster: &Cluster) -> String {
    let host = &cluster.hosts[0];
    let decision = decide(&host.world, &host.settings);
    let kinds: Vec<&str> = decision.reasons.iter().map(Reason::kind).collect();
    format!("{} {}", decision.phase.word(), kinds.join(" ")).trim_end().to_owned()
}

/// Opens them one after the other; the node must not reboot before the last, and has to after it.
fn open(cluster: &mut Cluster, commands: &[&str]) {
    tell(cluster, "let-go n1");
    let (last, first) = commands.split_last().unwrap();
    for command in first {
        tell(cluster, command);
        cluster.run(200);
        assert_eq!(cluster.hosts[0].boot, 1, "it rebooted beside a shut gate:\n{}", cluster.story.join("\n"));
    }
    tell(cluster, last);
    cluster.run(400);
    let story = cluster.story.join("\n");
    assert!(
        cluster.hosts[0].boot == 2 && cluster.is_clean(),
        "it does not go on after {commands:?}:\n{story}"
    );
}

fn shut(gates: &[(&str, &str, &str)], in_mid_drain: bool) -> String {
    let mut cluster = cluster();
    if in_mid_drain {
        tell(&mut cluster, "request n1");
        cluster.run(120);
    }
    gates.iter().for_each(|(_, shut, _)| drop(tell(&mut cluster, shut)));
    if !in_mid_drain {
        tell(&mut cluster, "request n1");
    }
    cluster.run(100);
    let stands = stand(&cluster);
    let commands: Vec<&str> = gates.iter().map(|(_, _, open)| *open).collect();
    open(&mut cluster, &commands);
    stands
}

#[test]
fn gates_shut_and_open_alone_and_in_pairs() {
    let mut table =
        "# What a node says 100 s after a gate has shut: before its claim, and in mid-drain.\n".to_owned();
    for gate in GATES {
        let [before, amid] = [false, true].map(|in_mid_drain| shut(&[gate], in_mid_drain));
        writeln!(table, "{:<18} {before:<45} {amid}", gate.0).unwrap();
    }
    table.push_str("\n# Two of them.\n");
    for (number, first) in GATES.iter().enumerate() {
        for second in &GATES[number + 1..] {
            // Opening one of these opens the other.
            if first.2 == second.2 {
                continue;
            }
            let [before, amid] = [false, true].map(|in_mid_drain| shut(&[*first, *second], in_mid_drain));
            writeln!(table, "{:<36} {before:<60} {amid}", format!("{}, {}", first.0, second.0)).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/gates.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), table);
}
