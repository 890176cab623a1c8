//! What is kept of a lab after its end: journals, the audit log, the state of the cluster.

use std::fs;
use std::path::Path;

use crate::command;
use crate::faults;
use crate::host::Host;

use super::stage::Stage;

const AUDIT_LINES: usize = 3000;

/// Writes everything into a directory; what cannot be had is said there instead.
pub(super) async fn keep(stage: &Stage, directory: &Path) {
    for host in &stage.lab.hosts {
        let write = |kind: &str, text: &str| {
            let _ = fs::write(directory.join(format!("{}.{kind}", host.name())), text);
        };
        write("rebootd.journal", &journal(host, Some("rebootd")).await);
        write("journal", &journal(host, None).await);
        write("console.log", &command::tail(&host.console_log(), usize::MAX));
        let boots: Vec<String> = host.boots().iter().map(|boot| format!("{boot:?}\n")).collect();
        write("boots", &boots.concat());
    }
    let _ = faults::keep(&stage.lab, directory);
    let audit = command::tail(&stage.lab.control_plane.audit_log(), AUDIT_LINES);
    let _ = fs::write(directory.join("audit.log"), audit);
    let _ = fs::write(directory.join("cluster"), stage.observer.state().to_string());
    let objects = ["get", "nodes,pods,poddisruptionbudgets", "--all-namespaces", "-owide"];
    let slots = ["get", "leases", "--namespace=rebootd", "-oyaml"];
    for (name, arguments) in [("objects", &objects[..]), ("slots.yaml", &slots[..])] {
        let text = stage.lab.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}\n"));
        let _ = fs::write(directory.join(name), text);
    }
}

/// All boots; read from the host's files where it is off.
async fn journal(host: &Host, unit: Option<&str>) -> String {
    if let Ok(text) = host.journal(unit).await {
        return text;
    }
    let directory = format!("--directory={}", host.root().join("var/log/journal").display());
    let mut arguments = vec!["--no-pager", "--quiet", "--output=short-iso-precise", &directory];
    arguments.extend(unit.map(|unit| ["--unit", unit]).iter().flatten());
    command::run("journalctl", &arguments).await.unwrap_or_else(|error| format!("{error:#}\n"))
}
