//! etcd, kube-apiserver, controller manager and scheduler, as processes of the lab.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::binaries::Binaries;
use crate::command;
use crate::network::LAB_ADDRESS;
use crate::pki::{self, Identity, Pki};

/// The port of the API server, at [`LAB_ADDRESS`].
pub const API_PORT: u16 = 6443;

/// The address of the API server itself.
pub fn server() -> String {
    format!("https://{LAB_ADDRESS}:{API_PORT}")
}

/// How real kubelets know the API server, which asks them for logs and the like.
const KUBELET_CLIENT: &str = "kubelet-client";

/// Who asked for what, when the answer began and when it was complete; of writes to slots and Nodes what came of them.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  verbs: [create, update, patch, delete]
  resources: [{group: '', resources: [nodes]}]
- level: RequestResponse
  verbs: [create, update, patch, delete]
  namespaces: [rebootd]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Metadata
";

/// The running control plane.
pub struct ControlPlane {
    directory: PathBuf,
    binaries: Binaries,
    /// The certificates; also for identities that a test wants to make.
    pub pki: Pki,
    admin_kubeconfig: PathBuf,
    api_server: Mutex<Option<Child>>,
    /// Held, because they are killed when dropped.
    others: Mutex<Vec<Child>>,
    applying: Mutex<()>,
}

const TOKEN_PODS: &str = "token-pods.yaml";

impl ControlPlane {
    /// Makes certificates and configuration; nothing runs yet.
    pub fn new(directory: &Path, binaries: &Binaries) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let pki = Pki::new(&directory.join("pki"))?;
        pki.server("api-server")?;
        pki.client(KUBELET_CLIENT, "kube-apiserver", &["system:masters"])?;
        pki.write_ca_key()?;
        fs::write(directory.join("audit-policy.yaml"), AUDIT_POLICY)?;
        let control_plane = Self {
            directory: directory.to_owned(),
            binaries: binaries.clone(),
            pki,
            admin_kubeconfig: directory.join("admin.kubeconfig"),
            api_server: Mutex::new(None),
            others: Mutex::new(Vec::new()),
            applying: Mutex::new(()),
        };
        let admin = control_plane.pki.client("admin", "lab-admin", &["system:masters"])?;
        fs::write(&control_plane.admin_kubeconfig, control_plane.kubeconfig(&server(), &admin)?)?;
        Ok(control_plane)
    }

    /// Starts all parts and waits until the API server says that it is ready.
    pub async fn start(&self) -> Result<()> {
        let etcd = spawn(&self.binaries, &self.directory, "etcd", &etcd_arguments(&self.directory))?;
        self.others.lock().await.push(etcd);
        self.start_api_server().await?;
        self.start_controllers(None).await
    }

    /// Starts controller manager and scheduler again: they forget how long they wanted to wait before another try.
    pub async fn restart_controllers(&self) -> Result<()> {
        self.stop_controllers().await?;
        self.start_controllers(None).await
    }

    /// The same without one of the controllers, until they are restarted.
    pub async fn restart_controllers_without(&self, name: &str) -> Result<()> {
        self.stop_controllers().await?;
        self.start_controllers(Some(name)).await
    }

    async fn start_controllers(&self, without: Option<&str>) -> Result<()> {
        for program in ["kube-controller-manager", "kube-scheduler"] {
            let kubeconfig = self.directory.join(format!("{program}.kubeconfig"));
            // All powerful, because a controller manager that first makes an account for each of its controllers
            // takes ten seconds longer to do anything.
            let identity = self.pki.client(program, &format!("system:{program}"), &["system:masters"])?;
            fs::write(&kubeconfig, self.kubeconfig(&server(), &identity)?)?;
            let mut arguments = self.client_arguments(program, &kubeconfig);
            if let Some(name) = without.filter(|_| program == "kube-controller-manager") {
                arguments.push(format!("--controllers=*,-{name}"));
            }
            self.others.lock().await.push(spawn(&self.binaries, &self.directory, program, &arguments)?);
        }
        Ok(())
    }

    /// A kubeconfig for this cluster.
    pub fn kubeconfig(&self, server: &str, identity: &Identity) -> Result<String> {
        pki::kubeconfig(server, &self.pki.ca(), identity)
    }

    /// Starts the API server, on the data that is there, and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let mut api_server = self.api_server.lock().await;
        if api_server.is_some() {
            return Ok(());
        }
        let mut child =
            spawn(&self.binaries, &self.directory, "kube-apiserver", &self.api_server_arguments())?;
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("kube-apiserver ended ({status}):\n{}", command::tail(&self.log("kube-apiserver"), 15));
            }
            match self.kubectl(&["get", "--raw", "/readyz"]).await {
                Ok(_) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("the API server is not ready"));
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        *api_server = Some(child);
        Ok(())
    }

    /// Kills the API server, as a crash would: open requests get no answer. Its data stays in etcd.
    pub async fn stop_api_server(&self) -> Result<()> {
        if let Some(mut child) = self.api_server.lock().await.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Ends controller manager and scheduler: objects stay as they are written.
    pub async fn stop_controllers(&self) -> Result<()> {
        // The first of the others is etcd.
        for mut child in self.others.lock().await.drain(1..) {
            child.kill().await?;
        }
        Ok(())
    }

    /// The audit log: one JSON object a line.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// The log of one part, by the program's name.
    pub fn log(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{program}.log"))
    }

    /// A kubeconfig that may do everything, straight to the API server.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Runs kubectl as the administrator; gives back what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, None).await
    }

    /// Runs kubectl as the administrator, with something on standard input.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.kubectl_output(arguments, input).await?;
        command::succeeded(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// The same, with all that it printed, whether it succeeded or not.
    pub async fn kubectl_output(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let program = self.binaries.path("kubectl");
        let kubeconfig = format!("--kubeconfig={}", self.admin_kubeconfig.display());
        let cache = format!("--cache-dir={}", self.directory.join("kubectl-cache").display());
        let mut all = vec![kubeconfig.as_str(), cache.as_str()];
        all.extend(arguments);
        command::output(&program.to_string_lossy(), &all, input.map(str::as_bytes)).await
    }

    /// Runs rebootctl, which is this program, as the administrator, beside kubectl.
    pub async fn rebootctl(&self, program: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.rebootctl_output(program, arguments).await?;
        command::succeeded(&format!("rebootctl {}", arguments.join(" ")), output)
    }

    /// The same, however it ends.
    pub async fn rebootctl_output(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let kubectl = self.binaries.path("kubectl");
        let mut rebootctl = Command::new(program);
        rebootctl.arg0("rebootctl").args(arguments).env("KUBECONFIG", &self.admin_kubeconfig);
        Ok(rebootctl.env("PATH", kubectl.parent().unwrap_or(Path::new("/"))).output().await?)
    }

    /// Whether there is a helm to run.
    pub async fn has_helm(&self) -> Result<bool> {
        Ok(self.binaries.helm().await?.is_some())
    }

    /// Runs helm as an administrator.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let program = self.binaries.path("helm");
        let kubeconfig = format!("--kubeconfig={}", self.admin_kubeconfig.display());
        let all: Vec<&str> = [kubeconfig.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        command::run(&program.to_string_lossy(), &all).await
    }

    /// Runs kubectl with `-o json`.
    pub async fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.push("-ojson");
        serde_json::from_str(&self.kubectl(&all).await?).context("kubectl printed no JSON")
    }

    /// Applies the manifests of a directory. One at a time: of two `kubectl apply` that see at the same time that an
    /// object is missing, one fails with *AlreadyExists*. Without the pods that bring tokens: a hollow kubelet mounts no
    /// volumes.
    pub async fn apply_directory(&self, directory: &Path) -> Result<()> {
        let _one_at_a_time = self.applying.lock().await;
        let entries = std::fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
        let mut files: Vec<String> =
            entries.iter().map(|entry| entry.path().to_string_lossy().into_owned()).collect();
        files.retain(|file| file.ends_with(".yaml") && !file.ends_with(TOKEN_PODS));
        // In the order in which kubectl takes the files of a directory.
        files.sort();
        let files = files.iter().flat_map(|file| ["-f", file]);
        self.kubectl(&["apply"].into_iter().chain(files).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Applies manifests, as YAML or JSON.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "-f", "-"], Some(manifests)).await?;
        Ok(())
    }

    /// A token of a service account that is valid only while the Node exists.
    pub async fn node_bound_token(
        &self,
        namespace: &str,
        account: &str,
        node: &str,
        life: &str,
    ) -> Result<String> {
        let bound = ["--bound-object-kind", "Node", "--bound-object-name", node];
        let arguments =
            [&["create", "token", account, "-n", namespace, "--duration", life][..], &bound[..]].concat();
        Ok(self.kubectl(&arguments).await?.trim().to_owned())
    }

    fn api_server_arguments(&self) -> Vec<String> {
        let pki = self.directory.join("pki");
        let file = |name: &str| pki.join(name).display().to_string();
        let mut arguments = vec![
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={LAB_ADDRESS}"),
            format!("--secure-port={API_PORT}"),
            format!("--tls-cert-file={}", file("api-server.pem")),
            format!("--tls-private-key-file={}", file("api-server-key.pem")),
            format!("--client-ca-file={}", file("ca.pem")),
            format!("--kubelet-client-certificate={}", file(&format!("{KUBELET_CLIENT}.pem"))),
            format!("--kubelet-client-key={}", file(&format!("{KUBELET_CLIENT}-key.pem"))),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-account-public.pem")),
            format!("--service-account-signing-key-file={}", file("service-account.pem")),
            // Priority and fairness stays on: what a busy cluster does to rebootd is part of the truth.
            format!("--audit-policy-file={}", self.directory.join("audit-policy.yaml").display()),
            format!("--audit-log-path={}", self.audit_log().display()),
            "--audit-log-mode=blocking".to_owned(),
            // In one file, however long: by default a second one is begun after 100 MB.
            "--audit-log-maxsize=1000000".to_owned(),
        ];
        // The hosts' proxies speak for the users whose certificates they have seen.
        arguments.extend([
            format!("--requestheader-client-ca-file={}", file("front-proxy-ca.pem")),
            "--requestheader-allowed-names=".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        ]);
        arguments
    }

    fn client_arguments(&self, program: &str, kubeconfig: &Path) -> Vec<String> {
        let kubeconfig = kubeconfig.display();
        let mut arguments = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            // The only one of its kind: without an election it outlives a stop of the API server.
            "--leader-elect=false".to_owned(),
        ];
        if program == "kube-controller-manager" {
            let pki = self.directory.join("pki");
            arguments.extend([
                "--kube-api-qps=200".to_owned(),
                "--kube-api-burst=400".to_owned(),
                format!("--service-account-private-key-file={}", pki.join("service-account.pem").display()),
                format!("--root-ca-file={}", pki.join("ca.pem").display()),
                format!("--cluster-signing-cert-file={}", pki.join("ca.pem").display()),
                format!("--cluster-signing-key-file={}", pki.join("ca-key.pem").display()),
            ]);
        }
        arguments
    }
}

fn etcd_arguments(directory: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // The data does not outlive the lab.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn spawn(binaries: &Binaries, directory: &Path, program: &str, arguments: &[String]) -> Result<Child> {
    let path = directory.join(format!("{program}.log"));
    let log = File::options().create(true).append(true).open(&path)?;
    Command::new(binaries.path(program))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}
