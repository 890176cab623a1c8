//! `rebootctl enroll`: a person makes credentials for nodes that no DaemonSet brings one.
//!
//! All of it is asked of kubectl, which knows each way in which people reach their clusters.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::slots::parse_name;
use crate::access::Secret;
use crate::host::offered::{self, Candidate, Offered};

/// The node has this long to get its own, in seconds.
const LIFE: u32 = 24 * 60 * 60;
/// The certificate authority of the API server, as every pod is given it.
const ROOT_CA: &str = "kube-root-ca.crt";

/// Make credentials for nodes, where no DaemonSet brings them
///
/// Run it where kubectl works, with an administrator's rights. Writes a file for each node, which is to be
/// given to `rebootctl credential install` on that node, as standard input; with --ssh it does that itself.
/// A file is of use for a day and for its node only, and an older one is replaced; with it the node gets
/// a credential of its own, and renews that from then on. rebootd's manifests have to be applied first.
/// Exits with 1 if one of the nodes has none.
#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// The Nodes
    #[arg(value_name = "NODE", value_parser = parse_name, required_unless_present = "all")]
    nodes: Vec<String>,
    /// All Nodes of the cluster
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// Install it there: ssh NODE sudo rebootctl credential install; for that ssh has to know each node by its Node's
    /// name, and sudo there may not ask for a password
    #[arg(long, conflicts_with = "to")]
    ssh: bool,
    /// Write the files into this directory; "-" writes that of a single node to standard output
    #[arg(long, value_name = "DIR", default_value = ".")]
    to: PathBuf,
    /// The API server's address as nodes reach it; by default that of the kubeconfig
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Have kubectl use this kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Where nodes find the API server, and who signs its certificate.
struct Cluster {
    server: String,
    certificate_authority: String,
}

impl Enroll {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let cluster = self.cluster()?;
        let nodes = self.nodes()?;
        let to_standard_output = self.to == Path::new("-");
        ensure!(
            !to_standard_output || nodes.len() == 1,
            "standard output takes the credential of one node only"
        );
        ensure!(to_standard_output || self.ssh || self.to.is_dir(), "{} is no directory", self.to.display());
        eprintln!("The nodes will reach the API server at {}.", cluster.server);
        let mut failed = 0;
        for node in &nodes {
            let result = self.credential(&cluster, node).and_then(|content| match to_standard_output {
                true => Ok(io::stdout().write_all(&content)?),
                false if self.ssh => install(node, &content),
                false => write(&self.to.join(format!("{node}.credential")), &content),
            });
            if let Err(error) = result {
                failed += 1;
                eprintln!("{node}: {error:#}");
            }
        }
        if !self.ssh && !to_standard_output && failed < nodes.len() {
            eprintln!(
                "Within a day, on each node, as root: rebootctl credential install < NODE.credential; then delete the file."
            );
        }
        ensure!(failed == 0, "{failed} of {} nodes have no credential", nodes.len());
        Ok(ExitCode::SUCCESS)
    }

    fn cluster(&self) -> anyhow::Result<Cluster> {
        let config =
            self.kubectl(&["config", "view", "--minify", "--flatten", "--raw", "-o", "json"], None)?;
        let cluster = config.pointer("/clusters/0/cluster");
        let cluster = cluster.context("kubectl config view: its current context names no cluster")?;
        let data = cluster.get("certificate-authority-data").and_then(Value::as_str);
        let authority = match (&self.server, data) {
            (None, Some(data)) => String::from_utf8(STANDARD.decode(data)?)?,
            _ => self.root_ca()?,
        };
        let server = match &self.server {
            Some(server) => server.clone(),
            None => own_server(cluster)?,
        };
        ensure!(server.starts_with("https://"), "{server} is no address like https://API-SERVER:6443");
        Ok(Cluster { server: server.trim_end_matches('/').to_owned(), certificate_authority: authority })
    }

    fn root_ca(&self) -> anyhow::Result<String> {
        let map =
            self.kubectl(&["get", "configmap", ROOT_CA, "--namespace=kube-system", "-o", "json"], None)?;
        let text = map.pointer("/data/ca.crt").and_then(Value::as_str);
        Ok(text.with_context(|| format!("ConfigMap kube-system/{ROOT_CA} has no ca.crt"))?.to_owned())
    }

    fn nodes(&self) -> anyhow::Result<Vec<String>> {
        if !self.all {
            return Ok(self.nodes.clone());
        }
        let list = self.kubectl(&["get", "nodes", "-o", "json"], None)?;
        let nodes = list.get("items").and_then(Value::as_array).into_iter().flatten();
        let names = nodes.filter_map(|node| node.pointer("/metadata/name")?.as_str());
        names.map(|name| parse_name(name).map_err(|why| anyhow!("{name:?}: {why}"))).collect()
    }

    /// In the form that `rebootctl credential install` reads.
    fn credential(&self, cluster: &Cluster, node: &str) -> anyhow::Result<Vec<u8>> {
        let object = self.kubectl(&["get", "node", node, "-o", "json"], None)?;
        let bound =
            json!({"kind": "Node", "apiVersion": "v1", "name": node, "uid": object.pointer("/metadata/uid")});
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "expirationSeconds": LIFE},
        });
        let path = "/api/v1/namespaces/rebootd/serviceaccounts/rebootd/token";
        let answer = self.kubectl(&["create", "--raw", path, "-f", "-"], Some(&request.to_string())).context(
            "no token; if the cluster does not know rebootd yet, first: kubectl apply -f /usr/share/rebootd/manifests/",
        )?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        let token = token.context("the API server has given no token")?;
        Ok(offered::written(&Offered {
            server: Ok(cluster.server.clone()),
            certificate_authority: Some(cluster.certificate_authority.clone()),
            candidates: vec![Candidate {
                token: Secret::new(token.to_owned()),
                certificate_authority: cluster.certificate_authority.clone(),
            }],
        })?)
    }

    /// What kubectl answers, as JSON.
    fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> anyhow::Result<Value> {
        let mut command = Command::new("kubectl");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        let output = piped(command.args(arguments), input.unwrap_or_default().as_bytes())
            .with_context(|| format!("kubectl {}", arguments.join(" ")))?;
        serde_json::from_slice(&output)
            .with_context(|| format!("the answer of kubectl {}", arguments.join(" ")))
    }
}

/// The address of the person's kubeconfig, if nodes can use it as it is.
fn own_server(cluster: &Value) -> anyhow::Result<String> {
    let server = cluster.get("server").and_then(Value::as_str);
    let server = server.context("the kubeconfig's current context names no server")?;
    let host = server.trim_start_matches("https://");
    let here = ["127.", "localhost", "[::1]"].iter().any(|it| host.starts_with(it));
    let special = ["proxy-url", "tls-server-name", "insecure-skip-tls-verify"]
        .into_iter()
        .find(|key| !matches!(cluster.get(*key), None | Some(Value::Null | Value::Bool(false))));
    match special {
        Some(key) => {
            bail!("this kubeconfig reaches the API server with {key}, as nodes do not: say how with --server")
        }
        None if here => {
            bail!("{server} is this machine only: say with --server how nodes reach the API server")
        }
        None => Ok(server.to_owned()),
    }
}

/// Nobody but its owner may read it, also where others may write to the directory: never into a file that is there.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {shown}"));
        }
        _ => {}
    }
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.with_context(|| format!("cannot create {shown}"))?;
    if let Err(error) = file.write_all(content) {
        // Half a credential is of no use.
        let _ = fs::remove_file(path);
        return Err(error).with_context(|| format!("cannot write {shown}"));
    }
    println!("{shown}");
    Ok(())
}

fn install(node: &str, content: &[u8]) -> anyhow::Result<()> {
    let mut command = Command::new("ssh");
    let output =
        piped(command.args(["--", node, "sudo", "-n", "rebootctl", "credential", "install"]), content)
            .with_context(|| format!("ssh {node} sudo -n rebootctl credential install"))?;
    String::from_utf8_lossy(&output).lines().for_each(|line| println!("{node}: {line}"));
    Ok(())
}

/// Gives a program this input and returns its output. What it says of mistakes goes where ours does.
fn piped(command: &mut Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("it cannot be started here")?;
    // A program that ends without reading says why by its status.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input));
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "it said no ({})", output.status);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_nodes_can_use_is_taken() {
        let server = |cluster: Value| own_server(&cluster).map_err(|error| error.to_string());
        assert_eq!(server(json!({"server": "https://a:6443"})), Ok("https://a:6443".to_owned()));
        for cluster in [
            json!({}),
            json!({"server": "https://127.0.0.1:6443"}),
            json!({"server": "https://a", "proxy-url": "socks5://b"}),
            json!({"server": "https://a", "tls-server-name": "b"}),
            json!({"server": "https://a", "insecure-skip-tls-verify": true}),
        ] {
            assert!(server(cluster.clone()).is_err(), "{cluster}");
        }
    }
}
