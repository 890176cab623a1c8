//! `rebootctl credential`: a person brings this node a credential, where nothing else does.

use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use nix::unistd::{Gid, Group, Uid};

use super::kubeconfig::runtime;
use crate::access::{ApiAccess, Credential as Way, PemSource};
use crate::cluster::{Api, BoundNode};
use crate::config::{DEFAULT_DIRECTORIES, Files};
use crate::host::identity;
use crate::host::offered::{self, Offered};

/// The group of the daemon.
const GROUP: &str = "rebootd";
const LONGEST: u64 = 1 << 20;

/// Give this node a credential by hand
#[derive(Debug, Args)]
pub(super) struct Credential {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read a credential from standard input, try it, and have rebootd use it
    ///
    /// `rebootctl enroll` makes it, where kubectl works. It has to be of this machine's Node, which
    /// the API server is asked. With it rebootd gets a credential of its own, and renews that from
    /// then on. Needs root.
    Install,
}

impl Credential {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Install => install(),
        }
    }
}

fn install() -> anyhow::Result<ExitCode> {
    if let Some(access) = configured()? {
        bail!(
            "the files of this host name another credential, for {}: take [api] or the kubeconfig away first \
             (rebootctl config shows where they are)",
            access.server
        );
    }
    // Told before anything is read from a pipe that cannot be read twice.
    ensure!(Uid::effective().is_root(), "only root may keep a credential for this host: run this with sudo");
    let offered = from_standard_input()?;
    let node = tried(&offered)?;
    let group = Group::from_name(GROUP)?
        .ok_or_else(|| anyhow!("there is no group {GROUP}: is rebootd installed?"))?;
    store(&offered, group.gid).with_context(|| format!("cannot keep it in {}", offered::INSTALLED))?;
    println!("This machine is the Node {}.", node.name);
    let is_up =
        Command::new("systemctl").args(["is-active", "--quiet", "rebootd.service"]).status()?.success();
    if !is_up {
        println!(
            "rebootd does not run. Start it before the next boot, and it gets its own credential: systemctl start rebootd"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let told = Command::new("systemctl").args(["reload", "rebootd.service"]).status()?;
    ensure!(told.success(), "rebootd does not take it up: systemctl status rebootd");
    println!(
        "rebootd gets its own credential now, and renews it from then on. What it waits for: rebootctl status"
    );
    Ok(ExitCode::SUCCESS)
}

/// How the files of this host reach the cluster, if they say so. Files with mistakes are told by others.
fn configured() -> anyhow::Result<Option<ApiAccess>> {
    let files = Files::read(&DEFAULT_DIRECTORIES.map(Path::new))?;
    Ok(files.settings(&identity::host_name()?)?.api)
}

fn from_standard_input() -> anyhow::Result<Offered> {
    if io::stdin().is_terminal() {
        eprintln!("Paste the file that `rebootctl enroll` has written; end with Ctrl-D.");
    }
    let mut content = Vec::new();
    io::stdin().take(LONGEST + 1).read_to_end(&mut content).context("cannot read standard input")?;
    ensure!(content.len() as u64 <= LONGEST, "standard input is longer than any credential");
    // The error would show what stands there.
    offered::parse(&content)
        .map_err(|_| anyhow!("standard input is no credential as `rebootctl enroll` writes it"))
}

/// The Node that it is bound to, which is this machine, as the API server says.
fn tried(offered: &Offered) -> anyhow::Result<BoundNode> {
    let server = offered.server.clone().map_err(|why| match why.as_str() {
        "" => anyhow!("standard input names no API server"),
        why => anyhow!("standard input names no API server: {why}"),
    })?;
    let candidate = offered.candidates.first().context("standard input has no token")?;
    let authority = offered.certificate_authority.as_ref().unwrap_or(&candidate.certificate_authority);
    let access = ApiAccess {
        server: server.clone(),
        certificate_authority: PemSource::Inline(authority.clone().into_bytes()),
        credential: Way::Token(candidate.token.clone()),
    };
    let machine_id = identity::machine_id(Path::new(identity::MACHINE_ID)).map_err(anyhow::Error::msg)?;
    let node = runtime()?.block_on(Api::new(access, String::new()).own_node(&machine_id));
    node.with_context(|| format!("it is of no use on this machine, tried at {server}"))
}

fn store(offered: &Offered, group: Gid) -> io::Result<()> {
    let path = Path::new(offered::INSTALLED);
    if let Some(directory) = path.parent() {
        match DirBuilder::new().mode(0o750).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => chown(directory, None, Some(group.as_raw()))?,
        }
    }
    // An earlier one must not look newer than what rebootd has, in between.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    offered::store(path, offered)?;
    chown(path, None, Some(group.as_raw()))
}
