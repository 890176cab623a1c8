//! What kustomize and Helm make of the manifests is what the files say. Rendered by kubectl and helm of the lab's cache.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rebootd::decide::MANIFESTS;
use serde_json::{Value, json};

use crate::server::programs;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/usr/share/rebootd")
}

fn objects(yaml: &str) -> Vec<Value> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().flatten().collect()
}

/// The objects of `manifests/`, in the order in which `kubectl apply -f` takes them.
fn manifests(wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let files = fs::read_dir(directory().join("manifests")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .filter(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    files.sort();
    files.iter().flat_map(|path| objects(&fs::read_to_string(path).unwrap())).collect()
}

/// What a program prints; `None` where there is none.
fn render(name: &str, arguments: &[&str]) -> Option<Vec<Value>> {
    let Some(programs) = programs(&[name]) else {
        let _ = writeln!(
            std::io::stderr(),
            "\nLEFT OUT: how {name} renders the manifests. Have the lab build it, or set KUBEBUILDER_ASSETS.\n"
        );
        return None;
    };
    let output = Command::new(programs.join(name)).args(arguments).arg(directory()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(objects(&String::from_utf8(output.stdout).unwrap()))
}

fn helm(values: &[&str]) -> Option<BTreeMap<String, Value>> {
    let values = values.iter().flat_map(|value| ["--set", value]);
    let arguments: Vec<&str> = ["template", "rebootd"].into_iter().chain(values).collect();
    render("helm", &arguments).map(by_name)
}

/// Helm has an order of its own.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
    };
    let named: BTreeMap<_, _> = objects.into_iter().map(|object| (name(&object), object)).collect();
    assert_eq!(named.len(), count, "two objects have the same name");
    named
}

#[test]
fn the_kustomization_is_the_manifests_in_their_order() {
    if let Some(rendered) = render("kubectl", &["kustomize"]) {
        assert_eq!(rendered, manifests(|_| true));
    }
}

#[test]
fn the_chart_is_the_manifests() {
    if let Some(rendered) = helm(&[]) {
        assert_eq!(rendered, by_name(manifests(|_| true)));
    }
}

#[test]
fn the_values_of_the_chart_do_what_they_say() {
    let left_out = ["slots.yaml", "policies-evictions.yaml"];
    let values = [
        "without={slots.yaml,policies-evictions.yaml}",
        "image=example.com/pause:1",
        "deletePodsIn={ci,jobs}",
    ];
    let Some(mut rendered) = helm(&values) else { return };
    let mut expected = by_name(manifests(|name| !left_out.contains(&name)));
    let image = "/spec/template/spec/containers/0/image";
    let of_pods = expected.values_mut().find_map(|object| object.pointer_mut(image)).unwrap();
    *of_pods = json!("example.com/pause:1");
    for namespace in ["ci", "jobs"] {
        let optional = fs::read_to_string(directory().join("manifests/optional/delete-pods.yaml")).unwrap();
        for mut object in objects(&optional) {
            object["metadata"]["namespace"] = json!(namespace);
            let name = by_name(vec![object.clone()]).into_keys().next().unwrap();
            assert_eq!(rendered.remove(&name), Some(object), "{name}");
        }
    }
    assert_eq!(rendered, expected);
}

#[test]
fn the_manifests_name_the_version_that_the_daemon_expects() {
    let texts = fs::read_to_string(directory().join("manifests/policies.yaml")).unwrap();
    let versions: Vec<&str> =
        texts.lines().filter_map(|line| Some(line.split_once("; manifests version ")?.1)).collect();
    assert_eq!(versions, [MANIFESTS.to_string()]);
}

#[test]
fn the_chart_has_the_version_of_the_package() {
    let chart = fs::read_to_string(directory().join("Chart.yaml")).unwrap();
    let chart = objects(&chart).remove(0);
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}
