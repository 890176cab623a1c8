//! Kubeconfigs of each kind, and what is refused.

use super::*;

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----\n";
const PEM_IN_BASE64: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";

/// A kubeconfig with the given lines in its cluster and its user. The cluster's
/// begin in line 8, the user's follow three lines after them.
fn kubeconfig(cluster: &[&str], user: &[&str]) -> String {
    let indented = |lines: &[&str]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\npreferences: {{}}\nclusters:\n- name: there\n  \
         cluster:\n{}users:\n- name: me\n  user:\n{}contexts:\n- name: other\n  context: {{cluster: none, user: \
         none}}\n- name: here\n  context:\n    cluster: there\n    user: me\n",
        indented(cluster),
        indented(user)
    )
}

const CLUSTER: &[&str] = &["server: https://10.0.0.1:6443", "certificate-authority: pki/ca.crt"];

fn access(text: &str) -> Result<ApiAccess, String> {
    parse(Path::new("/etc/k/config"), text, None).map_err(|error| error.to_string())
}

fn credential(user: &[&str]) -> Result<Credential, String> {
    access(&kubeconfig(CLUSTER, user)).map(|access| access.credential)
}

#[test]
fn reads_server_and_authority() {
    let read = access(&kubeconfig(CLUSTER, &["token: abc"])).unwrap();
    assert_eq!(read.server, "https://10.0.0.1:6443");
    assert_eq!(read.certificate_authority, PemSource::File("/etc/k/pki/ca.crt".into()));

    let data = format!("certificate-authority-data: {PEM_IN_BASE64}");
    let read =
        access(&kubeconfig(&["server: https://a", "certificate-authority: /x", &data], &["token: abc"]));
    assert_eq!(read.unwrap().certificate_authority, PemSource::Inline(PEM.into()));
}

#[test]
fn reads_each_credential() {
    let file = |path: &str| PemSource::File(path.into());
    let data = |key| format!("{key}: {PEM_IN_BASE64}");
    assert_eq!(credential(&["token: abc"]), Ok(Credential::Token(Secret::new("abc".into()))));
    assert_eq!(credential(&["token: 12345"]), Ok(Credential::Token(Secret::new("12345".into()))));
    assert_eq!(
        credential(&["token: abc", "tokenFile: t", "client-key: ''"]),
        Ok(Credential::TokenFile("/etc/k/t".into()))
    );
    assert_eq!(
        credential(&["client-certificate: /c.pem", "client-key: c.key"]),
        Ok(Credential::ClientCertificate { certificate: file("/c.pem"), key: file("/etc/k/c.key") })
    );
    assert_eq!(
        credential(&[&data("client-certificate-data"), &data("client-key-data")]),
        Ok(Credential::ClientCertificate {
            certificate: PemSource::Inline(PEM.into()),
            key: PemSource::Inline(PEM.into())
        })
    );
}

/// What k3s, kubeadm and kubectl write is JSON as often as YAML.
#[test]
fn reads_json() {
    let text = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
        "clusters":[{"name":"c","cluster":{"server":"https://a","certificate-authority":"/ca"}}],
        "users":[{"name":"u","user":{"token":"t"}}]}"#;
    assert_eq!(access(text).unwrap().server, "https://a");
}

#[test]
fn refuses_what_it_cannot_do() {
    for (line, message) in [
        (
            "insecure-skip-tls-verify: true",
            "insecure-skip-tls-verify is not supported: the server must prove who it is",
        ),
        ("tls-server-name: a", "tls-server-name is not supported by rebootd"),
        ("proxy-url: http://p", "proxy-url is not supported by rebootd"),
    ] {
        let column = line.find(' ').unwrap() + 6;
        let cluster = [CLUSTER, &[line]].concat();
        let refused = access(&kubeconfig(&cluster, &["token: abc"])).unwrap_err();
        assert_eq!(refused, format!("/etc/k/config:10:{column}: {message}"));
    }
    for line in ["exec: {command: aws}", "auth-provider: {name: gcp}", "username: u", "as: admin"] {
        let key = line.split(':').next().unwrap();
        let refused = credential(&["token: abc", line]).unwrap_err();
        let column = key.len() + 7;
        let message = format!("/etc/k/config:14:{column}: {key} is not supported by rebootd");
        assert!(refused.starts_with(&message), "{refused}");
        assert_eq!(refused.contains("use one with a token instead"), key == "exec", "{refused}");
    }
    assert!(
        access(&kubeconfig(&[CLUSTER, &["insecure-skip-tls-verify: false"]].concat(), &["token: a"])).is_ok()
    );
}

#[test]
fn says_what_is_missing() {
    let certificate = format!("client-certificate-data: {PEM_IN_BASE64}");
    for (user, message) in [
        (vec!["token: ''"], "11:9: this user has neither a token nor a client certificate"),
        (
            vec!["client-key: /k"],
            "11:9: client-certificate and client-key (or both with -data) belong together, this user has one",
        ),
        (vec!["token: a", &certificate], "11:9: this user has a token and a client certificate, keep one"),
        (vec!["client-key-data: '%%'"], "13:22: this is not a certificate or key in PEM form, in base64"),
        (vec!["client-key-data: Zm9vYmFy"], "13:22: this is not a certificate or key in PEM form, in base64"),
    ] {
        assert_eq!(credential(&user).unwrap_err(), format!("/etc/k/config:{message}"));
    }
    let cluster = |lines| access(&kubeconfig(lines, &["token: a"])).unwrap_err();
    assert_eq!(cluster(&["certificate-authority: /c"]), "/etc/k/config:6:9: this cluster has no server");
    assert_eq!(
        cluster(&["server: https://a"]),
        "/etc/k/config:6:9: this cluster has neither certificate-authority-data nor certificate-authority"
    );
    assert_eq!(
        cluster(&["server: http://a", "certificate-authority: /c"]),
        "/etc/k/config:8:13: the server's address must begin with https://"
    );

    let text = kubeconfig(CLUSTER, &["token: a"]);
    assert_eq!(access("{}"), Err("/etc/k/config: has no current-context".to_owned()));
    for (from, to, message) in [
        ("current-context: here", "current-context: hm", "3:18: no context has this name"),
        ("cluster: there", "cluster: where", "19:14: no cluster has this name"),
        ("user: me", "user: you", "20:11: no user has this name"),
    ] {
        assert_eq!(access(&text.replace(from, to)), Err(format!("/etc/k/config:{message}")));
    }
}

#[test]
fn without_permission_says_how_to_give_it() {
    let message = |kind: ErrorKind| unreadable(Path::new("/etc/k/config"), &kind.into()).to_string();
    assert_eq!(
        message(ErrorKind::PermissionDenied),
        "/etc/k/config: permission denied; the daemon reads it as the user rebootd: \
         chown root:rebootd /etc/k/config && chmod 0640 /etc/k/config"
    );
    assert_eq!(message(ErrorKind::IsADirectory), "/etc/k/config: cannot be read: is a directory");
}

#[test]
fn never_shows_what_may_be_secret() {
    for user in [
        &["token: [SECRET]"][..],
        &["token: {SECRET: 1}"],
        &["token: SECRET", "token: SECRET"],
        &["token: \"SECRET"],
        &["token: *SECRET"],
        &["SECRET"],
        &["client-key-data: SECRET"],
        &["token: SECRET", "client-key-data: LS0tLS1CRUdJTiA="],
    ] {
        let message = credential(user).unwrap_err();
        assert!(message.starts_with("/etc/k/config:1"), "{message}");
        assert!(!message.contains("SECRET"), "{message}");
    }
    let shown = format!("{:?}", credential(&["token: SECRET"]));
    assert!(!shown.contains("SECRET"), "{shown}");
    let key = format!("client-key-data: {PEM_IN_BASE64}");
    let certificate = format!("client-certificate-data: {PEM_IN_BASE64}");
    let shown = format!("{:?}", credential(&[&key, &certificate]));
    assert!(!shown.contains("45"), "{shown}");
}

#[test]
fn a_persons_plugin_is_run_as_kubectl_would() {
    let plugin = |command: &str| {
        let exec = format!("exec: {{apiVersion: v, command: {command}, args: [a, b], env: null}}");
        let run = |plugin: &ExecPlugin| {
            let ExecPlugin { command, args, env, api_version, .. } = plugin;
            assert_eq!(
                (args.join(" ").as_str(), env.as_slice(), api_version.as_str()),
                ("a b", &[][..], "v")
            );
            Ok(Credential::Token(Secret::new(command.display().to_string())))
        };
        let text = kubeconfig(CLUSTER, &[exec.as_str()]);
        parse(Path::new("/etc/k/config"), &text, Some(&run)).unwrap().credential
    };
    let token = |text: &str| Credential::Token(Secret::new(text.to_owned()));
    assert_eq!(plugin("aws"), token("aws"));
    assert_eq!(plugin("./login"), token("/etc/k/./login"));
    assert_eq!(plugin("/opt/login"), token("/opt/login"));
    let fails = |_: &ExecPlugin| Err("login failed: exit status: 1".to_owned());
    let text = kubeconfig(CLUSTER, &["exec: {command: login}"]);
    let error = parse(Path::new("/etc/k/config"), &text, Some(&fails)).unwrap_err().to_string();
    assert_eq!(error, "/etc/k/config:13:11: login failed: exit status: 1");
}
