//! Which installed updates are not live: worked out by `rebootd-live.service` on the heels of each installation, since it
//! reads whole changelogs, and read by the daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::upgrades::{Logged, Upgrade};
use super::{changelog, packages, upgrades};
use crate::decide::{Kernel, Update};
use crate::notation::{flavour, newest};
use crate::read;

/// Where `rebootd-live.service` stores it. It is gone after a reboot, as what it tells of is.
pub const PATH: &str = "/run/rebootd-live.json";
/// The most bytes of it: the names of several thousand CVEs.
const LONGEST: u64 = 1 << 20;
/// The most bytes of dpkg's database.
const LONGEST_DATABASE: u64 = 64 << 20;
const LOGS: &str = "/var/log";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Live {
    /// What is installed and not live; the kernel comes first.
    pub updates: Vec<Update>,
}

/// What the file says, as far as the daemon remembers it; `None` if there is none that can be read.
pub fn read(path: &Path) -> Option<Vec<Update>> {
    let live: Live = serde_json::from_slice(&read::read(path, LONGEST).ok()?).ok()?;
    Some(Update::bounded(live.updates))
}

/// What is known of this host before its packages are looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// The packages that ask for a reboot.
    pub asking: Vec<String>,
    /// The services that needrestart has found to run outdated code.
    pub services: Vec<String>,
    /// The kernels.
    pub kernel: Kernel,
    /// The version of the package that the running kernel is from, if it tells.
    pub running: Option<String>,
    /// When this boot began: wall time since 1970.
    pub booted: Duration,
}

/// Works it out: the kernel, what asks for a reboot, and the services that run outdated code.
pub fn work_out(known: &Known) -> Result<Vec<Update>, String> {
    work_out_in(Path::new("/"), known)
}

fn work_out_in(root: &Path, known: &Known) -> Result<Vec<Update>, String> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let log = below(LOGS);
    let Logged { upgrades, reach_back } = upgrades::read_since(&log, known.booted)
        .map_err(|error| format!("dpkg's log in {}: {error}", log.display()))?;
    let release = known.kernel.newer.as_ref().map_or(&known.kernel.running, |newer| &newer.release);
    let (image, modules) = (format!("linux-image-{release}"), format!("linux-modules-{release}"));
    let wanted: Vec<&str> = known.asking.iter().map(String::as_str).chain([&*image, &*modules]).collect();
    let database = below(packages::STATUS);
    let installed =
        versions(&database, &wanted).map_err(|error| format!("{}: {error}", database.display()))?;
    let documents = below(changelog::DOCUMENTS);
    let kernel = kernel(known, &image, installed.get(&image), &upgrades).map(|update| {
        // Where the modules have a package of their own, its changelog is the kernel's, and that of the image only says that it
        // was signed.
        let package = if installed.contains_key(&modules) { &modules } else { &image };
        let versions = known.running.as_deref().zip(installed.get(package));
        Update {
            cves: versions.and_then(|(runs, new)| changelog::since(&documents, package, runs, new)),
            ..update
        }
    });
    // What stands for the kernel: other releases of it, the package that depends on the latest, and what Ubuntu names besides.
    let own = flavour(release);
    let is_kernel = |name: &str| {
        let image = name.strip_prefix("linux-image-");
        kernel.is_some() && (name == "linux-base" || image.is_some_and(|it| it == own || flavour(it) == own))
    };
    // A name that dpkg does not have is of a package that is gone, or never was. What asks without one still asks.
    let has_dpkg = database.is_file();
    let is_there = |name: &str| !has_dpkg || installed.contains_key(name) || !changelog::is_package(name);
    let asking = known.asking.iter().filter(|name| is_there(name) && !is_kernel(name)).map(|name| {
        let upgrade = upgrades.get(name);
        // What was there before the first upgrade runs only if there was no earlier one since the boot.
        let running = upgrade.filter(|_| reach_back).and_then(|it| it.before.clone());
        let new = installed.get(name).or(upgrade.map(|it| &it.after)).cloned();
        let versions = running.as_ref().zip(new.as_ref());
        Update {
            cves: versions.and_then(|(runs, new)| changelog::since(&documents, name, runs, new)),
            running,
            installed: new,
            since: upgrade.map(|it| it.first.as_secs()),
            package: name.clone(),
        }
    });
    let services = known.services.iter().map(|name| Update {
        package: name.clone(),
        running: None,
        installed: None,
        since: None,
        cves: None,
    });
    let others: Vec<Update> = asking.chain(services).collect();
    Ok(kernel.into_iter().chain(others).collect())
}

/// The kernel, if another one should run: of a newer release, or of the same one, built again.
fn kernel(
    known: &Known,
    image: &str,
    installed: Option<&String>,
    upgrades: &BTreeMap<String, Upgrade>,
) -> Option<Update> {
    let (runs, newer) = (&*known.kernel.running, known.kernel.newer.as_ref());
    let is_built_again =
        known.running.as_ref().zip(installed).is_some_and(|(runs, installed)| runs != installed);
    if newer.is_none() && !is_built_again {
        return None;
    }
    // A later one does not make what runs any younger. Other packages of this name have no release in theirs.
    let is_not_live = |name: &String| {
        let release =
            name.strip_prefix("linux-image-").filter(|it| it.starts_with(|c: char| c.is_ascii_digit()));
        release.is_some_and(|it| it == runs || newest(runs, [it]).is_some())
    };
    let first = upgrades.iter().filter(|(name, _)| is_not_live(name)).map(|(_, upgrade)| upgrade.first).min();
    let since = first.or(newer.and_then(|newer| newer.since));
    Some(Update {
        package: image.to_owned(),
        running: Some(known.running.clone().unwrap_or_else(|| known.kernel.running.clone())),
        installed: installed.cloned().or(newer.map(|newer| newer.release.clone())),
        since: since.map(|at| at.as_secs()),
        cves: None,
    })
}

/// The versions of these packages in dpkg's database, as far as they are there and unpacked.
fn versions(database: &Path, wanted: &[&str]) -> io::Result<BTreeMap<String, String>> {
    let file: File = match read::open(database) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        file => file?,
    };
    let mut found = BTreeMap::new();
    let mut package: Option<String> = None;
    for line in BufReader::new(file.take(LONGEST_DATABASE)).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = line.strip_prefix("Package: ") {
            package = wanted.contains(&name).then(|| name.to_owned());
        } else if line.strip_prefix("Status: ").is_some_and(|it| it.ends_with(" config-files")) {
            package = None;
        } else if let Some(version) = line.strip_prefix("Version: ")
            && let Some(package) = package.take()
        {
            found.insert(package, version.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::decide::{Cves, NewerKernel};

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let root = std::env::temp_dir().join(format!("rebootd-live-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            Root(root)
        }

        fn write(&self, path: &str, content: &[u8]) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn changelog(&self, package: &str, text: &str) {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
            self.write(&format!("usr/share/doc/{package}/changelog.Debian.gz"), &packed.finish().unwrap());
        }

        fn found(&self, known: &Known) -> Vec<String> {
            work_out_in(&self.0, known).unwrap().iter().map(Update::in_words).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn newer(release: &str) -> Option<NewerKernel> {
        Some(NewerKernel { release: release.into(), since: Some(Duration::from_secs(9)) })
    }

    fn known(running: &str, newer: Option<NewerKernel>) -> Known {
        let kernel = Kernel { running: running.into(), newer, cannot_start: None };
        Known { kernel, booted: Duration::from_secs(1_790_000_000), ..Known::default() }
    }

    #[test]
    fn a_host_of_debian_is_told_package_by_package() {
        let root = Root::new("debian");
        root.write(
            "var/log/dpkg.log",
            b"2026-10-02 08:00:00 install linux-image-6.1.0-56-amd64:amd64 <none> 6.1.192-2\n\
              2026-10-02 08:00:00 upgrade libc6:amd64 2.36-9 2.36-10\n\
              2026-10-02 08:00:00 upgrade bash:amd64 1 2\n",
        );
        root.write(
            "var/lib/dpkg/status",
            b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-10\n\n\
              Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
              Package: linux-base\nStatus: install ok installed\nVersion: 4\n\n\
              Package: linux-image-amd64\nStatus: install ok installed\nVersion: 6.1.192-2\n\n\
              Package: linux-image-6.1.0-56-amd64\nStatus: install ok installed\nVersion: 6.1.192-2\n",
        );
        let entry = |package: &str, version: &str, fixed: &str| {
            format!("{package} ({version}) bookworm; urgency=high\n\n  * Fixes {fixed}\n\n")
        };
        let linux = entry("linux", "6.1.192-2", "CVE-2026-0001, CVE-2026-0002")
            + &entry("linux", "6.1.176-1", "CVE-2025-0001");
        root.changelog("linux-image-6.1.0-56-amd64", &linux);
        root.changelog(
            "libc6",
            &(entry("glibc", "2.36-10", "nothing") + &entry("glibc", "2.36-9", "CVE-2025-0002")),
        );
        let mut known = Known {
            asking: ["/run/asks", "libc6", "gone", "never-was", "linux-base", "linux-image-amd64"]
                .map(str::to_owned)
                .to_vec(),
            services: vec!["cron.service".into()],
            running: Some("6.1.176-1".into()),
            ..known("6.1.0-50-amd64", newer("6.1.0-56-amd64"))
        };
        let expected = [
            "linux-image-6.1.0-56-amd64 (6.1.176-1 runs, 6.1.192-2 is installed, 2 CVEs)",
            "/run/asks (CVEs not known)",
            "libc6 (2.36-9 runs, 2.36-10 is installed, no CVE named)",
            "cron.service (CVEs not known)",
        ];
        assert_eq!(root.found(&known), expected);
        let since = work_out_in(&root.0, &known).unwrap()[0].since;
        assert!(since.is_some_and(|since| since > 1_790_000_000), "as dpkg logged it: {since:?}");
        // Booted since: only what still does not run is left, with the time that the file system tells.
        known.booted = Duration::from_secs(1_800_000_000);
        known.asking.clear();
        known.services.clear();
        assert_eq!(root.found(&known), expected[..1]);
        assert_eq!(work_out_in(&root.0, &known).unwrap()[0].since, Some(9));
        let here = Known { running: Some("6.1.192-2".into()), ..super::tests::known("6.1.0-56-amd64", None) };
        assert!(root.found(&here).is_empty());
        // The same release, built again.
        let before = Known { running: Some("6.1.192-1".into()), ..here };
        assert_eq!(
            root.found(&before),
            ["linux-image-6.1.0-56-amd64 (6.1.192-1 runs, 6.1.192-2 is installed, 2 CVEs)"]
        );
    }

    #[test]
    fn what_is_updated_again_and_again_grows_old() {
        let root = Root::new("again");
        let lines = [
            "2026-10-01 08:00:00 upgrade linux-image-cloud-amd64:amd64 6.1.176-1 6.1.180-1",
            "2026-10-02 08:00:00 install linux-image-6.1.0-52-amd64:amd64 <none> 6.1.180-1",
            "2026-10-03 08:00:00 upgrade openssl:amd64 1 2",
            "2026-10-10 08:00:00 install linux-image-6.1.0-53-amd64:amd64 <none> 6.1.181-1",
            "2026-10-10 08:00:00 upgrade openssl:amd64 2 3",
        ];
        root.write("var/log/dpkg.log", lines.join("\n").as_bytes());
        let known =
            Known { asking: vec!["openssl".into()], ..known("6.1.0-50-amd64", newer("6.1.0-53-amd64")) };
        let logged = upgrades::read_since(&root.0.join("var/log"), known.booted).unwrap().upgrades;
        let first = |name: &str| Some(logged[name].first.as_secs());
        let since: Vec<_> = work_out_in(&root.0, &known).unwrap().iter().map(|it| it.since).collect();
        assert_eq!(since, [first("linux-image-6.1.0-52-amd64"), first("openssl")]);
        assert!(logged["openssl"].first < logged["openssl"].at);
        // The release that runs, built again.
        let lines = lines.map(|line| line.replace("6.1.0-52", "6.1.0-50"));
        root.write("var/log/dpkg.log", lines.join("\n").as_bytes());
        assert_eq!(work_out_in(&root.0, &known).unwrap()[0].since, first("linux-image-6.1.0-52-amd64"));
    }

    #[test]
    fn what_runs_is_not_known_where_the_logs_do_not_go_back_to_the_boot() {
        let root = Root::new("logs");
        root.write("var/log/dpkg.log", b"2026-10-02 08:00:00 upgrade libc6:amd64 2 3\n");
        root.write("var/lib/dpkg/status", b"Package: libc6\nStatus: install ok installed\nVersion: 3\n");
        root.changelog("libc6", "glibc (3) a; b\n\n  * CVE-2026-0003\n\nglibc (2) a; b\n");
        let known = Known { asking: vec!["libc6".into()], ..known("6.1.0-56-amd64", None) };
        assert_eq!(root.found(&known), ["libc6 (2 runs, 3 is installed, 1 CVE)"]);
        // Something between the boot and October that cannot be read.
        root.write("var/log/dpkg.log.1.gz", b"broken");
        assert_eq!(root.found(&known), ["libc6 (3 is installed, CVEs not known)"]);
    }

    #[test]
    fn a_kernel_of_ubuntu_has_its_changelog_with_its_modules() {
        let root = Root::new("ubuntu");
        let (image, modules) = ("linux-image-6.8.0-47-generic", "linux-modules-6.8.0-47-generic");
        root.write(
            "var/lib/dpkg/status",
            format!("Package: {image}\nVersion: 6.8.0-47.47\n\nPackage: {modules}\nVersion: 6.8.0-47.47\n")
                .as_bytes(),
        );
        root.changelog(
            image,
            "linux-signed (6.8.0-47.47) noble; urgency=medium\n\n  * Main version: 6.8.0-47.47\n",
        );
        let known = Known {
            running: Some("6.8.0-45.45".into()),
            ..known("6.8.0-45-generic", newer("6.8.0-47-generic"))
        };
        let kernel = |cves: &str| [format!("{image} (6.8.0-45.45 runs, 6.8.0-47.47 is installed, {cves})")];
        assert_eq!(root.found(&known), kernel("CVEs not known"), "what signs it knows nothing");
        root.changelog(
            modules,
            "linux (6.8.0-47.47) noble; urgency=medium\n\n  * CVE-2024-45016\n    - x\n\nlinux (6.8.0-46.46) noble; urgency=medium\n",
        );
        assert_eq!(root.found(&known), kernel("at least 1 CVE"), "it is cut off before the running one");
    }

    #[test]
    fn a_kernel_that_dpkg_does_not_know_is_told_by_its_release() {
        let known = known("6.6.7-custom", newer("6.6.8-custom"));
        let found = Root::new("custom").found(&known);
        assert_eq!(
            found,
            ["linux-image-6.6.8-custom (6.6.7-custom runs, 6.6.8-custom is installed, CVEs not known)"]
        );
    }

    #[test]
    fn the_daemon_remembers_what_is_clean_and_not_too_much() {
        let root = Root::new("read");
        let named: Vec<String> = (0..60).map(|number| format!("CVE-2026-{number:04}\u{1b}")).collect();
        let update = Update {
            package: "a\nb".into(),
            running: None,
            installed: None,
            since: Some(1),
            cves: Some(Cves { count: 60, at_least: false, named }),
        };
        let live = Live { updates: vec![update; 200] };
        root.write("live.json", &serde_json::to_vec(&live).unwrap());
        let read_back = read(&root.0.join("live.json")).unwrap();
        let cves = read_back[0].cves.clone().unwrap();
        assert_eq!((read_back.len(), read_back[0].package.as_str()), (100, "a b"));
        assert_eq!((cves.count, cves.named.len(), cves.named[0].as_str()), (60, 50, "CVE-2026-0000"));
        root.write("live.json", b"{");
        assert_eq!(read(&root.0.join("live.json")), None);
    }
}
