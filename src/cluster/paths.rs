//! The paths of the API: the only place where names become part of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ApiError;
use super::objects::{KUBELET_LEASES, NAMESPACE};
use crate::words::{NOTE, words};

/// All Nodes.
pub(super) const NODES: &str = "/api/v1/nodes";
/// The pods of all namespaces.
pub(super) const PODS: &str = "/api/v1/pods";
/// Who the API server takes us for.
pub(super) const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Characters that RFC 3986 allows unescaped anywhere stay as they are, and so does the colon, which names a
/// service's port; all others are escaped.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// A Node.
pub(super) fn node(name: &str) -> Result<String, ApiError> {
    Ok(format!("{NODES}/{}", segment(name)?))
}

/// The Events of a namespace.
pub(super) fn events(namespace: &str) -> Result<String, ApiError> {
    Ok(format!("/apis/events.k8s.io/v1/namespaces/{}/events", segment(namespace)?))
}

/// The objects of a kind in a namespace, or everywhere where it is empty; `api` is the path of their group and version.
pub(super) fn listed(api: &str, namespace: &str, kind: &str) -> Result<String, ApiError> {
    Ok(match namespace {
        "" => format!("{api}/{kind}"),
        namespace => format!("{api}/namespaces/{}/{kind}", segment(namespace)?),
    })
}

/// Tokens of the agents' account.
pub(super) fn own_token() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/rebootd/token")
}

/// All slots.
pub(super) fn slots() -> String {
    leases(NAMESPACE)
}

/// A slot.
pub(super) fn slot(name: &str) -> Result<String, ApiError> {
    Ok(format!("{}/{}", leases(NAMESPACE), segment(name)?))
}

/// The Leases of all kubelets.
pub(super) fn kubelets() -> String {
    leases(KUBELET_LEASES)
}

/// A kubelet's own Lease.
pub(super) fn kubelet(node: &str) -> Result<String, ApiError> {
    Ok(format!("{}/{}", leases(KUBELET_LEASES), segment(node)?))
}

/// Where the fleet's policy is, if there is one.
pub(super) fn policy_maps() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps")
}

/// The pods of a namespace.
pub(super) fn pods(namespace: &str) -> Result<String, ApiError> {
    Ok(format!("/api/v1/namespaces/{}/pods", segment(namespace)?))
}

/// A pod.
pub(super) fn pod(namespace: &str, name: &str) -> Result<String, ApiError> {
    Ok(format!("{}/{}", pods(namespace)?, segment(name)?))
}

/// The budgets of a namespace.
pub(super) fn budgets(namespace: &str) -> Result<String, ApiError> {
    Ok(format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", segment(namespace)?))
}

/// The path to a port of a service.
pub(super) fn service(namespace: &str, port: &str) -> Result<String, ApiError> {
    Ok(format!("/api/v1/namespaces/{}/services/{}/proxy", segment(namespace)?, segment(port)?))
}

/// A path with these parameters.
pub(super) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut whole = path.to_owned();
    for (number, (name, value)) in parameters.iter().enumerate() {
        whole.push(if number == 0 { '?' } else { '&' });
        whole.extend([name, "="]);
        whole.extend(utf8_percent_encode(value, ENCODED));
    }
    whole
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

/// One segment of a path. What Kubernetes does not accept as a name (`IsValidPathSegmentName` of
/// `k8s.io/apimachinery`) cannot be escaped into one: URLs read `%2e%2e` as a step up, and the API server reads `%2F`
/// as the end of the name.
fn segment(name: &str) -> Result<impl std::fmt::Display, ApiError> {
    if ["", ".", ".."].contains(&name) || name.contains(['/', '%']) {
        return Err(ApiError::Client(format!("{:?} cannot be a name", words(name, NOTE))));
    }
    Ok(utf8_percent_encode(name, ENCODED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of_url(path: &str) -> String {
        reqwest::Url::parse(&format!("https://server{path}")).unwrap().path().to_owned()
    }

    #[test]
    fn whatever_a_name_is_it_stays_one_step_of_the_path() {
        let long = "ä".repeat(300);
        for name in
            ["node-1.example.com", "a?b", "a b#c", "..a", "\\..\\", "a:b@c;d=e", "\n", "\u{202e}", &long]
        {
            let path = node(name).unwrap();
            let step = path.strip_prefix("/api/v1/nodes/").unwrap();
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:%".contains(&byte);
            assert!(step.bytes().all(allowed), "{step}");
            assert_eq!(path_of_url(&path), path, "the URL leads elsewhere");
            let decoded = percent_encoding::percent_decode_str(step).decode_utf8().unwrap();
            assert_eq!(decoded, name);
        }
        let too_much = "../".repeat(100);
        for name in ["", ".", "..", "../x", "a/b#c", "node-1/proxy", "%2e%2e", "a%2fb", &too_much] {
            assert!(matches!(node(name), Err(ApiError::Client(_))), "{name:?}");
        }
        let lease = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases/worker-1";
        assert_eq!(slot("worker-1").unwrap(), lease);
        assert!(pod("default", "..").is_err() && pod("..", "x").is_err() && service("a", "").is_err());
    }

    #[test]
    fn parameters_are_values_whatever_is_in_them() {
        let path = with("/x", &[("fieldSelector", "metadata.name!=a&b"), ("limit", "1")]);
        assert_eq!(path, "/x?fieldSelector=metadata.name%21%3Da%26b&limit=1");
        assert_eq!(with("/x", &[]), "/x");
    }
}
