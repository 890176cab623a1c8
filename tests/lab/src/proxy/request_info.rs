//! Gives a request the name that Kubernetes gives it: verb, resource, namespace and name.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`, so that a rule names a request exactly as
//! an RBAC rule or an audit log would.

use hyper::{Method, Uri};
use std::fmt;

/// A verb as Kubernetes names it in RBAC rules and audit logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Any request for a path that is no resource (`/readyz`, `/version`, `/apis`).
    NonResource,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::NonResource => "nonresource",
        })
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The Kubernetes verb.
    pub verb: Verb,
    /// API group; empty for the core group and for paths that are no resource.
    pub group: String,
    /// Resource with its subresource (`nodes/status`), or the path where it is no resource.
    pub resource: String,
    /// Namespace, where the path names one.
    pub namespace: Option<String>,
    /// Name, from the path or from a `metadata.name` field selector.
    pub name: Option<String>,
}

impl RequestInfo {
    /// Reads method, path and query.
    pub fn parse(method: &Method, uri: &Uri) -> RequestInfo {
        Self::parse_resource(method, uri).unwrap_or_else(|| RequestInfo {
            verb: Verb::NonResource,
            group: String::new(),
            resource: uri.path().to_owned(),
            namespace: None,
            name: None,
        })
    }

    fn parse_resource(method: &Method, uri: &Uri) -> Option<RequestInfo> {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty()).peekable();
        let group = match parts.next()? {
            "api" => String::new(),
            "apis" => parts.next()?.to_owned(),
            _ => return None,
        };
        let _version = parts.next()?;
        parts.peek()?;

        let mut verb = match *method {
            Method::POST => Verb::Create,
            Method::GET | Method::HEAD => Verb::Get,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => return None,
        };
        // The old way to ask for a watch, still served.
        if parts.peek() == Some(&"watch") {
            parts.next();
            verb = Verb::Watch;
        }

        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = None;
        if rest.first() == Some(&"namespaces") {
            namespace = rest.get(1).map(|part| (*part).to_owned());
            // `/namespaces/x/pods` is a pod request in x; `/namespaces/x` and `/namespaces/x/status` are about x.
            if rest.len() > 2 && !matches!(rest.get(2), Some(&"status" | &"finalize")) {
                rest.drain(..2);
            }
        }
        let resource = *rest.first()?;
        let mut name = rest.get(1).map(|part| (*part).to_owned());
        let resource = match rest.get(2) {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource.to_owned(),
        };

        if name.is_none() && verb == Verb::Get {
            verb = if asks_for_watch(uri) { Verb::Watch } else { Verb::List };
        }
        if name.is_none() && verb == Verb::Delete {
            verb = Verb::DeleteCollection;
        }
        if name.is_none() && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            name = name_in_field_selector(uri);
        }
        Some(RequestInfo { verb, group, resource, namespace, name })
    }
}

fn query_value(uri: &Uri, key: &str) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(candidate, _)| candidate == key)
        .map(|(_, value)| value.into_owned())
}

// Present and neither "0" nor "false" means yes, even when empty: so the API server's conversion reads it.
fn asks_for_watch(uri: &Uri) -> bool {
    query_value(uri, "watch").is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}

fn name_in_field_selector(uri: &Uri) -> Option<String> {
    query_value(uri, "fieldSelector")?.split(',').find_map(|requirement| {
        let (field, value) = requirement.split_once('=')?;
        (field == "metadata.name").then(|| value.trim_start_matches('=').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap());
        format!(
            "{} {} ns={} name={}",
            info.verb,
            info.resource,
            info.namespace.unwrap_or_default(),
            info.name.unwrap_or_default()
        )
    }

    #[test]
    fn names_requests_as_the_api_server_does() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/nodes/a", "get nodes ns= name=a"),
            ("GET", "/api/v1/nodes", "list nodes ns= name="),
            ("GET", "/api/v1/nodes?watch=true&resourceVersion=5", "watch nodes ns= name="),
            ("GET", "/api/v1/nodes?watch=false", "list nodes ns= name="),
            ("GET", "/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Da", "watch nodes ns= name=a"),
            ("GET", "/api/v1/nodes?fieldSelector=metadata.name==a", "list nodes ns= name=a"),
            ("GET", "/api/v1/watch/nodes/a", "watch nodes ns= name=a"),
            ("PATCH", "/api/v1/nodes/a/status", "patch nodes/status ns= name=a"),
            ("PATCH", "/api/v1/nodes/a?fieldManager=rebootd", "patch nodes ns= name=a"),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases/s",
                "update leases ns=rebootd name=s",
            ),
            ("GET", "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases", "list leases ns=rebootd name="),
            ("POST", "/api/v1/namespaces/d/pods/p/eviction", "create pods/eviction ns=d name=p"),
            ("POST", "/api/v1/namespaces/d/pods", "create pods ns=d name="),
            ("DELETE", "/api/v1/namespaces/d/pods/p", "delete pods ns=d name=p"),
            ("DELETE", "/api/v1/namespaces/d/pods", "deletecollection pods ns=d name="),
            ("GET", "/api/v1/namespaces/d", "get namespaces ns=d name=d"),
            ("PUT", "/api/v1/namespaces/d/status", "update namespaces/status ns=d name=d"),
            ("GET", "/api/v1/namespaces", "list namespaces ns= name="),
            ("GET", "/readyz?verbose", "nonresource /readyz ns= name="),
            ("GET", "/api/v1", "nonresource /api/v1 ns= name="),
            ("GET", "/apis/apps/v1", "nonresource /apis/apps/v1 ns= name="),
        ] {
            assert_eq!(parse(method, uri), expected, "{method} {uri}");
        }
    }
}
