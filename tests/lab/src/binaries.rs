//! The Kubernetes programs that the lab runs: found, or built once from `tests/lab/control-plane` and `tests/lab/helm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{cache, progress};

const VERSION: &str = "1.37.1";

/// Package to build, and the name that the result gets.
const PROGRAMS: [(&str, &str); 7] = [
    ("go.etcd.io/etcd/server/v3", "etcd"),
    ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
    ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("k8s.io/kubernetes/cmd/kubemark", "kubemark"),
    ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
];

/// In a module of its own: in that of Kubernetes, it would choose other versions of what Kubernetes is made of.
const HELM: &str = "helm.sh/helm/v4/cmd/helm";

/// A directory that holds the programs of a control plane, kubectl, kubemark and the kubelet.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Finds them in `$KUBEBUILDER_ASSETS` or the cache, or builds them with Go.
    pub async fn find_or_build() -> Result<Self> {
        if let Some(directory) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let binaries = Self { directory: directory.into() };
            if let Some(missing) = binaries.missing() {
                bail!("KUBEBUILDER_ASSETS is {}, but it has no {missing}", binaries.directory.display());
            }
            return Ok(binaries);
        }
        let directory = cache::directory()?.join(format!("kubernetes-{VERSION}"));
        let binaries = Self { directory };
        if binaries.missing().is_none() {
            return Ok(binaries);
        }
        let _lock = cache::lock("kubernetes")?;
        if binaries.missing().is_some() {
            binaries.build().await?;
        }
        Ok(binaries)
    }

    /// Helm, which only one scenario needs: found beside the others, or built there. None where that is not possible.
    pub async fn helm(&self) -> Result<Option<PathBuf>> {
        let path = self.path("helm");
        let _lock = cache::lock("kubernetes")?;
        if !path.is_file() {
            progress::say("building helm with go, once");
            let unfinished = self.directory.join(".helm.unfinished");
            if let Err(error) = build(HELM, &unfinished).await {
                progress::say(format!("there is no helm: {error:#}"));
                return Ok(None);
            }
            fs::rename(&unfinished, &path)?;
        }
        Ok(Some(path))
    }

    /// Where the program `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        // Go names a program after its last directory: etcd's main package is called `server`.
        if name == "etcd" && !path.exists() { self.directory.join("server") } else { path }
    }

    fn missing(&self) -> Option<&'static str> {
        PROGRAMS.iter().map(|(_, name)| *name).find(|name| !self.path(name).is_file())
    }

    /// Builds those that are missing: others stay, a lab may be running them.
    async fn build(&self) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        progress::say(format!(
            "building Kubernetes {VERSION} with go, once; the first program takes the longest"
        ));
        for (package, name) in PROGRAMS.iter().filter(|(_, name)| !self.path(name).is_file()) {
            let began = Instant::now();
            let unfinished = self.directory.join(format!(".{name}.unfinished"));
            build(package, &unfinished).await?;
            fs::rename(&unfinished, self.directory.join(name))?;
            progress::say(format!("  {name} … {:.0} s", began.elapsed().as_secs_f64()));
        }
        Ok(())
    }
}

async fn build(package: &str, into: &Path) -> Result<()> {
    let module = if package == HELM { "helm" } else { "control-plane" };
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(module);
    let (major, minor) =
        VERSION.split_once('.').map(|(major, rest)| (major, rest.split('.').next())).context("version")?;
    let variable = "-X k8s.io/component-base/version";
    let flags = format!(
        "-s -w {variable}.gitVersion=v{VERSION} {variable}.gitMajor={major} {variable}.gitMinor={}",
        minor.context("version")?
    );
    let status = Command::new("go")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(into)
        .arg(package)
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot start go: install Go 1.21 or later, or set KUBEBUILDER_ASSETS")?;
    ensure!(status.success(), "go build {package}: {status}");
    Ok(())
}
