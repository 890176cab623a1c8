//! Updates that a host gets, and what they leave open until they are live.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::SOON;
use super::status::{Status, wait_status};
use crate::host::Host;
use crate::lab::UPDATED;
use crate::progress::say;
use crate::{command, debian};

/// Two versions of a package, of which the second mends two holes, and what comes with it a third.
pub(super) const MADE: &str = r#"
mkdir -p /var/tmp/image/DEBIAN /var/tmp/image/usr/share/doc/linux-image-lab
cd /var/tmp/image
entry() { printf 'linux (%s) lab; urgency=high\n\n  * Fix %s\n\n -- The lab <lab@localhost>  Sat, 28 Nov 2026 12:00:00 +0000\n\n' "$@"; }
{ entry 6.1.2-1 'CVE-2026-31415, CVE-2026-27182'; entry 6.1.1-1 CVE-2025-10000; } | gzip -9n >usr/share/doc/linux-image-lab/changelog.Debian.gz
for version in 6.1.1-1 6.1.2-1; do
    printf 'Package: linux-image-lab\nVersion: %s\nArchitecture: all\nMaintainer: The lab <lab@localhost>\nDescription: an image\n' \
        $version >DEBIAN/control
    dpkg-deb --build . /var/tmp/image-$version.deb
    # The first was there before this boot, as far as the log tells.
    : >/var/log/dpkg.log
    dpkg --install /var/tmp/image-$version.deb
done
"#;

/// Arguments: package, older version, newer one. Ubuntu's libssl3 asks for a reboot as the last line does.
const REAL: &str = r#"
package=$1 older=$2 newer=$3
echo 'deb [trusted=yes] file:/var/tmp/archive ./' >/var/tmp/archive.list
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dir::Etc::sourcelist=/var/tmp/archive.list -o Dir::Etc::sourceparts=- "$@" >&2; }
apt update
apt install --allow-downgrades "$package=$older"
# The older one was there before this boot, as far as the log tells.
sed -i "/ $package:/d" /var/log/dpkg.log
apt install --only-upgrade "$package"
[ "$(dpkg-query --show --showformat '${Version}' "$package")" = "$newer" ]
echo "$package" >>/run/reboot-required.pkgs
"#;

/// An update of a real package.
pub(super) struct Real {
    hosts: Vec<String>,
    older: String,
    newer: String,
    /// What its changelog names for what came after the older version, read by other means than ours.
    cves: BTreeSet<String>,
}

/// Upgrades a package of Debian's on these hosts, from an archive of two of its versions, and lets it ask for a reboot.
pub(super) async fn real_of_debian(hosts: &[&Host]) -> Result<Option<Real>> {
    let Some(versions) = debian::versions(UPDATED).await? else {
        say(format!("left out: apt knows no two versions of {UPDATED} in Debian 12"));
        return Ok(None);
    };
    let mut cves = BTreeSet::new();
    for host in hosts {
        let archive = host.root().join("var/tmp/archive").display().to_string();
        command::run("cp", &["-r", &versions.archive.display().to_string(), &archive]).await?;
        let arguments = [UPDATED, &versions.older, &versions.newer];
        host.run_ok(&[&["sh", "-ec", REAL, "real"][..], &arguments].concat()).await?;
        let changelog = format!("/usr/share/doc/{UPDATED}/changelog.Debian.gz");
        let newer = format!(
            "zcat {changelog} | sed '/({})/,$d' | grep --only-matching 'CVE-[0-9]*-[0-9]*'",
            versions.older
        );
        cves = host.run_ok(&["sh", "-c", &newer]).await?.lines().map(str::to_owned).collect();
    }
    ensure!(!cves.is_empty(), "the newest {UPDATED} mends nothing");
    say(format!("{UPDATED} {} mends {cves:?} of {}", versions.newer, versions.older));
    let hosts = hosts.iter().map(|host| host.name().to_owned()).collect();
    Ok(Some(Real { hosts, older: versions.older, newer: versions.newer, cves }))
}

impl Real {
    /// That this host had this update, as what is not live or as what a reboot made live, with these versions.
    fn is_in(&self, host: &Host, packages: &Value, [name, before, after]: [&str; 3]) -> Result<()> {
        let mine = packages.as_array().context("no list")?.iter().find(|it| it[name] == UPDATED);
        if !self.hosts.iter().any(|it| it == host.name()) {
            ensure!(mine.is_none(), "{}: {packages}", host.name());
            return Ok(());
        }
        let mine = mine.with_context(|| format!("{}: no {UPDATED} in {packages}", host.name()))?;
        let named = mine["cves"]["named"].as_array().context("no names")?;
        let named: BTreeSet<String> = named.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect();
        let is_right = mine[before] == self.older && mine[after] == self.newer && named == self.cves;
        ensure!(
            is_right && mine["cves"]["at_least"] == false,
            "{}: {mine} and not {:?}",
            host.name(),
            self.cves
        );
        Ok(())
    }
}

pub(super) fn cves() -> Value {
    json!({"count": 2, "at_least": false, "named": ["CVE-2026-31415", "CVE-2026-27182"]})
}

/// That of this list about a package.
pub(super) fn of_made<'list>(packages: &'list Value, name: &str) -> &'list Value {
    let all = packages.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|it| it[name] == "linux-image-lab").unwrap_or(&Value::Null)
}

/// A host that waits says what it leaves open until then: to anybody, and in its status and its metrics.
pub(super) async fn open(host: &Host, real: &Option<Real>) -> Result<()> {
    let told = |status: &Status| status.not_live.as_ref().is_some_and(|updates| !updates.is_empty());
    let status = wait_status(host, "told what is not live", told, SOON).await?;
    let updates = serde_json::to_value(status.not_live)?;
    let made = of_made(&updates, "package");
    let expected = json!({
        "package": "linux-image-lab", "running": "6.1.1-1", "installed": "6.1.2-1", "cves": cves(),
        "since": made["since"],
    });
    ensure!(*made == expected && made["since"].is_u64(), "{}: {updates}", host.name());
    let mut open = 2;
    if let Some(real) = real {
        real.is_in(host, &updates, ["package", "running", "installed"])?;
        open += if real.hosts.iter().any(|it| it == host.name()) { real.cves.len() } else { 0 };
    }
    let live = host.run_ok(&["runuser", "-u", "nobody", "--", "rebootctl", "live", "--json"]).await?;
    ensure!(serde_json::from_str::<Value>(&live)?["updates"] == updates, "{}: {live}", host.name());
    say(host.run_ok(&["rebootctl", "live"]).await?);
    let metrics = host.run_ok(&["cat", "/run/rebootd-metrics/rebootd.prom"]).await?;
    ensure!(metrics.contains(&format!("\nrebootd_cves_open {open}\n")), "{}: {metrics}", host.name());
    Ok(())
}

/// The record of the reboot tells what it made live.
pub(super) fn made_live(host: &Host, real: &Option<Real>, packages: &Value) -> Result<()> {
    let made = of_made(packages, "name");
    let expected = json!({
        "name": "linux-image-lab", "before": "6.1.1-1", "after": "6.1.2-1", "requested": true, "cves": cves(),
        "installed": made["installed"],
    });
    ensure!(*made == expected && made["installed"].is_string(), "{}: {packages}", host.name());
    real.as_ref().map_or(Ok(()), |real| real.is_in(host, packages, ["name", "before", "after"]))
}
