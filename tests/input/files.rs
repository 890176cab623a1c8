//! Every file that rebootd reads.

use std::fs;
use std::path::Path;
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use rebootd::cluster::Api;
use rebootd::config::{self, Files};
use rebootd::decide::settings::{Prometheus, Query};
use rebootd::host::packages::HalfInstalled;
use rebootd::host::{
    command, credential, graceful, hold, identity, livepatch, memory, needrestart, offered, others, sentinel,
    upgrades,
};

use crate::bad::{BAD, Bad, UNREADABLE};
use crate::{Told, block_on, directory};

/// Nobody waits longer for a file.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What a reading may read besides the file: the time zone's or the linker's, and what a failed connection needs.
const BESIDE: u64 = 256 << 10;

/// A file that rebootd reads.
struct Input {
    name: &'static str,
    /// Its name in the directory of the test.
    file: &'static str,
    /// What a good one contains.
    good: fn() -> String,
    /// The most bytes of it that may be read.
    most: u64,
    /// Reads it; the answer is for people.
    read: fn(&Path) -> Result<String, String>,
}

const INPUTS: &[Input] = &[
    Input {
        name: "sentinel",
        file: "reboot-required",
        good: || "*** System restart required ***\n".into(),
        most: 0,
        read: |path| {
            let request = sentinel::read(path)?;
            Ok(request
                .map_or("does not ask".into(), |it| format!("asks: {}, {:?}", it.reason, since(it.since))))
        },
    },
    Input {
        name: "packages of the sentinel",
        file: "reboot-required.pkgs",
        good: || "linux-base\nlibc6\n".into(),
        most: 64 << 10,
        read: |path| {
            let sentinel = path.with_extension("");
            fs::write(&sentinel, "").unwrap();
            let request = sentinel::read(&sentinel)?.unwrap();
            assert!(request.packages.iter().all(|name| name.chars().count() <= 128));
            Ok(format!("asks: {}", request.reason))
        },
    },
    Input {
        name: "hold",
        file: "hold",
        good: || "a disk is being replaced\n".into(),
        most: 64 << 10,
        read: |path| Ok(hold::read(path)?.map_or("does not hold".into(), |why| format!("holds: {why}"))),
    },
    Input {
        name: "needrestart",
        file: "rebootd-needrestart",
        good: || "NEEDRESTART-VER: 3.6\nNEEDRESTART-KEXP: 6.1.0-41-amd64\nNEEDRESTART-KSTA: 3\n".into(),
        most: 64 << 10,
        read: |path| match needrestart::read(path) {
            None => Ok("has not run".into()),
            Some(answer) => Ok(answer?.map_or("does not ask".into(), |it| format!("asks: {}", it.reason))),
        },
    },
    Input {
        name: "Livepatch",
        file: "rebootd-livepatch",
        good: || "yes-kernel-livepatches-applied\n".into(),
        most: 64 << 10,
        read: |path| {
            let sentinel = path.with_file_name("sentinel");
            Bad::Dated(1_600_000_000, "").lay(&sentinel, b"");
            Ok(if livepatch::read(path, &sentinel)? { "covers it" } else { "does not cover it" }.into())
        },
    },
    Input {
        name: "configuration",
        file: "config.toml",
        good: || "[node]\npool = \"db\"\n".into(),
        most: 1 << 20,
        read: |path| configuration(path.parent().unwrap()),
    },
    Input {
        name: "fragment of the configuration",
        file: "config.d/50-pool.toml",
        good: || "[node]\npool = \"db\"\n".into(),
        most: 1 << 20,
        read: |path| configuration(path.parent().unwrap().parent().unwrap()),
    },
    Input {
        name: "kept configuration",
        file: "configuration.json",
        good: || {
            r#"{"files": [["/etc/rebootd/config.toml", "[node]\npool = \"db\""]], "administrators": "/etc/rebootd"}"#.into()
        },
        most: 16 << 20,
        read: |path| {
            let files = Files::load(path).map_err(|error| error.to_string())?;
            Ok(files.settings("n1").map_err(|error| error.summary())?.pool)
        },
    },
    Input {
        name: "state",
        file: "state.json",
        good: || r#"{"version": 1, "last_reboot": {"boot_id": "a", "seconds_since_1970": 7}}"#.into(),
        most: 1 << 20,
        read: |path| {
            let memory = memory::load(path).map_err(|error| error.to_string())?;
            Ok(if memory.last_reboot.is_some() { "remembers a reboot" } else { "remembers nothing" }.into())
        },
    },
    Input {
        name: "dpkg's log",
        file: "dpkg.log",
        good: || "2026-11-28 08:22:20 upgrade libc6:amd64 2.36-9 2.36-10\n".into(),
        most: 1 << 20,
        read: |path| {
            let all = upgrades::read(path, Duration::ZERO, Duration::from_secs(u64::MAX));
            let all = all.map_err(|error| format!("{}: {error}", path.display()))?;
            assert!(all.keys().all(|name| name.chars().count() <= 200));
            // Without its time, which depends on the zone of this machine.
            let told =
                |(name, it): (&String, &upgrades::Upgrade)| format!("{name}: {:?}", (&it.before, &it.after));
            Ok(all.first_key_value().map_or("no upgrade".into(), told))
        },
    },
    Input {
        name: "kubeconfig",
        file: "kubeconfig",
        good: || KUBECONFIG.into(),
        most: 1 << 20,
        read: |path| configuration(path.parent().unwrap()),
    },
    Input {
        name: "kubeconfig of a person",
        file: "admin.conf",
        good: || KUBECONFIG.into(),
        most: 1 << 20,
        read: |path| {
            if !path.is_file() {
                return Ok("(a person may name a pipe)".into());
            }
            let access = config::read_persons_kubeconfig(path, &|_| Err("not run".to_owned()))
                .map_err(|error| error.to_string())?;
            Ok(access.server)
        },
    },
    Input {
        name: "kubeconfig of the kubelet",
        file: "kubelet.conf",
        good: || KUBECONFIG.into(),
        most: 1 << 20,
        read: |path| {
            let (server, authority) = config::read_kubelets_cluster(path).map_err(|error| error.summary())?;
            Ok(format!("{server}, {authority:?}"))
        },
    },
    Input {
        name: "what root offers towards a credential",
        file: "offered.json",
        good: || {
            r#"{"server": "https://a", "candidates": [{"token": "abc", "certificate_authority": "ca"}]}"#
                .into()
        },
        most: 8 << 20,
        read: |path| {
            let offered = offered::load(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(format!("{} tokens for {:?}", offered.candidates.len(), offered.server))
        },
    },
    Input {
        name: "what is kept beside the own token",
        file: "credential.json",
        good: || {
            r#"{"server": "https://a", "certificate_authority": "ca", "node": "n1", "node_uid": "u", "machine_id": "m", "issued": 7, "life": 600}"#.into()
        },
        most: 1 << 20,
        read: |path| {
            fs::write(path.with_file_name("token"), "abc").unwrap();
            let kept = credential::load(path.parent().unwrap());
            let kept = kept.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(kept.map_or("none".into(), |kept| format!("bound to {}", kept.node)))
        },
    },
    Input {
        name: "token",
        file: "token",
        good: || "abc\n".into(),
        most: 64 << 10,
        read: |path| ask(inline(&PAIR.0), Credential::TokenFile(path.to_owned())),
    },
    Input {
        name: "certificate authority",
        file: "ca.crt",
        good: || PAIR.0.clone(),
        most: 4 << 20,
        read: |path| ask(PemSource::File(path.to_owned()), Credential::Token(Secret::new("t".into()))),
    },
    Input {
        name: "client certificate",
        file: "client.crt",
        good: || PAIR.0.clone(),
        most: 4 << 20,
        read: |path| {
            let (certificate, key) = (PemSource::File(path.to_owned()), inline(&PAIR.1));
            ask(inline(&PAIR.0), Credential::ClientCertificate { certificate, key })
        },
    },
    Input {
        name: "key of the client",
        file: "client.key",
        good: || PAIR.1.clone(),
        most: 4 << 20,
        read: |path| {
            let (certificate, key) = (inline(&PAIR.0), PemSource::File(path.to_owned()));
            ask(certificate.clone(), Credential::ClientCertificate { certificate, key })
        },
    },
    Input {
        name: "token for Prometheus",
        file: "prometheus-token",
        good: || "abc\n".into(),
        most: 64 << 10,
        read: |path| query("http://127.0.0.1:1", Some(path), Path::new("/unused")),
    },
    Input {
        name: "certificate authority of Prometheus",
        file: "prometheus-ca.crt",
        good: || PAIR.0.clone(),
        most: 4 << 20,
        read: |path| query("https://127.0.0.1:1", None, path),
    },
    Input {
        name: "machine id",
        file: "machine-id",
        good: || "0123456789abcdef0123456789abcdef\n".into(),
        most: 64 << 10,
        read: identity::machine_id,
    },
    Input {
        name: "dpkg's database",
        file: "status",
        good: || "Package: libc6\nStatus: install ok half-configured\n".into(),
        most: 64 << 20,
        read: |path| Ok(format!("half-installed: {}", HalfInstalled::default().read(path)?.first.join(", "))),
    },
    Input {
        name: "a crontab",
        file: "crontab",
        good: || "0 4 * * 0 root /sbin/shutdown -r now\n".into(),
        most: 1 << 20,
        read: |path| Ok(others::cron_job(path)?.unwrap_or_else(|| "reboots nothing".into())),
    },
    Input {
        name: "the kubelet's configuration",
        file: "config.yaml",
        good: || "kind: KubeletConfiguration\nshutdownGracePeriod: 30s\n".into(),
        most: 1 << 20,
        read: |path| Ok(graceful::period(path)?.unwrap_or_else(|| "off".into())),
    },
    Input {
        name: "output of the sentinel command",
        file: "output",
        good: || "a reason\n".into(),
        most: 2 << 20,
        read: |path| {
            // Whatever is no file is the command's own affair.
            if !path.is_file() || path.metadata().unwrap().len() > 10 << 20 {
                return Ok("(not read)".into());
            }
            let words = ["/bin/cat".to_owned(), path.to_string_lossy().into_owned()];
            let request = block_on(command::ask(&words))?;
            Ok(request.map_or("does not ask".into(), |it| format!("asks: {}", it.reason)))
        },
    },
];

const KUBECONFIG: &str = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
    clusters: [{name: a, cluster: {server: 'https://127.0.0.1:6443', certificate-authority: /ca.crt}}]\n\
    users: [{name: a, user: {tokenFile: /token}}]\n";

fn since(since: Option<Duration>) -> &'static str {
    match since.map(|since| since.as_secs()) {
        None => "since when is not known",
        Some(4_070_908_800..) => "since 2099",
        Some(_) => "since then",
    }
}

fn configuration(directory: &Path) -> Result<String, String> {
    let settings = config::load(&[directory], "n1").map_err(|error| error.summary())?;
    Ok(format!(
        "pool {}, {}",
        settings.pool,
        if settings.api.is_some() { "with an API" } else { "without an API" }
    ))
}

/// A certificate, which is its own authority, and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["n1".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
});

fn inline(pem: &str) -> PemSource {
    PemSource::Inline(pem.as_bytes().to_vec())
}

/// Asks a server that is not there.
fn ask(certificate_authority: PemSource, credential: Credential) -> Result<String, String> {
    let access = ApiAccess { server: "https://127.0.0.1:1".into(), certificate_authority, credential };
    usable(block_on(Api::new(access, "n1".into()).pods()).map(drop).unwrap_err().to_string())
}

fn query(url: &str, token: Option<&Path>, authority: &Path) -> Result<String, String> {
    let server = Prometheus::Url {
        url: url.to_owned(),
        token_file: token.map(Path::to_owned),
        certificate_authority: authority.to_owned(),
    };
    let query = Query { expression: "up".into(), server };
    let access = ApiAccess {
        server: "https://127.0.0.1:1".into(),
        certificate_authority: inline(&PAIR.0),
        credential: Credential::Token(Secret::new("t".into())),
    };
    usable(block_on(Api::new(access, "n1".into()).query(&query)).map(drop).unwrap_err().to_string())
}

fn usable(error: String) -> Result<String, String> {
    if error.contains("Connection refused") { Ok("is used".into()) } else { Err(error) }
}

/// Reads on a thread of its own: what comes back, and how many bytes it has read meanwhile.
fn watched(input: &'static Input, path: &Path) -> (Result<String, String>, u64) {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        // The first reading of a thread also reads what its libraries need.
        let begun = bytes_read();
        let answer = (input.read)(&path);
        let _ = sender.send((answer, bytes_read() - begun));
    });
    receiver.recv_timeout(TIMEOUT).expect("it waits for ever")
}

/// How many bytes this thread has read so far.
fn bytes_read() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn whatever_stands_in_place_of_a_file() {
    let mut told = Told::default();
    let is_root = nix::unistd::Uid::effective().is_root();
    for input in INPUTS {
        told.input(input.name);
        for (bad, kind) in BAD {
            let directory = directory("files");
            fs::create_dir(directory.join("config.d")).unwrap();
            let path = directory.join(input.file);
            kind.lay(&path, (input.good)().as_bytes());
            let (answer, read) = watched(input, &path);
            assert!(read <= input.most + BESIDE, "{}, {bad}: {read} bytes were read", input.name);
            let here = directory.to_str().unwrap();
            if let Err(error) = &answer
                && !matches!(kind, Bad::Content(_))
                && !["state", "kept configuration"].contains(&input.name)
            {
                assert!(error.contains(here), "{}, {bad}: where? {error}", input.name);
            }
            let answer = answer.unwrap_or_else(|error| format!("ERROR {error}")).replace(here, "DIR");
            // For root it is like any other file.
            if *bad != UNREADABLE {
                told.answer(bad, kind.content((input.good)().as_bytes()).as_deref(), &answer);
            } else if !is_root && !["sentinel", "output of the sentinel command"].contains(&input.name) {
                assert!(answer.contains("ermission denied"), "{}: {answer}", input.name);
            }
            fs::remove_dir_all(&directory).unwrap();
        }
    }
    told.compare("files.txt");
}
