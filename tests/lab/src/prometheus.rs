//! A real Prometheus, out of Debian's package, at the lab's address, and node_exporter on hosts.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::command;
use crate::control_plane::ControlPlane;
use crate::debian;
use crate::host::Host;
use crate::lab::Lab;
use crate::network::LAB_ADDRESS;

const PORT: u16 = 9090;
/// Where node_exporter listens on a host.
pub const EXPORTER_PORT: u16 = 9100;
/// What node_exporter's textfile collector reads, on a host.
pub const TEXTFILES: &str = "/var/lib/prometheus/node-exporter";
/// Debian's name of the package, and of what is in it.
const PACKAGE: &str = "prometheus";
/// The same of node_exporter.
const EXPORTER: &str = "prometheus-node-exporter";

/// Where a host finds it.
pub fn url() -> String {
    format!("https://{LAB_ADDRESS}:{PORT}")
}

/// Downloads the package; it is not installed.
pub async fn fetch() -> Result<PathBuf> {
    Ok(debian::unpacked(PACKAGE, &[PACKAGE]).await?.join("usr/bin/prometheus"))
}

/// The same for node_exporter.
pub async fn fetch_exporter() -> Result<PathBuf> {
    Ok(debian::unpacked(EXPORTER, &[EXPORTER]).await?.join("usr/bin").join(EXPORTER))
}

/// Runs it on a host, from now on at every boot, with the collector that matters.
pub async fn export(host: &Host) -> Result<()> {
    let program = host.root().join("usr/local/bin").join(EXPORTER);
    let from = fetch_exporter().await?;
    fs::copy(&from, &program).with_context(|| from.display().to_string())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let unit = format!(
        "[Service]\nUser=nobody\nExecStart=/usr/local/bin/{EXPORTER} --collector.disable-defaults \
         --collector.textfile --collector.textfile.directory={TEXTFILES} --web.listen-address=:{EXPORTER_PORT}\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    host.write_file("/etc/systemd/system/exporter.service", unit).await?;
    host.run_ok(&["systemctl", "enable", "--now", "--quiet", "exporter"]).await?;
    Ok(())
}

/// A Prometheus; what it does is said when it is started.
pub struct Prometheus {
    program: PathBuf,
    directory: PathBuf,
    process: Option<Child>,
}

impl Prometheus {
    /// Writes a configuration that scrapes nothing; nothing runs yet.
    pub async fn new(lab: &Lab) -> Result<Self> {
        let program = fetch().await?;
        let directory = lab.directory().join(PACKAGE);
        fs::create_dir_all(&directory)?;
        let identity = lab.control_plane.pki.server(PACKAGE)?;
        let tls = format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
            identity.certificate.display(),
            identity.key.display()
        );
        fs::write(directory.join("web.yml"), tls)?;
        fs::write(
            directory.join("prometheus.yml"),
            "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n",
        )?;
        Ok(Self { program, directory, process: None })
    }

    /// Starts it with a certificate of the cluster's authority, where these alerts fire, and these series are.
    pub async fn start(&mut self, alerts: &[&str], series: &[&str]) -> Result<()> {
        self.stop().await?;
        let alerts = alerts.iter().map(|name| format!("  - {{alert: {name}, expr: vector(1)}}\n"));
        let series = series.iter().map(|name| format!("  - {{record: {name}, expr: vector(3)}}\n"));
        let rules: String = alerts.chain(series).collect();
        let rules = if rules.is_empty() { " []\n".to_owned() } else { format!("\n{rules}") };
        fs::write(self.directory.join("rules.yml"), format!("groups:\n- name: lab\n  rules:{rules}"))?;
        // Nothing is left of what was found before.
        let data = self.directory.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        self.process = Some(spawn(&self.program, &self.directory)?);
        Ok(())
    }

    /// Starts it without TLS and with these rules; each second it scrapes what [`export`] runs on the lab's hosts. `instance` is a host's name.
    pub async fn scrape(&mut self, lab: &Lab, rules: &str) -> Result<()> {
        // Debian's promtool does not take another authority.
        fs::write(self.directory.join("web.yml"), "")?;
        let mut config = "global: {evaluation_interval: 1s, scrape_interval: 1s}\nrule_files: [rules.yml]\n\
                          scrape_configs:\n- job_name: node\n  static_configs:\n"
            .to_owned();
        for host in &lab.hosts {
            let (target, name) = (host.network.address, host.name());
            writeln!(config, "  - {{targets: ['{target}:{EXPORTER_PORT}'], labels: {{instance: {name}}}}}")?;
        }
        fs::write(self.directory.join("prometheus.yml"), config)?;
        fs::write(self.directory.join("rules.yml"), rules)?;
        self.process = Some(spawn(&self.program, &self.directory)?);
        Ok(())
    }

    /// Which alerts fire now, each with its `instance` (empty if it is not of one).
    pub async fn firing(&self) -> Result<BTreeSet<(String, String)>> {
        #[derive(Deserialize)]
        struct Series {
            metric: Labels,
        }
        #[derive(Deserialize)]
        struct Labels {
            alertname: String,
            #[serde(default)]
            instance: String,
        }
        let promtool = self.program.with_file_name("promtool");
        let url = format!("http://{LAB_ADDRESS}:{PORT}");
        let query = ["query", "instant", "--format=json", &url, "ALERTS{alertstate=\"firing\"}"];
        let answer = command::run(promtool.to_str().context("a path that is no text")?, &query).await?;
        let series: Vec<Series> = serde_json::from_str(&answer).context(answer)?;
        Ok(series.into_iter().map(|it| (it.metric.alertname, it.metric.instance)).collect())
    }

    /// Ends it.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }
}

/// Makes a Service in the namespace `monitoring` that leads to it. The API server asks nobody but pods: one stands there for
/// this process, with its address, on no node.
pub async fn serve(control_plane: &ControlPlane) -> Result<()> {
    let container = "{name: web, image: none}";
    control_plane
        .apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: monitoring}}}}\n---\n\
             {{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {PACKAGE}, namespace: monitoring}}}}\n---\n\
             {{apiVersion: v1, kind: Service, metadata: {{name: {PACKAGE}, namespace: monitoring}}, \
             spec: {{ports: [{{name: web, port: {PORT}}}]}}}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: {PACKAGE}, namespace: monitoring}}, \
             spec: {{schedulerName: nobody, serviceAccountName: {PACKAGE}, containers: [{container}]}}}}\n---\n\
             {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {PACKAGE}-1, \
             namespace: monitoring, labels: {{kubernetes.io/service-name: {PACKAGE}}}}}, addressType: IPv4, \
             ports: [{{name: web, port: {PORT}, protocol: TCP}}], endpoints: [{{addresses: ['{LAB_ADDRESS}'], \
             conditions: {{ready: true}}, targetRef: {{kind: Pod, name: {PACKAGE}, namespace: monitoring}}}}]}}\n"
        ))
        .await?;
    let status =
        format!("{{\"status\":{{\"podIP\":\"{LAB_ADDRESS}\",\"podIPs\":[{{\"ip\":\"{LAB_ADDRESS}\"}}]}}}}");
    let pod = ["patch", "pod", PACKAGE, "--namespace=monitoring", "--subresource=status"];
    control_plane.kubectl(&[&pod[..], &["--type=merge", "--patch", &status]].concat()).await?;
    Ok(())
}

fn spawn(program: &Path, directory: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(directory.join("prometheus.log"))?;
    Command::new(program)
        .args(["--config.file=prometheus.yml", "--web.config.file=web.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={LAB_ADDRESS}:{PORT}"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start prometheus")
}
