//! Whether the daemon can read the files of its configuration, and those that the configuration names.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::ErrorKind;
use std::path::PathBuf;

use nix::unistd::{Uid, User, initgroups, setgid, setuid};

use crate::access::{ApiAccess, Credential, PemSource};
use crate::decide::settings::{Prometheus, Settings};
use crate::read;

/// The user that the daemon runs as.
const USER: &str = "rebootd";

/// What the daemon cannot read. Root becomes the daemon's user for this, and stays that.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let reader = as_the_daemon();
    unreadable(&files(settings), &reader)
}

/// The files of the configuration, and those that it names for credentials.
fn files(settings: &Settings) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = settings.sources.iter().cloned().collect();
    files.extend(settings.api.iter().flat_map(of_access));
    files.extend(settings.notify.webhook_file.clone());
    for query in settings.gates.query.iter().chain(&settings.after.query).chain(&settings.measure) {
        if let Prometheus::Url { url, token_file, certificate_authority } = &query.server {
            files.extend(token_file.clone());
            files.extend(url.starts_with("https:").then(|| certificate_authority.clone()));
        }
    }
    files
}

fn of_access(access: &ApiAccess) -> Vec<PathBuf> {
    let (token, client) = match &access.credential {
        Credential::TokenFile(path) => (Some(path.clone()), None),
        Credential::Token(_) => (None, None),
        Credential::ClientCertificate { certificate, key } => (None, Some([certificate, key])),
    };
    let pem = [&access.certificate_authority].into_iter().chain(client.into_iter().flatten());
    let pem = pem.filter_map(|source| match source {
        PemSource::File(path) => Some(path.clone()),
        PemSource::Inline(_) => None,
    });
    pem.chain(token).collect()
}

/// Becomes the user of the daemon, if root may; returns who tries to read then.
fn as_the_daemon() -> String {
    let user = User::from_name(USER).ok().flatten().filter(|_| Uid::effective().is_root());
    let became = user.and_then(|user| {
        let name = CString::new(USER).ok()?;
        initgroups(&name, user.gid).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid)).ok()
    });
    match became {
        Some(()) => USER.to_owned(),
        None => {
            User::from_uid(Uid::effective()).ok().flatten().map_or("this user".to_owned(), |user| user.name)
        }
    }
}

/// What is wrong with these files. They may still come, and a token may be replaced at any time: so that is no mistake.
fn unreadable(files: &BTreeSet<PathBuf>, reader: &str) -> Vec<String> {
    let warning = |path: &PathBuf| {
        let error = read::open(path).err()?;
        let path = path.display();
        Some(match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "{path}: {reader} cannot read it; if it should: chown root:{USER} {path} && chmod 0640 {path}, and the \
                 directories above it need o+x or that group"
            ),
            _ => format!("{path}: {error} (tried as {reader})"),
        })
    };
    files.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Files;

    #[test]
    fn a_file_that_the_daemon_cannot_read_is_told() {
        let missing = PathBuf::from("/no/such/token");
        assert_eq!(unreadable(&["/proc/self/stat".into()].into(), "rebootd"), Vec::<String>::new());
        assert_eq!(
            unreadable(&[missing].into(), "rebootd"),
            ["/no/such/token: No such file or directory (os error 2) (tried as rebootd)"]
        );
    }

    #[test]
    fn every_file_that_is_named_is_tried() {
        let text = "[api]\nserver = 'https://a'\ncertificate_authority = '/ca'\nclient_certificate = '/c'\n\
                    client_key = '/k'\n[gates]\nquery = 'up'\n[prometheus]\nurl = 'https://p'\ntoken_file = '/t'\n\
                    certificate_authority = '/pca'";
        let read = Files::from_texts(vec![("/f".into(), text.to_owned())], Path::new("/nowhere")).unwrap();
        let expected = ["/c", "/ca", "/f", "/k", "/pca", "/t"].map(PathBuf::from);
        assert_eq!(files(&read.settings("host").unwrap()), expected.into());
    }
}
