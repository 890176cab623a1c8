//! A host that moves, as it is, into a virtual machine: there it has a kernel, a firmware and a clock of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::binaries::Binaries;
use crate::host::Host;
use crate::{command, control_plane, debian, kubelet};

/// Debian's smallest kernels, by an expression for apt.
const KERNELS: &str = "^linux-image-[0-9.]+-[0-9]+-cloud-amd64$";

/// Loads what the kernel needs to find its disk and its network, and goes on there.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk virtio_net; do modprobe $module; done
mount -t ext4 /dev/vda /root
exec switch_root /root /sbin/init
";

/// Arguments: what was unpacked, a directory to work in, the root file system, kubemark, and each kernel with its version: the
/// older one, which boots, and the newer one, which is installed once the machine is up.
const BUILD: &str = r#"
unpacked=$1 work=$2 root=$3 kubemark=$4 older=$5 newer=$7
mkdir -p "$work/initrd/bin" "$work/initrd/proc" "$work/initrd/sys" "$work/initrd/dev" "$work/initrd/root"
cp "$unpacked/bin/busybox" "$work/initrd/bin/"
for module in $(cd "$unpacked" && find lib/modules -name 'virtio*.ko*' -o -name '*failover.ko*'); do
    mkdir -p "$work/initrd/$(dirname "$module")"
    cp "$unpacked/$module" "$work/initrd/$module"
done
for release in $(ls "$unpacked/lib/modules"); do "$work/initrd/bin/busybox" depmod -b "$work/initrd" "$release"; done
mv "$work/init" "$work/initrd/init"
chmod 755 "$work/initrd/init"
(cd "$work/initrd" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.img"
cp "$unpacked/boot/vmlinuz-$older" "$work/vmlinuz"
mkdir -p "$root/boot"
cp "$work/initrd.img" "$root/boot/"
cp "$unpacked/boot/vmlinuz-$older" "$root/boot/"
cp -r "$unpacked/usr/share/doc/"linux-image-* "$root/usr/share/doc/"
stanza() {
    printf 'Package: linux-image-%s\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: Debian\nVersion: %s\nDescription: a kernel\n\n' "$@"
}
stanza "$older" "$6" >>"$root/var/lib/dpkg/status"
# What the newer one's installation will leave: its file, its entry in dpkg's database, and a line in dpkg's log.
mkdir "$root/var/tmp/newer"
cp -p "$unpacked/boot/vmlinuz-$newer" "$root/var/tmp/newer/"
stanza "$newer" "$8" >"$root/var/tmp/newer/stanza"
cat >"$root/var/tmp/newer/install" <<END
cd /var/tmp/newer
cat /var/lib/dpkg/status stanza >status
cp -p vmlinuz-$newer /boot/
echo "\$(date '+%Y-%m-%d %H:%M:%S') install linux-image-$newer:amd64 <none> $8" >>/var/log/dpkg.log
mv status /var/lib/dpkg/status
END
cat >"$root/etc/systemd/system/lab-install.service" <<END
[Unit]
ConditionPathExists=!/boot/vmlinuz-$newer
After=rebootd.service rebootd-live.path
[Service]
Type=oneshot
ExecStart=/bin/sh -e /var/tmp/newer/install
END
install -m 755 "$kubemark" "$root/usr/local/bin/kubemark"
cat >"$root/etc/systemd/system/lab-network.service" <<END
[Unit]
Before=network.target kubelet.service rebootd.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set eth0 up && ip address add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2'
[Install]
WantedBy=multi-user.target
END
cat >"$root/etc/systemd/system/lab-status.service" <<END
[Service]
ExecStart=/bin/sh -c 'while sleep 5; do { printf "status "; rebootctl status --json | tr -d "\\n"; echo; } >/dev/ttyS0; done'
[Install]
WantedBy=multi-user.target
END
for unit in network status install; do
    ln -sf ../lab-$unit.service "$root/etc/systemd/system/multi-user.target.wants/"
done
truncate -s 3G "$work/disk.img"
mke2fs -q -t ext4 -d "$root" "$work/disk.img"
"#;

/// Two kernels of one flavour.
pub struct Kernels {
    unpacked: PathBuf,
    /// The release of one.
    pub older: String,
    /// That of the other.
    pub newer: String,
    /// The versions of their packages.
    pub versions: [String; 2],
}

impl Kernels {
    /// The changelog of the newer one's package.
    pub fn changelog(&self) -> PathBuf {
        self.unpacked.join(format!("usr/share/doc/linux-image-{}/changelog.gz", self.newer))
    }
}

/// Downloads them; needs the network, so before the lab's namespaces hide it.
pub async fn fetch() -> Result<Kernels> {
    let found = command::run("apt-cache", &["search", "--names-only", KERNELS]).await?;
    let releases = found.lines().filter_map(|line| line.split(' ').next()?.strip_prefix("linux-image-"));
    let sorted = command::run_with_input(
        "sort",
        &["--version-sort"],
        Some(releases.collect::<Vec<_>>().join("\n").as_bytes()),
    )
    .await?;
    let releases: Vec<&str> = sorted.lines().collect();
    let [.., older, newer] = releases[..] else {
        bail!("apt knows no two kernels {KERNELS}: apt-get update")
    };
    let packages = [older, newer].map(|release| format!("linux-image-{release}"));
    let unpacked = debian::unpacked(
        &format!("kernels-{older}-{newer}"),
        &[&packages[0], &packages[1], "busybox-static"],
    )
    .await?;
    let versions = [version(&packages[0]).await?, version(&packages[1]).await?];
    Ok(Kernels { unpacked, older: older.to_owned(), newer: newer.to_owned(), versions })
}

/// The version of a package that this machine's apt would install.
async fn version(package: &str) -> Result<String> {
    let known = command::run("apt-cache", &["show", "--no-all-versions", package]).await?;
    let version = known.lines().find_map(|line| line.strip_prefix("Version: "));
    Ok(version.with_context(|| format!("apt knows no version of {package}"))?.to_owned())
}

/// A virtual machine. It is switched off when this is dropped.
pub struct VirtualMachine {
    process: Child,
    console: PathBuf,
}

impl VirtualMachine {
    /// Boots the older kernel with what is on the disk of a host that is off, and `line` as a word of its command line. The
    /// newer one is installed then. In /boot is an initrd.img for either.
    ///
    /// Emulated, which works everywhere; where its firmware is asked for a reboot it switches itself off.
    pub async fn boot(host: &Host, kernels: &Kernels, server: &str, work: &Path, line: &str) -> Result<Self> {
        ensure!(!host.is_on(), "{} is on", host.name());
        fs::create_dir_all(work)?;
        fs::write(work.join("init"), INIT)?;
        // Past the host's proxy, which would tell of another machine and another boot.
        kubelet::move_to(host, server, &control_plane::server())?;
        let kubemark = Binaries::find_or_build().await?.path("kubemark");
        let paths = [&kernels.unpacked, work, &host.root(), &kubemark].map(|path| path.display().to_string());
        let arguments = ["-ec", BUILD, "build"].into_iter().chain(paths.iter().map(String::as_str));
        let [older, newer] = &kernels.versions;
        let both = [&kernels.older, older, &kernels.newer, newer].map(String::as_str);
        let arguments: Vec<&str> = arguments.chain(both).collect();
        command::run("sh", &arguments).await?;
        let console = work.join("console.log");
        let process = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "1536",
                "-display",
                "none",
                "-nodefaults",
            ])
            .args(["-no-reboot", "-kernel", "vmlinuz", "-initrd", "initrd.img"])
            .args(["-append", &format!("console=ttyS0 rw {line}"), "-serial", "file:console.log"])
            .args(["-drive", "file=disk.img,if=virtio,format=raw", "-netdev", "user,id=net"])
            .args(["-device", "virtio-net-pci,netdev=net"])
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(work.join("qemu.log"))?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start qemu-system-x86_64: apt-get install qemu-system-x86")?;
        Ok(Self { process, console })
    }

    /// Whether it is on: it has not asked its firmware for a reboot.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Each status that rebootd has shown, in JSON, the latest last.
    pub fn statuses(&self) -> Result<Vec<Value>> {
        let console = fs::read(&self.console)?;
        let console = String::from_utf8_lossy(&console);
        let statuses = console.lines().filter_map(|line| line.split_once("status {"));
        Ok(statuses
            .filter_map(|(_, text)| serde_json::from_str(&format!("{{{}", text.trim())).ok())
            .collect())
    }

    /// The kernels that have started, in their order.
    pub fn started(&self) -> Result<Vec<StartedKernel>> {
        let console = fs::read(&self.console)?;
        let console = String::from_utf8_lossy(&console);
        let after = |text: &str| -> Vec<String> {
            let lines = console.lines().filter_map(|line| line.split_once(text));
            lines.map(|(_, rest)| rest.trim().to_owned()).collect()
        };
        let versions = after("Linux version ").into_iter().zip(after("Command line: "));
        let release = |version: String| version.split(' ').next().unwrap_or_default().to_owned();
        Ok(versions.map(|(version, line)| StartedKernel { release: release(version), line }).collect())
    }
}

/// A kernel that has started.
#[derive(Debug)]
pub struct StartedKernel {
    /// As `uname -r` has it.
    pub release: String,
    /// Its command line.
    pub line: String,
}
