//! What the kubelet keeps on this host: how it reaches the API server, and the tokens that it has laid into the pods of
//! rebootd's DaemonSet. Only root may read any of it; see `rebootd-credential.service`.
//!
//! Any tenant of the cluster may run a pod with a volume of the same name, and a process that looks like a kubelet. What
//! he puts there is only offered, and comes after what is known to be of the namespace `rebootd`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::offered::Candidate;
use crate::access::Secret;

/// Where kubelets keep their pods that are not told another place: everybody's, and MicroK8s'.
const DIRECTORIES: [&str; 2] = ["/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet"];
/// Where kubelets keep the logs of pods, in directories whose names tell namespace, name and uid.
pub const LOGS: &str = "/var/log/pods";
/// The kubeconfigs of kubelets that are part of another program, or do not tell theirs: kubeadm, k3s, RKE2, clouds,
/// MicroK8s.
const KUBECONFIGS: [&str; 5] = [
    "/etc/kubernetes/kubelet.conf",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "/var/lib/rancher/rke2/agent/kubelet.kubeconfig",
    "/var/lib/kubelet/kubeconfig",
    "/var/snap/microk8s/current/credentials/kubelet.config",
];
/// The volume of rebootd's DaemonSet.
const VOLUME: &str = "volumes/kubernetes.io~projected/rebootd-credential";
/// How the directories of logs of the namespace `rebootd` begin.
const OUR_LOGS: &str = "rebootd_";
/// More pods with such a volume than anybody needs.
const MOST_CANDIDATES: usize = 8;
const LONGEST_TOKEN: u64 = 16 << 10;
const LONGEST_AUTHORITY: u64 = 256 << 10;
const LONGEST_PROC: u64 = 64 << 10;

/// The kubeconfigs by which the kubelet of this host may reach the API server: the one that the running kubelet was
/// told, then those of known places. Only files that nobody but root may write, and none that a pod may have made.
pub fn kubeconfigs(proc: &Path) -> Vec<PathBuf> {
    let pods: Vec<PathBuf> = directories(proc).iter().map(|directory| directory.join("pods")).collect();
    let mut found = told(proc, "--kubeconfig");
    found.extend(KUBECONFIGS.map(PathBuf::from));
    found.retain(|path| is_roots(path) && !is_below(path, &pods));
    found
}

/// Where the kubelets of this host may keep their pods: what the running one was told, then the known places.
pub fn directories(proc: &Path) -> Vec<PathBuf> {
    let mut found = told(proc, "--root-dir");
    found.extend(DIRECTORIES.map(PathBuf::from));
    found.sort_unstable();
    found.dedup();
    found
}

/// What the running kubelets of this host were told by this option.
pub(super) fn told(proc: &Path, option: &str) -> Vec<PathBuf> {
    processes(proc).iter().filter_map(|process| told_to(process, option)).collect()
}

fn processes(proc: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let is_process = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    entries.map(|entry| entry.path()).filter(is_process).collect()
}

/// The absolute path that an option says, if this is a kubelet of the host: started by root and not by somebody whom a
/// setuid program made root, in the host's own namespace of process ids, and in no pod and nobody's session.
fn told_to(process: &Path, option: &str) -> Option<PathBuf> {
    let text = |name: &str| crate::read::read(&process.join(name), LONGEST_PROC).ok();
    let command = text("cmdline")?;
    let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    if Path::new(program.as_ref()).file_name()? != "kubelet" || fs::metadata(process).ok()?.uid() != 0 {
        return None;
    }
    let status = String::from_utf8(text("status")?).ok()?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_roots = line("Uid:")?.split_whitespace().all(|uid| uid == "0");
    let is_of_host = line("NSpid:")?.split_whitespace().count() == 1;
    let groups = String::from_utf8(text("cgroup")?).ok()?;
    if !is_roots || !is_of_host || ["kubepods", "user.slice"].iter().any(|group| groups.contains(group)) {
        return None;
    }
    while let Some(word) = words.next() {
        let path = match word.split_once('=') {
            Some((name, path)) if name == option => path.to_owned(),
            _ if word == option => words.next()?.into_owned(),
            _ => continue,
        };
        return Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    }
    None
}

/// Wherever its links lead.
fn is_below(path: &Path, directories: &[PathBuf]) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = real(path);
    directories.iter().any(|directory| path.starts_with(real(directory)))
}

fn is_roots(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.uid() == 0 && it.mode() & 0o022 == 0)
}

/// The tokens in volumes of the DaemonSet's name, those of the namespace `rebootd` first. The others, of which there may
/// be more than are taken, begin with another one for each `turn`: where a kubelet keeps its logs elsewhere, ours is
/// one of them, and comes in time however many tenants have such a volume.
pub fn candidates(directories: &[PathBuf], logs: &Path, turn: usize) -> Vec<Candidate> {
    let uids = pods_of_our_namespace(logs);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for directory in directories {
        for entry in fs::read_dir(directory.join("pods")).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|uid| uids.contains(uid));
            let volume = entry.path().join(VOLUME);
            if volume.is_dir() {
                if is_ours { &mut ours } else { &mut others }.push(volume);
            }
        }
    }
    others.sort_unstable();
    let first = turn.checked_rem(others.len()).unwrap_or_default();
    others.rotate_left(first);
    ours.iter()
        .chain(&others)
        .filter_map(|volume| candidate(volume).inspect_err(|error| tell(volume, error)).ok())
        .take(MOST_CANDIDATES)
        .collect()
}

/// For who wonders in the unit's journal. What the volume holds is not told.
fn tell(volume: &Path, error: &io::Error) {
    eprintln!("{}: {error}", volume.display());
}

/// The uids of its pods. The kubelet makes the directory even where no container of the pod ever starts.
fn pods_of_our_namespace(logs: &Path) -> BTreeSet<String> {
    let names =
        fs::read_dir(logs).into_iter().flatten().flatten().filter_map(|it| it.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(OUR_LOGS))
        .filter_map(|name| Some(name.rsplit_once('_')?.1.to_owned()))
        .collect()
}

/// What lies in a volume that the kubelet has mounted: in memory, and root's.
fn candidate(volume: &Path) -> io::Result<Candidate> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(volume)?;
    if fstatfs(directory.as_fd())?.filesystem_type() != TMPFS_MAGIC || directory.metadata()?.uid() != 0 {
        return Err(io::Error::other("is not a volume that the kubelet has mounted"));
    }
    // Not by the links beside `..data`: the kubelet gives them to the user that the pod runs as, and in a directory that
    // everybody may write to, not even root follows the link of somebody else (fs.protected_symlinks).
    let data = readlinkat(&directory, "..data")?;
    if !matches!(Path::new(&data).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
        return Err(io::Error::other("its ..data leads elsewhere"));
    }
    let data = open_in(&directory, Path::new(&data), OFlag::O_DIRECTORY)?;
    let token = text_in(&data, "token", LONGEST_TOKEN)?.trim().to_owned();
    let certificate_authority = text_in(&data, "ca.crt", LONGEST_AUTHORITY)?;
    // Control characters take six times their room in the file that we write, which must not become too long to read.
    let is_text = |it: char| !it.is_control() || it.is_ascii_whitespace();
    if !token.bytes().all(|it| it.is_ascii_graphic()) || !certificate_authority.chars().all(is_text) {
        return Err(io::Error::other("it holds no token and certificate authority"));
    }
    Ok(Candidate { token: Secret::new(token), certificate_authority })
}

/// What has this name in a directory; no link.
///
/// openat2(2) would say that in one flag, but RestrictSUIDSGID= of systemd forbids it.
fn open_in(directory: &File, name: &Path, flags: OFlag) -> io::Result<File> {
    let safe = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags | safe, Mode::empty())?))
}

/// A regular file in this directory, and no more of it than this.
fn text_in(directory: &File, name: &str, most: u64) -> io::Result<String> {
    let file = open_in(directory, Path::new(name), OFlag::empty())?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{name} is not a regular file")));
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("{name} is longer than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = Path::new("/dev/shm").join(format!("rebootd-kubelet-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn volume(kubelet: &Path, uid: &str, token: &str) -> PathBuf {
        let volume = kubelet.join("pods").join(uid).join(VOLUME);
        fs::create_dir_all(volume.join("..2026")).unwrap();
        fs::write(volume.join("..2026/token"), token).unwrap();
        fs::write(volume.join("..2026/ca.crt"), "ca").unwrap();
        symlink("..2026", volume.join("..data")).unwrap();
        for name in ["token", "ca.crt"] {
            symlink(format!("..data/{name}"), volume.join(name)).unwrap();
        }
        volume
    }

    fn tokens(kubelet: &Path, logs: &Path) -> Vec<String> {
        candidates(&[kubelet.to_owned()], logs, 0).iter().map(|it| it.token.expose().to_owned()).collect()
    }

    #[test]
    fn our_own_pods_come_first_and_what_is_odd_does_not_come_at_all() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let (kubelet, logs) = (place("pods"), place("logs"));
        for number in 0..20 {
            volume(&kubelet, &format!("a-{number}"), "a-tenants");
        }
        volume(&kubelet, "z", "ours\n");
        fs::create_dir(logs.join("rebootd_credential-abc_z")).unwrap();
        fs::create_dir(logs.join("tenant_rebootd_a-1")).unwrap();
        let found = tokens(&kubelet, &logs);
        assert_eq!((found[0].as_str(), found.len()), ("ours", MOST_CANDIDATES));
        // Not told apart by its logs, it comes in one of the turns.
        let comes = |turn: usize| {
            let found = candidates(std::slice::from_ref(&kubelet), Path::new("/no/such"), turn);
            found.iter().any(|it| it.token.expose() == "ours")
        };
        assert!(!comes(0) && (0..21).filter(|turn| comes(*turn)).count() == MOST_CANDIDATES);
        fs::remove_dir_all(&kubelet).unwrap();

        let odd = volume(&kubelet, "link", "x");
        fs::remove_file(odd.join("..2026/token")).unwrap();
        symlink("/etc/hostname", odd.join("..2026/token")).unwrap();
        let odd = volume(&kubelet, "pipe", "x");
        fs::remove_file(odd.join("..2026/token")).unwrap();
        nix::unistd::mkfifo(&odd.join("..2026/token"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        volume(&kubelet, "long", &"x".repeat(1 << 20));
        let odd = volume(&kubelet, "bytes", "x");
        fs::write(odd.join("..2026/token"), b"\xff").unwrap();
        volume(&kubelet, "control", "x\ny");
        let odd = volume(&kubelet, "nothing", "x");
        fs::write(odd.join("..2026/ca.crt"), [0; 1000]).unwrap();
        let odd = volume(&kubelet, "data", "x");
        fs::remove_file(odd.join("..data")).unwrap();
        symlink("/etc", odd.join("..data")).unwrap();
        let odd = volume(&kubelet, "up", "x");
        fs::remove_file(odd.join("..data")).unwrap();
        symlink("..", odd.join("..data")).unwrap();
        fs::write(odd.parent().unwrap().join("token"), "x").unwrap();
        fs::write(odd.parent().unwrap().join("ca.crt"), "x").unwrap();
        let odd = volume(&kubelet, "owner", "x");
        nix::unistd::chown(&odd, Some(65534.into()), None).unwrap();
        let elsewhere = kubelet.join("pods/elsewhere").join(VOLUME);
        fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
        symlink(volume(&place("elsewhere"), "x", "x"), &elsewhere).unwrap();
        assert_eq!(tokens(&kubelet, &logs), Vec::<String>::new());
        // On a disk, no kubelet has mounted it.
        let disk =
            std::env::current_dir().unwrap().join("target").join(format!("kubelet-{}", std::process::id()));
        volume(&disk, "z", "ours");
        assert_eq!(tokens(&disk, &logs), Vec::<String>::new());
        for path in [&kubelet, &logs, &disk, &place("elsewhere")] {
            fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn what_the_largest_candidates_offer_can_be_read_by_the_daemon() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let (kubelet, logs) = (place("largest"), place("largest-logs"));
        for (number, filling) in ["\"", "\\", "\n", "\t", "\u{c}", "\u{7f}", "\u{1}", "\0"].iter().enumerate()
        {
            let volume = volume(&kubelet, &number.to_string(), &"\"".repeat(LONGEST_TOKEN as usize));
            let content = filling.repeat(LONGEST_AUTHORITY as usize);
            fs::write(volume.join("..2026/ca.crt"), content).unwrap();
        }
        let candidates = candidates(std::slice::from_ref(&kubelet), &logs, 0);
        let offered = super::super::offered::Offered {
            server: Ok("https://a".into()),
            certificate_authority: Some("\n".repeat(LONGEST_AUTHORITY as usize)),
            candidates,
        };
        let path = kubelet.join("offered.json");
        super::super::offered::store(&path, &offered).unwrap();
        assert_eq!(super::super::offered::load(&path).unwrap(), offered);
        for path in [&kubelet, &logs] {
            fs::remove_dir_all(path).unwrap();
        }
    }

    fn process(proc: &Path, number: u32, command: &[&str], ids: &str, group: &str) {
        let path = proc.join(number.to_string());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("cmdline"), command.join("\0") + "\0").unwrap();
        let (uid, ids) = ids.split_once(' ').unwrap_or(("0", ids));
        let status = format!("Name:\tkubelet\nUid:\t{uid}\t0\t0\t0\nNSpid:\t{ids}\n");
        fs::write(path.join("status"), status).unwrap();
        fs::write(path.join("cgroup"), format!("0::{group}\n")).unwrap();
    }

    #[test]
    fn only_a_kubelet_of_the_host_is_asked_for_its_kubeconfig() {
        let proc = place("proc");
        let service = "/system.slice/kubelet.service";
        process(&proc, 1, &["/usr/bin/kubelet", "--root-dir=/data", "--kubeconfig=/etc/a"], "1", service);
        process(&proc, 2, &["kubelet", "--kubeconfig", "/etc/b"], "2", service);
        process(&proc, 3, &["kubelet", "--kubeconfig", "/etc/c"], "3\t1", service);
        process(&proc, 4, &["kubelet", "--kubeconfig=/etc/d"], "4", "/kubepods.slice/pod1");
        process(&proc, 5, &["kubelet", "--kubeconfig=relative"], "5", service);
        process(&proc, 6, &["other", "--kubeconfig=/etc/e"], "6", service);
        process(&proc, 7, &["kubelet"], "7", service);
        // sudo, by somebody who calls it so.
        process(&proc, 8, &["kubelet", "-S", "--kubeconfig=/etc/f"], "1001 8", service);
        process(
            &proc,
            9,
            &["kubelet", "--kubeconfig=/etc/g"],
            "9",
            "/user.slice/user-1001.slice/session-1.scope",
        );
        let mut found = told(&proc, "--kubeconfig");
        found.sort_unstable();
        if nix::unistd::Uid::effective().is_root() {
            assert_eq!(found, [PathBuf::from("/etc/a"), PathBuf::from("/etc/b")]);
            assert_eq!(directories(&proc).len(), 3);
            // A pod writes as root into its volumes.
            let of_a_pod = proc.join("pods/a/kubeconfig");
            fs::create_dir_all(of_a_pod.parent().unwrap()).unwrap();
            fs::write(&of_a_pod, "").unwrap();
            symlink(&of_a_pod, proc.join("link")).unwrap();
            assert!(is_roots(&of_a_pod));
            for path in [&of_a_pod, &proc.join("link")] {
                assert!(is_below(path, &[proc.join("pods")]));
            }
            assert!(!is_below(&proc.join("pods-too"), &[proc.join("pods")]));
        }
        fs::remove_dir_all(&proc).unwrap();
    }
}
