//! Root file systems of Debian, made once by mmdebstrap and kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{cache, command, disk, progress};

/// The Debian releases that hosts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Suite {
    /// The name in the archive.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// How an image is made; its hash is part of the image's name, so a changed recipe makes a new one.
#[derive(Hash)]
struct Recipe {
    purpose: &'static str,
    suite: Suite,
    packages: Vec<&'static str>,
    /// Run by the image's own shell at the end.
    finish: &'static str,
}

/// Hosts have no network outside the lab: whatever rebootd depends on must be here already.
const HOST_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "dbus-bin",
    "polkitd",
    "procps",
    "iproute2",
    "tzdata",
    "libfaketime",
    "adduser",
    "ca-certificates",
    "curl",
    "kexec-tools",
    "less",
    "needrestart",
];

/// What a real kubelet needs besides.
const REAL_PACKAGES: &[&str] = &[
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ebtables",
    "ethtool",
    "iptables",
    "jq",
    "kmod",
    "runc",
    "socat",
];

/// How large the disk of a host with a real kubelet is; what is not used takes no room.
const DISK_SIZE: &str = "4G";

/// Names that do not exist in a release are masked all the same, which does no harm.
const HOST_FINISH: &str = r#"
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id
# It would look at every process after each installation; the scenario that wants that moves it back.
mv /etc/apt/apt.conf.d/99needrestart /root/
# Journals of earlier boots stay.
mkdir -p /var/log/journal
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer man-db.timer logrotate.timer systemd-firstboot.service \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
    systemd-resolved.service systemd-timesyncd.service systemd-pstore.service getty.target \
    console-getty.service container-getty@.service systemd-homed.service kexec-load.service kexec.service
do ln -sf /dev/null /etc/systemd/system/$unit; done
"#;

const BUILD_PACKAGES: &[&str] =
    &["build-essential", "debhelper", "dpkg-dev", "cargo-web", "rustc-web", "ca-certificates", "pkgconf"];

/// The image that hosts of this release start from.
pub async fn host(suite: Suite) -> Result<PathBuf> {
    make(Recipe { purpose: "host", suite, packages: HOST_PACKAGES.to_vec(), finish: HOST_FINISH }).await
}

/// The image in which Debian packages are built: the oldest supported release, so that its libc suits all.
pub async fn build() -> Result<PathBuf> {
    make(Recipe { purpose: "build", suite: Suite::Bookworm, packages: BUILD_PACKAGES.to_vec(), finish: "" })
        .await
}

/// The disk that hosts of this release with a real kubelet start from, as a file with an ext4 file system.
pub async fn disk(suite: Suite) -> Result<PathBuf> {
    let packages = [HOST_PACKAGES, REAL_PACKAGES].concat();
    let recipe = Recipe { purpose: "disk", suite, packages, finish: HOST_FINISH };
    made(&recipe, ".ext4", async |making| {
        let root = making.with_extension("root");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        bootstrap(&recipe, &root).await?;
        disk::make(&root, making, DISK_SIZE).await?;
        Ok(fs::remove_dir_all(&root)?)
    })
    .await
}

async fn make(recipe: Recipe) -> Result<PathBuf> {
    made(&recipe, "", async |making| bootstrap(&recipe, making).await).await
}

/// What this recipe makes, from the cache or made now.
async fn made(recipe: &Recipe, ending: &str, make: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let (purpose, suite) = (recipe.purpose, recipe.suite.name());
    let name = format!("{purpose}-{suite}-{}{ending}", cache::fingerprint(recipe));
    let finished = cache::directory()?.join("images").join(&name);
    if finished.exists() {
        return Ok(finished);
    }
    let _lock = cache::lock(&format!("image-{purpose}-{suite}"))?;
    if finished.exists() {
        return Ok(finished);
    }
    let began = Instant::now();
    progress::say(format!("making the {purpose} image of {suite} …"));
    let making = cache::unfinished(&finished)?;
    make(&making).await?;
    fs::rename(&making, &finished)?;
    progress::say(format!("  {purpose} image of {suite}: {:.0} s", began.elapsed().as_secs_f64()));
    Ok(finished)
}

async fn bootstrap(recipe: &Recipe, into: &Path) -> Result<()> {
    let mut arguments = vec![
        "--mode=root".to_owned(),
        "--variant=minbase".to_owned(),
        "--quiet".to_owned(),
        format!("--include={}", recipe.packages.join(",")),
    ];
    for setting in fetch_settings().await? {
        arguments.push(format!("--aptopt={setting}"));
    }
    arguments.push(recipe.suite.name().to_owned());
    arguments.push(into.to_string_lossy().into_owned());
    arguments.extend(sources(recipe.suite).await?);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command::run("mmdebstrap", &arguments).await.context("is mmdebstrap installed?")?;
    ensure!(into.join("etc").is_dir(), "mmdebstrap made no {}", into.display());
    command::run("chroot", &[&into.to_string_lossy(), "/bin/sh", "-ec", recipe.finish]).await?;
    Ok(())
}

/// How this machine's own apt reaches its archive (a proxy, a mirror with a frozen date) holds for images too.
async fn fetch_settings() -> Result<Vec<String>> {
    let all = command::run("apt-config", &["dump"]).await?;
    let wanted = ["Acquire::http", "Acquire::https", "Acquire::Check-"];
    Ok(all
        .lines()
        .filter(|line| wanted.iter().any(|start| line.starts_with(start)) && !line.contains(" \"\";"))
        .map(str::to_owned)
        .collect())
}

/// The archives that this machine uses, for another release; none means mmdebstrap's own choice.
async fn sources(suite: Suite) -> Result<Vec<String>> {
    let targets =
        command::run("apt-get", &["indextargets", "--format", "$(SITE) $(RELEASE) $(CODENAME)"]).await?;
    let site = |ending: &str| {
        targets
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, names)| {
                names
                    .split(' ')
                    .any(|name| name == format!("bookworm{ending}") || name == format!("trixie{ending}"))
            })
            .map(|(site, _)| site.to_owned())
    };
    let Some(main) = site("") else { return Ok(Vec::new()) };
    let name = suite.name();
    let mut sources = vec![format!("deb {main} {name} main"), format!("deb {main} {name}-updates main")];
    if let Some(security) = site("-security") {
        sources.push(format!("deb {security} {name}-security main"));
    }
    Ok(sources)
}
