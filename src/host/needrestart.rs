//! What needrestart finds outdated: a unit of the package writes its batch output to a file, because the daemon
//! cannot see other processes. The format is described in needrestart's `README.batch.md`.

use std::io::ErrorKind;
use std::path::Path;

use crate::decide::Request;
use crate::read::{self, NOTICE};
use crate::words::{NOTE, words};

/// Where `rebootd-needrestart.service` stores it.
pub const PATH: &str = "/run/rebootd-needrestart";

/// If there are many services, the reason names this many.
const MOST_NAMED: usize = 3;

/// Reads the request that follows from needrestart's findings; `None` as the answer if it has not run yet.
pub fn read(path: &Path) -> Option<Result<Option<Request>, String>> {
    let place = |error| format!("{}: {error}", path.display());
    let content = match read::read(path, NOTICE) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(place(error.to_string()))),
    };
    Some(understand(&String::from_utf8_lossy(&content)).map_err(place))
}

fn understand(text: &str) -> Result<Option<Request>, String> {
    let said: Vec<(&str, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("NEEDRESTART-")?.split_once(": "))
        .map(|(key, value)| (key, words(value, NOTE)))
        .collect();
    let value = |key: &str| said.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str());
    if value("VER").is_none() {
        return Err("is not what needrestart -b prints".to_owned());
    }
    let mut reasons = Vec::new();
    // 2: of the same ABI, 3: of another version.
    if matches!(value("KSTA"), Some("2" | "3")) {
        reasons.push(format!("kernel {} is installed", value("KEXP").unwrap_or("of another version")));
    }
    if value("UCSTA") == Some("2") {
        reasons.push("newer microcode is installed".to_owned());
    }
    let mut services: Vec<String> = said
        .iter()
        .filter(|(key, name)| *key == "SVC" && !is_ours(name))
        .map(|(_, name)| name.clone())
        .collect();
    services.sort_unstable();
    services.dedup();
    match services.len() {
        0 => {}
        count if count <= MOST_NAMED => {
            reasons.push(format!("outdated code runs in {}", services.join(", ")))
        }
        count => {
            let first = services.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            reasons.push(format!("outdated code runs in {first} and {} more", count - MOST_NAMED));
        }
    }
    if reasons.is_empty() {
        return Ok(None);
    }
    let reason = format!("needrestart: {}", reasons.join(", "));
    // Each run replaces the file: since when it asks is remembered, not read.
    Ok(Some(Request { reason, packages: services, since: None }))
}

/// If the daemon itself is outdated, it needs a restart and not a reboot.
fn is_ours(service: &str) -> bool {
    service == "rebootd.service"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<String> {
        understand(text).unwrap().map(|request| request.reason)
    }

    #[test]
    fn what_is_outdated_asks() {
        let nothing = "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-40-amd64\nNEEDRESTART-KEXP: 6.1.0-40-amd64\n\
            NEEDRESTART-KSTA: 1\nNEEDRESTART-UCSTA: 1\n";
        assert_eq!(reason(nothing), None);
        assert_eq!(reason("NEEDRESTART-VER: 3.6\n"), None);
        let kernel = nothing.replace("KEXP: 6.1.0-40", "KEXP: 6.1.0-41").replace("KSTA: 1", "KSTA: 3");
        assert_eq!(reason(&kernel).unwrap(), "needrestart: kernel 6.1.0-41-amd64 is installed");
        let microcode = nothing.replace("UCSTA: 1", "UCSTA: 2");
        assert_eq!(reason(&microcode).unwrap(), "needrestart: newer microcode is installed");
        assert_eq!(reason(&format!("{nothing}NEEDRESTART-SVC: rebootd.service\n")), None);
        // Containers and sessions are not services of the host.
        assert_eq!(
            reason(&format!("{nothing}NEEDRESTART-CONT: LXC web\nNEEDRESTART-SESS: ada @ session #2\n")),
            None
        );
    }

    #[test]
    fn services_are_named_and_counted() {
        let services = ["d", "b", "a", "c", "b"].map(|name| format!("NEEDRESTART-SVC: {name}.service\n"));
        let request = understand(&format!("NEEDRESTART-VER: 3.6\n{}", services.concat())).unwrap().unwrap();
        assert_eq!(
            request.reason,
            "needrestart: outdated code runs in a.service, b.service, c.service and 1 more"
        );
        let odd =
            understand("NEEDRESTART-VER: 3.6\nNEEDRESTART-SVC: a\x1b[1m\u{202e}.service\n").unwrap().unwrap();
        assert_eq!(odd.reason, "needrestart: outdated code runs in a [1m.service");
        assert_eq!(request.packages, ["a.service", "b.service", "c.service", "d.service"]);
    }

    #[test]
    fn what_is_not_its_output_is_neither_yes_nor_no() {
        assert!(understand("").is_err());
        assert!(understand("sh: needrestart: not found\n").is_err());
        assert_eq!(read(Path::new("/nonexistent/x")), None);
    }
}
