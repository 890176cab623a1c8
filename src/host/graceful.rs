//! Whether the kubelet of this host shuts down gracefully, as far as its configuration can be read.

use std::path::{Path, PathBuf};

use super::kubelet::told;
use crate::read::read_text;
use crate::words::{NOTE, words};
use crate::yaml::{self, Node};

/// The most bytes of a kubelet's configuration.
const LONGEST: u64 = 1 << 20;

/// What the kubelet's configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graceful {
    /// The file that it was told.
    pub file: PathBuf,
    /// `shutdownGracePeriod`, as written.
    pub period: Option<String>,
}

/// Reads it; `None` if no kubelet runs here that names a file, which may then be part of another program.
pub fn read(proc: &Path) -> Result<Option<Graceful>, String> {
    let Some(file) = told(proc, "--config").into_iter().next() else { return Ok(None) };
    let mut found = period(&file)?;
    // Later ones win, as for the kubelet.
    for directory in told(proc, "--config-dir") {
        let entries =
            std::fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        paths.sort_unstable();
        for path in paths {
            found = period(&path)?.or(found);
        }
    }
    Ok(Some(Graceful { file, period: found }))
}

/// What a file of its configuration says; nothing where it is off.
pub fn period(path: &Path) -> Result<Option<String>, String> {
    let failed = |why: String| format!("{}: {}", path.display(), words(&why, NOTE));
    let text = read_text(path, LONGEST).map_err(|error| failed(error.to_string()))?;
    let said = yaml::parse(&text).map_err(|error| failed(error.to_string()))?;
    if !said.is_map() {
        return Err(failed("this is not a kubelet's configuration".to_owned()));
    }
    let said = said.get("shutdownGracePeriod").and_then(Node::text);
    // Without a number in it that is not nought, it is off: `0s`.
    let is_on = |it: &String| it.chars().any(|letter| ('1'..='9').contains(&letter));
    Ok(said.map(|it| words(it, NOTE)).filter(is_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_period_is_read_as_far_as_it_is_set() {
        let file = std::env::temp_dir().join(format!("rebootd-graceful-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            period(&file)
        };
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {x: [1, 2]}\n";
        assert_eq!(read(&format!("{head}shutdownGracePeriod: 30s\n")), Ok(Some("30s".to_owned())));
        assert_eq!(read(&format!("{head}shutdownGracePeriod: 0s\n")), Ok(None));
        assert_eq!(read(head), Ok(None));
        assert!(read("{").unwrap_err().starts_with(&file.display().to_string()));
        std::fs::remove_file(&file).unwrap();
        assert!(period(&file).is_err());
    }
}
