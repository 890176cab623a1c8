//! A real API server and its etcd, one for all tests of this binary: found, never built.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use rebootd::cluster::Api;
use reqwest::Method;
use serde_json::{Value, json};

/// Who may do everything, and who may do nothing.
const TOKENS: &str = "all,admin,1,\"system:masters\"\nnothing,nobody,2\n";

static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| {
    let Some(programs) = programs(&["etcd", "kube-apiserver"]) else {
        // Past the test harness, which swallows what a test prints.
        let _ = writeln!(
            std::io::stderr(),
            "\nLEFT OUT: all tests against a real API server. There are no kube-apiserver and etcd: set \
             KUBEBUILDER_ASSETS to a directory that has them, or have the lab build them.\n"
        );
        return None;
    };
    Some(Server::start(&programs))
});

/// The running server.
pub struct Server {
    pub url: String,
    ca: String,
    etcd: String,
    /// Held for its life: when its standard input ends, with this process at the latest, all of it ends.
    _keeper: Child,
}

/// Runs a test against the server; leaves it out where there is none.
pub fn with_server<F: Future<Output = ()>>(test: impl FnOnce(&'static Server) -> F) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(server) = &*SERVER {
        runtime.block_on(test(server));
    }
}

impl Server {
    fn start(programs: &Path) -> Server {
        let directory = std::env::temp_dir().join(format!("rebootd-api-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [api, client, peer] = free_ports();
        let ca = certificates(&directory);
        fs::write(directory.join("tokens.csv"), TOKENS).unwrap();
        let etcd = format!("http://127.0.0.1:{client}");
        let script = script(&etcd_arguments(client, peer), &api_arguments(api, &etcd));
        // Not in our group: an interrupt at the terminal would end the shell, and not what it has started.
        let keeper = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Server { url: format!("https://127.0.0.1:{api}"), ca, etcd, _keeper: keeper };
        // On a thread of its own: the test that comes first is inside a runtime.
        std::thread::scope(|scope| {
            let prepared = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(server.prepare(&directory));
            });
            prepared.join().unwrap();
        });
        server
    }

    async fn prepare(&self, directory: &Path) {
        let ready = async {
            while !matches!(self.try_send(Method::GET, "/readyz", None).await, Ok((200, _))) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            self.create("/api/v1/namespaces", json!({ "metadata": { "name": "rebootd" } })).await;
            // The server makes its own namespaces when it has started.
            for name in ["default", "kube-node-lease", "kube-system"] {
                while self.get(&format!("/api/v1/namespaces/{name}")).await.0 != 200 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(180), ready).await.is_err() {
            let log = fs::read_to_string(directory.join("kube-apiserver.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("the API server is not ready:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }

    /// What is tested: a node's view of this server, with all rights.
    pub fn api(&self, node: &str) -> Api {
        self.api_of(node, "all")
    }

    /// The same with another token.
    pub fn api_of(&self, node: &str, token: &str) -> Api {
        let access = ApiAccess {
            server: self.url.clone(),
            certificate_authority: PemSource::Inline(self.ca.clone().into_bytes()),
            credential: Credential::Token(Secret::new(token.to_owned())),
        };
        Api::new(access, node.to_owned())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, None).await
    }

    /// Creates an object; gives it as the server has it.
    pub async fn create(&self, path: &str, object: Value) -> Value {
        let (code, created) = self.send(Method::POST, path, Some(object)).await;
        assert_eq!(code, 201, "{path}: {created}");
        created
    }

    /// Changes an object by a merge patch; gives it as the server has it.
    pub async fn patch(&self, path: &str, patch: Value) -> Value {
        let (code, patched) = self.send(Method::PATCH, path, Some(patch)).await;
        assert_eq!(code, 200, "{path}: {patched}");
        patched
    }

    pub async fn delete(&self, path: &str) {
        let (code, answer) = self.send(Method::DELETE, path, None).await;
        assert_eq!(code, 200, "{path}: {answer}");
    }

    /// Has etcd forget what was before its present revision.
    pub async fn compact(&self) {
        let now = self.create(
            "/api/v1/namespaces/default/configmaps",
            json!({ "metadata": { "generateName": "now-" } }),
        );
        let revision = now.await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let body = json!({ "revision": revision, "physical": true }).to_string();
        let url = format!("{}/v3/kv/compaction", self.etcd);
        let answer = self.client().post(url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_send(method, path, body).await.unwrap()
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let content =
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = self.client().request(method, format!("{}{path}", self.url)).bearer_auth("all");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = request.header("content-type", content).body(body).send().await?;
        let code = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((code, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap()
    }
}

/// The directory with these programs, if there is one.
pub fn programs(names: &[&str]) -> Option<PathBuf> {
    let has_all = |path: &PathBuf| names.iter().all(|name| path.join(name).is_file());
    if let Some(path) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return Some(PathBuf::from(path)).filter(has_all);
    }
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let mut found: Vec<PathBuf> = fs::read_dir(cache.join("rebootd-lab"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubernetes-")))
        .filter(has_all)
        .collect();
    found.sort();
    found.pop()
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Writes the server's certificate and the key of its service accounts; gives the authority's certificate.
fn certificates(directory: &Path) -> String {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("server-key.pem"), key.serialize_pem()).unwrap();
    let accounts = KeyPair::generate().unwrap();
    fs::write(directory.join("accounts-key.pem"), accounts.serialize_pem()).unwrap();
    fs::write(directory.join("accounts.pem"), accounts.public_key_pem()).unwrap();
    authority.pem()
}

/// Runs both until standard input ends; what they leave behind is removed.
fn script(etcd: &[String], api: &[String]) -> String {
    format!(
        "etcd {} >etcd.log 2>&1 & etcd=$!\n\
         kube-apiserver {} >kube-apiserver.log 2>&1 & api=$!\n\
         read -r _\n\
         kill -9 $etcd $api; wait\n\
         directory=$PWD; cd /; rm -rf \"$directory\"",
        etcd.join(" "),
        api.join(" ")
    )
}

fn etcd_arguments(client: u16, peer: u16) -> [String; 7] {
    [
        "--data-dir=etcd".to_owned(),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        // The data does not outlive the tests.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn api_arguments(port: u16, etcd: &str) -> [String; 16] {
    [
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        "--tls-cert-file=server.pem".to_owned(),
        "--tls-private-key-file=server-key.pem".to_owned(),
        "--token-auth-file=tokens.csv".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=accounts.pem".to_owned(),
        "--service-account-signing-key-file=accounts-key.pem".to_owned(),
        // No controller makes accounts here, and pods shall be taken without one.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        // A watch of Leases then comes from etcd itself, and ends where that has been compacted.
        "--watch-cache-sizes=leases.coordination.k8s.io#0".to_owned(),
        "--v=1".to_owned(),
    ]
}
