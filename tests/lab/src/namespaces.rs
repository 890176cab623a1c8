//! The lab runs in namespaces of its own, so that labs do not meet and nothing outlives one.
//!
//! The program starts itself again under `unshare`: the inner process is PID 1 of a PID namespace, so its
//! end is the end of every process in the lab; mounts, addresses and network namespaces go with it. Only
//! two things have names outside: a temporary directory and a cgroup, which the outer process removes, or
//! the next lab if this one was killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::progress::say;
use crate::{cache, command, package, processes};

/// Tells the inner process that it is the inner one, and where the lab keeps its files.
const INSIDE: &str = "REBOOTD_LAB_INSIDE";
const TEMPORARY: &str = "/var/tmp";
const PREFIX: &str = "rebootd-lab.";
/// Held by the outer process for as long as the lab runs.
const LOCK: &str = "running.lock";
/// Holds the process id of the inner process, as the outer one sees it.
const PID: &str = "inner.pid";

/// The directory of the lab that this process is inside of; nothing in the outer process.
pub fn lab_directory() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// The lab's cgroup directory, whether the kernel's version 2 hierarchy is the only one or one of several.
pub fn cgroup(lab_directory: &Path) -> PathBuf {
    let several = Path::new("/sys/fs/cgroup/unified");
    let root = if several.is_dir() { several } else { Path::new("/sys/fs/cgroup") };
    root.join(lab_directory.file_name().unwrap_or_default())
}

/// Runs this program again, with the same arguments, inside new namespaces; afterwards removes what is left.
///
/// The package, if any, is what [`package::given`] will say there.
/// Ends early, and ends the lab, on SIGINT and SIGTERM.
pub async fn run_again_inside(package: Option<&Path>) -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut inner = Inner::start(&arguments, package, None)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let code = tokio::select! {
        code = inner.wait() => code?,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    inner.remove().await?;
    Ok(ExitCode::from(code))
}

/// This program once more, inside namespaces of its own, as the outer process sees it.
pub struct Inner {
    unshare: Child,
    directory: PathBuf,
    _lock: File,
}

impl Inner {
    /// Starts it with these arguments, and its output in a file where one is given.
    ///
    /// It lives no longer than the thread that calls this.
    pub fn start(arguments: &[OsString], package: Option<&Path>, output: Option<File>) -> Result<Self> {
        if !is_root()? {
            bail!("the lab makes namespaces, mounts and machines: run it as root");
        }
        allow_watches(1024)?;
        let (directory, lock) = new_directory()?;
        // Beside those of the hosts, so that the one above both counts what the whole lab costs.
        let own = cgroup(&directory).join("lab");
        fs::create_dir_all(&own).context("cannot make a cgroup (is a cgroup 2 hierarchy mounted?)")?;
        // Killed with SIGKILL, this process still takes the lab with it.
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec \"$@\"", "start"])
            .arg(own)
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args([
                "unshare",
                "--net",
                "--pid",
                "--mount",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .arg(std::env::current_exe()?)
            .args(arguments)
            .env(INSIDE, &directory)
            .envs(package.map(|package| (package::GIVEN, package)));
        if let Some(output) = output {
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        }
        let inner = command.spawn().context("cannot start the lab")?;
        // For those who want to look into the running lab.
        let unshare = inner.id().context("the lab ended at once")?;
        let pid_file = directory.join(PID);
        tokio::spawn(async move {
            loop {
                if let Some(inner) =
                    processes::children(unshare)?.into_iter().find(|child| processes::is_init(*child))
                {
                    return anyhow::Ok(fs::write(pid_file, inner.to_string())?);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Self { unshare: inner, directory, _lock: lock })
    }

    /// Waits for its end; gives its exit code.
    pub async fn wait(&mut self) -> Result<u8> {
        let status = self.unshare.wait().await?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// How much processor time the lab has used so far, on all cores together.
    pub fn processor_time(&self) -> Result<Duration> {
        let statistics = fs::read_to_string(cgroup(&self.directory).join("cpu.stat"))?;
        let used = statistics.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(used.context("cpu.stat has no usage_usec")?.parse()?))
    }

    /// Ends it, if it still runs, and removes what is left of its lab.
    pub async fn remove(mut self) -> Result<()> {
        self.unshare.kill().await?;
        remove(&self.directory).await
    }
}

/// Arguments of `nsenter` for the lab of this name, to which the command is to be added, and its directory. Without a
/// name it is the only lab that runs: among several, nobody can know which is meant.
pub fn enter_running(name: Option<&str>) -> Result<(Vec<String>, PathBuf)> {
    let mut running = Vec::new();
    for entry in fs::read_dir(TEMPORARY)? {
        let path = entry?.path();
        if let Ok(pid) = fs::read_to_string(path.join(PID))
            && is_ours(&path)
            && Path::new("/proc").join(pid.trim()).exists()
        {
            let lab = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            running.push((fs::metadata(&path)?.created()?, lab, pid.trim().to_owned(), path));
        }
    }
    // The newest first.
    running.sort_by(|one, other| other.cmp(one));
    let labs: Vec<&str> = running.iter().map(|(_, lab, ..)| lab.as_str()).collect();
    let chosen = choose(name, &labs)?;
    let (_, _, pid, path) = running.swap_remove(chosen);
    let arguments =
        ["--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--"].map(str::to_owned);
    Ok((arguments.to_vec(), path))
}

/// Which of these labs is meant, given from the newest on.
fn choose(name: Option<&str>, labs: &[&str]) -> Result<usize> {
    let listed = || labs.iter().map(|lab| format!("\n  {lab}")).collect::<String>();
    match (name, labs) {
        (_, []) => bail!("no lab runs"),
        (None, [_]) => Ok(0),
        (None, _) => bail!("several labs run; choose one with --lab NAME, the newest is first:{}", listed()),
        (Some(name), _) => {
            let found = labs.iter().position(|lab| *lab == name);
            found.with_context(|| format!("no lab {name} runs; these do:{}", listed()))
        }
    }
}

/// The first thing that the inner process does: nothing that it mounts or names is seen outside.
pub async fn set_up_inside() -> Result<()> {
    command::run("mount", &["--make-rprivate", "/"]).await?;
    // The names of network namespaces and of nspawn's machines; an empty /run hides those of other labs.
    command::run("mount", &["-t", "tmpfs", "-o", "mode=755", "lab-run", "/run"]).await?;
    fs::create_dir_all("/run/netns")?;
    command::run("ip", &["link", "set", "lo", "up"]).await?;
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// Raises the kernel's limit of inotify instances, which all hosts on this machine share and which no namespace
/// hides: each takes a dozen, the default is 128, and systemd without any of them behaves oddly.
pub(crate) fn allow_watches(enough: u32) -> Result<()> {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
    let limit: u32 = fs::read_to_string(LIMIT)?.trim().parse()?;
    if limit < enough {
        say(format!("fs.inotify.max_user_instances of this machine is raised from {limit} to {enough}"));
        fs::write(LIMIT, enough.to_string()).with_context(|| format!("cannot write {LIMIT}"))?;
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// Makes the lab's directory and locks it, after removing those of labs that are no more.
fn new_directory() -> Result<(PathBuf, File)> {
    let _sweeping = cache::lock("sweep")?;
    for entry in fs::read_dir(TEMPORARY)? {
        let path = entry?.path();
        if is_ours(&path) && File::create(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            remove_cgroup(&cgroup(&path));
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let unique = std::process::id();
    let path = (0..)
        .map(|attempt| Path::new(TEMPORARY).join(format!("{PREFIX}{unique}-{attempt}")))
        .find(|path| !path.exists() && !cgroup(path).exists())
        .context("no free name")?;
    fs::create_dir(&path)?;
    let lock = File::create(path.join(LOCK))?;
    lock.try_lock().context("a lab's new directory is locked")?;
    Ok((path, lock))
}

async fn remove(directory: &Path) -> Result<()> {
    let cgroup = cgroup(directory);
    // The last processes of the lab may need a moment to be gone.
    for _ in 0..100 {
        remove_cgroup(&cgroup);
        if !cgroup.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    if cgroup.exists() {
        bail!("processes of the lab are left in {}", cgroup.display());
    }
    Ok(())
}

/// Removes an empty cgroup with all below it; one that still has processes stays.
///
/// On a machine that also has systemd's version 1 hierarchy, nspawn mirrors the cgroup there.
pub fn remove_cgroup(path: &Path) {
    if let Ok(name) = path.strip_prefix("/sys/fs/cgroup/unified") {
        remove_cgroup(&Path::new("/sys/fs/cgroup/systemd").join(name));
    }
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_chosen_by_its_name_unless_it_is_the_only_one() {
        let error = |name, labs: &[&str]| choose(name, labs).unwrap_err().to_string();
        assert_eq!(error(None, &[]), "no lab runs");
        assert_eq!(choose(None, &["a"]).unwrap(), 0);
        assert_eq!(choose(Some("a"), &["b", "a"]).unwrap(), 1);
        assert!(error(None, &["b", "a"]).ends_with("the newest is first:\n  b\n  a"));
        assert_eq!(error(Some("c"), &["b", "a"]), "no lab c runs; these do:\n  b\n  a");
    }
}
