//! Credential plugins: programs that a person's kubeconfig names, as kubectl runs them (`client.authentication.k8s.io`).
//! Only rebootctl runs them; the daemon refuses a kubeconfig that names one.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::access::{Credential, PemSource, Secret};
use crate::config::ExecPlugin;

/// The versions of what plugins say that are understood.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs it. What it asks, it asks on the terminal. No message repeats what it prints.
pub(super) fn run(plugin: &ExecPlugin) -> Result<Credential, String> {
    let ExecPlugin { command, args, env, api_version, hint } = plugin;
    let shown = command.display();
    if !VERSIONS.contains(&api_version.as_str()) {
        return Err(format!(
            "{shown} speaks a version that rebootctl does not; known are {}",
            VERSIONS.join(" and ")
        ));
    }
    let interactive = std::io::stdin().is_terminal();
    let info = json!({
        "apiVersion": api_version, "kind": "ExecCredential", "spec": { "interactive": interactive },
    });
    let output = Command::new(command)
        .args(args)
        .envs(env.iter().map(|variable| (&variable.name, &variable.value)))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| match hint {
            Some(hint) => format!("cannot run {shown}: {error}; the kubeconfig says: {hint}"),
            None => format!("cannot run {shown}: {error}"),
        })?;
    if !output.status.success() {
        return Err(format!("{shown} failed: {}", output.status));
    }
    credential(&output.stdout).map_err(|why| format!("{shown} {why}"))
}

fn credential(printed: &[u8]) -> Result<Credential, String> {
    // The message of a parser would quote what may be a secret.
    let printed: ExecCredential =
        serde_json::from_slice(printed).map_err(|_| "printed no ExecCredential".to_owned())?;
    if !VERSIONS.contains(&printed.api_version.as_str()) {
        return Err("printed a credential of a version that rebootctl does not know".to_owned());
    }
    match printed.status {
        Some(Status { token: Some(token), .. }) => Ok(Credential::Token(Secret::new(token))),
        Some(Status { client_certificate_data: Some(certificate), client_key_data: Some(key), .. }) => {
            Ok(Credential::ClientCertificate {
                certificate: PemSource::Inline(certificate.into_bytes()),
                key: PemSource::Inline(key.into_bytes()),
            })
        }
        _ => Err("printed neither a token nor a client certificate with its key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnvironmentVariable;

    fn plugin(script: &str) -> ExecPlugin {
        ExecPlugin {
            command: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![EnvironmentVariable { name: "WHO".into(), value: "ann".into() }],
            api_version: VERSIONS[0].into(),
            hint: None,
        }
    }

    #[test]
    fn a_plugin_gives_a_token_or_a_certificate() {
        let token = r#"printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$WHO""#;
        assert_eq!(run(&plugin(token)), Ok(Credential::Token(Secret::new("ann".into()))));
        let both = r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","status":{"clientCertificateData":"c","clientKeyData":"k"}}"#;
        let expected = Credential::ClientCertificate {
            certificate: PemSource::Inline(b"c".to_vec()),
            key: PemSource::Inline(b"k".to_vec()),
        };
        assert_eq!(credential(both.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_plugin_is_told_how_it_is_run() {
        let told = r#"case "$KUBERNETES_EXEC_INFO" in *ExecCredential*interactive*) exit 7 ;; esac"#;
        assert_eq!(run(&plugin(told)).unwrap_err(), "/bin/sh failed: exit status: 7");
    }

    #[test]
    fn nothing_that_it_prints_is_repeated() {
        for printed in [
            "secret",
            r#"{"apiVersion":"secret","status":{}}"#,
            r#"{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":1}}"#,
        ] {
            let error = run(&plugin(&format!("printf '%s' '{printed}'"))).unwrap_err();
            assert!(error.starts_with("/bin/sh printed ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_plugin_that_is_not_there_is_told_with_the_hint() {
        let gone =
            ExecPlugin { command: "no-such-plugin".into(), hint: Some("install it".into()), ..plugin("") };
        let error = run(&gone).unwrap_err();
        assert!(error.starts_with("cannot run no-such-plugin: ") && error.ends_with("install it"), "{error}");
    }
}
