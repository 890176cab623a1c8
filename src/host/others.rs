//! What else on this host may reboot it, or asks for a reboot: cron jobs, timers, unattended-upgrades, kured.
//!
//! Read for people only, by `rebootctl check`: whoever reboots a host behind rebootd's back does so without a slot.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::read::read;
use crate::words::{MESSAGE, NOTE, words};

/// They answer within a second, unless systemd or the bus hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More than anybody writes into a crontab.
const LONGEST: u64 = 1 << 20;
/// Each of them is a crontab, or a directory of crontabs or of scripts that cron runs.
const CRON: [&str; 8] = [
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/var/spool/cron/crontabs",
];
/// What creates `/run/reboot-required` when a kernel or a library is installed, by the package that it is part of.
const MAKERS: [(&str, &str); 2] = [
    ("update-notifier-common", "/usr/share/update-notifier/notify-reboot-required"),
    ("unattended-upgrades", "/etc/kernel/postinst.d/unattended-upgrades"),
];
/// A timer may start one of these without any command.
const REBOOTING_UNITS: [&str; 5] = [
    "reboot.target",
    "kexec.target",
    "soft-reboot.target",
    "systemd-reboot.service",
    "systemd-kexec.service",
];

/// What was looked for in several places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Jobs {
    /// Where something was found, and what stands there.
    pub found: Vec<String>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// Whether unattended-upgrades reboots this host by itself, as apt understands its configuration; `None` if it is not
/// installed.
pub async fn automatic_reboot() -> Result<Option<bool>, String> {
    if !Path::new("/usr/bin/unattended-upgrade").exists() {
        return Ok(None);
    }
    let mut apt = Command::new("apt-config");
    apt.args(["shell", "it", "Unattended-Upgrade::Automatic-Reboot/b"]);
    // Nothing is printed for what is not set, and then its own default counts.
    Ok(Some(said(&mut apt).await?.trim() == "it='true'"))
}

/// Cron jobs that seem to reboot the host.
pub fn cron_jobs() -> Jobs {
    let mut jobs = Jobs::default();
    for place in CRON.map(Path::new) {
        let failed = |error| format!("{}: {error}", place.display());
        match files(place) {
            Ok(files) => files.iter().for_each(|file| look_into(file, &mut jobs)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => jobs.unread.push(failed(error)),
        }
    }
    jobs
}

fn files(place: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(place)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.is_file());
    files.sort_unstable();
    Ok(files)
}

fn look_into(file: &Path, jobs: &mut Jobs) {
    match cron_job(file) {
        Ok(job) => jobs.found.extend(job),
        Err(why) => jobs.unread.push(why),
    }
}

/// The first line of a crontab or script that seems to reboot the host, with its place.
pub fn cron_job(file: &Path) -> Result<Option<String>, String> {
    let name = words(&file.to_string_lossy(), NOTE);
    let content = read(file, LONGEST).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&content);
    let line = text.lines().enumerate().find(|(_, line)| reboots(line));
    Ok(line.map(|(number, line)| format!("{name}:{}: {}", number + 1, words(line, NOTE))))
}

/// Whether this line of a crontab, script or command seems to reboot the host. The time `@reboot` of a crontab does not.
pub fn reboots(line: &str) -> bool {
    if line.trim_start().starts_with('#') {
        return false;
    }
    let words: Vec<&str> = line
        .split(|letter: char| letter.is_whitespace() || ";&|(){}'\"`=".contains(letter))
        .filter(|word| !word.is_empty())
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .collect();
    let follows = |after: &str, is: fn(&str) -> bool| {
        let place = words.iter().position(|word| *word == after);
        place.is_some_and(|place| words.iter().skip(place + 1).any(|word| is(word)))
    };
    let is_restart = |word: &str| {
        word == "--reboot" || (word.starts_with('-') && !word.starts_with("--") && word.contains('r'))
    };
    words.iter().any(|word| ["reboot", "soft-reboot"].contains(word))
        || follows("shutdown", is_restart)
        || follows("systemctl", |word| word == "kexec")
        || ["init", "telinit"].iter().any(|init| follows(init, |word| word == "6"))
}

/// Timers that seem to reboot the host, by what systemd says of those that are loaded.
pub async fn timers() -> Result<Vec<String>, String> {
    let mut list = Command::new("systemctl");
    list.args(["show", "--property=Id,Unit,ActiveState", "*.timer"]);
    let timers = blocks(&said(&mut list).await?);
    let units: Vec<&str> =
        timers.iter().filter(|it| it.is("ActiveState", "active")).map(|it| it.get("Unit")).collect();
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=Id,ExecStart,SuccessAction", "--"]).args(&units);
    let started = blocks(&said(&mut show).await?);
    Ok(timers.iter().filter_map(|timer| rebooting(timer, &started)).collect())
}

/// What is said of this timer, if what it starts reboots the host.
fn rebooting(timer: &Block, started: &[Block]) -> Option<String> {
    let (id, unit) = (timer.get("Id"), timer.get("Unit"));
    if !timer.is("ActiveState", "active") {
        return None;
    }
    let told = |what: &str| Some(words(&format!("{id} starts {unit}{what}"), NOTE));
    if REBOOTING_UNITS.contains(&unit) {
        return told("");
    }
    let block = started.iter().find(|it| it.is("Id", unit))?;
    if block.get("SuccessAction").starts_with("reboot") {
        return told(", whose SuccessAction is a reboot");
    }
    let command = block.all("ExecStart").find(|line| reboots(line))?;
    let command = command.split_once("argv[]=").map_or(command, |(_, rest)| rest);
    told(&format!(": {}", command.split(" ;").next().unwrap_or(command)))
}

/// What `systemctl show` prints of one unit.
struct Block(Vec<(String, String)>);

impl Block {
    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> &str {
        self.all(key).next().unwrap_or_default()
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == value
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let pairs = |block: &str| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        Block(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    };
    text.split("\n\n").map(pairs).filter(|block| !block.0.is_empty()).collect()
}

/// Which packages of this host create `/run/reboot-required`.
pub fn sentinel_makers() -> Vec<&'static str> {
    MAKERS.into_iter().filter(|(_, path)| Path::new(path).exists()).map(|(package, _)| package).collect()
}

/// Whether needrestart is installed.
pub fn has_needrestart() -> bool {
    Path::new("/usr/sbin/needrestart").exists()
}

/// Whether kured runs on this host: its pod shares the host's process ids with whoever looks.
pub fn kured_runs(proc: &Path) -> Result<bool, String> {
    let entries = fs::read_dir(proc).map_err(|error| format!("{}: {error}", proc.display()))?;
    let names = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    Ok(names.into_iter().any(|name| name.trim_end() == "kured"))
}

/// What systemd says of a service: how it is, how it ended, and its own line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `active`, `failed`, `inactive` and the like.
    pub state: String,
    /// The code that it ended with, if it has ended.
    pub code: String,
    /// What it says of itself.
    pub line: String,
}

/// How rebootd's service is.
pub async fn service() -> Result<Service, String> {
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=ActiveState,ExecMainStatus,StatusText", "rebootd.service"]);
    let blocks = blocks(&said(&mut show).await?);
    let block = blocks.first().ok_or("systemctl says nothing of rebootd.service")?;
    let text = |key: &str| words(block.get(key), MESSAGE);
    Ok(Service {
        state: text("ActiveState"),
        code: text("ExecMainStatus"),
        line: block.get("StatusText").to_owned(),
    })
}

/// What logind says when the user of the daemon asks whether it may reboot: root may always, so root asks as that user.
pub async fn may_reboot_as(user: u32, group: u32) -> Result<String, String> {
    let mut call = Command::new("busctl");
    call.args(["call", "--json=short", "org.freedesktop.login1", "/org/freedesktop/login1"]);
    call.args(["org.freedesktop.login1.Manager", "CanReboot"]).uid(user).gid(group);
    let said = said(&mut call).await?;
    let answer = said.split('"').rev().nth(1).unwrap_or_default();
    Ok(words(answer, NOTE))
}

/// What a program prints, if it ends well and in time.
async fn said(command: &mut Command) -> Result<String, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output.map_err(|_| format!("{name} did not end within {} s", TIMEOUT.as_secs()))?;
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let why = words(&String::from_utf8_lossy(&output.stderr), NOTE);
        return Err(format!("{name} ended with {}: {why}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reboots_the_host_is_told_from_what_only_names_a_reboot() {
        for line in [
            "0 4 * * 0 root /sbin/shutdown -r now",
            "0 4 * * 0 root shutdown -hr +5 'weekly'",
            "@weekly root /usr/sbin/reboot",
            "30 3 * * * root apt-get -y upgrade && [ -f /run/reboot-required ] && /sbin/reboot",
            "test -f /run/reboot-required && systemctl reboot",
            "* * * * * root init 6",
            "shutdown --reboot 02:00",
            "x=$(systemctl kexec)",
        ] {
            assert!(reboots(line), "{line}");
        }
        for line in [
            "# 0 4 * * 0 root reboot",
            "@reboot root /usr/local/bin/mount-all -r",
            "0 4 * * 0 root shutdown -h now",
            "[ -e /run/reboot-required ] || exit 0",
            "/usr/lib/update-notifier/update-motd-reboot-required --force",
            "systemctl restart rebootd",
            "/etc/init.d/x start 6",
            "",
        ] {
            assert!(!reboots(line), "{line}");
        }
    }

    #[test]
    fn a_timer_is_told_by_what_it_starts() {
        let timers = "Id=a.timer\nUnit=a.service\nActiveState=active\n\nUnit=reboot.target\nId=b.timer\nActiveState=active\n\n\
             Id=c.timer\nUnit=a.service\nActiveState=inactive\n\nId=d.timer\nUnit=d.service\nActiveState=active\n\n\
             Id=e.timer\nUnit=e.service\nActiveState=active\n";
        let services = "ExecStart={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no }\n\
             ExecStart={ path=/sbin/shutdown ; argv[]=/sbin/shutdown -r now ; ignore_errors=no }\nId=a.service\nSuccessAction=none\n\n\
             Id=d.service\nSuccessAction=none\nExecStart={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no }\n\n\
             Id=e.service\nSuccessAction=reboot-force\n";
        let (timers, services) = (blocks(timers), blocks(services));
        let told: Vec<String> = timers.iter().filter_map(|timer| rebooting(timer, &services)).collect();
        assert_eq!(
            told,
            [
                "a.timer starts a.service: /sbin/shutdown -r now",
                "b.timer starts reboot.target",
                "e.timer starts e.service, whose SuccessAction is a reboot",
            ]
        );
    }

    #[test]
    fn a_job_is_told_with_its_place_and_made_fit_for_people() {
        let file = std::env::temp_dir().join(format!("rebootd-cron-{}", std::process::id()));
        fs::write(&file, "# x\n\n0 4 * * 0 root reboot \x1b[2J\n").unwrap();
        let mut jobs = Jobs::default();
        look_into(&file, &mut jobs);
        assert_eq!(jobs.found, [format!("{}:3: 0 4 * * 0 root reboot [2J", file.display())]);
        fs::remove_file(&file).unwrap();
        look_into(&file, &mut jobs);
        assert_eq!(jobs.unread.len(), 1);
    }
}
