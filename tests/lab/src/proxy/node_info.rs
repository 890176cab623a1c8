//! Gives a hollow kubelet's Node the boot id and machine id that a real kubelet would report.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::records::{Identity, RequestRecord};
use super::request_info::Verb;

/// What a host's kubelet would report of it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// With dashes, as in `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// As in `/etc/machine-id`.
    pub machine_id: String,
    /// The running kernel; overwrites the hollow kubelet's constant one where given.
    pub kernel_version: Option<String>,
}

/// Asked at every status write, so that a reboot shows in the next one. None leaves the write alone.
pub type NodeInfoSource = Arc<dyn Fn() -> Option<NodeInfo> + Send + Sync>;

/// The body to forward instead, where this is a kubelet's write of its Node in JSON.
pub(super) fn fill(
    source: &NodeInfoSource,
    record: &RequestRecord,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<Bytes> {
    let from_kubelet =
        matches!(&record.identity, Identity::Certificate { user, .. } if user.starts_with("system:node:"));
    let writes_status = match record.resource.as_str() {
        "nodes/status" => matches!(record.verb, Verb::Patch | Verb::Update),
        "nodes" => record.verb == Verb::Create,
        _ => false,
    };
    // The agent may use the kubelet's credential; what it writes must stay as it wrote it.
    let from_agent = record.user_agent.starts_with("rebootd");
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let merges = content_type.contains("json") && !content_type.contains("json-patch");
    if !(from_kubelet && !from_agent && writes_status && merges) || headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let mut object: Value = serde_json::from_slice(body).ok()?;
    let info = source()?;
    let target = child(child(object.as_object_mut()?, "status")?, "nodeInfo")?;
    fill_empty(target, "bootID", &info.boot_id);
    fill_empty(target, "machineID", &info.machine_id);
    if let Some(kernel_version) = info.kernel_version {
        target.insert("kernelVersion".into(), kernel_version.into());
    }
    serde_json::to_vec(&object).ok().map(Bytes::from)
}

fn child<'object>(
    object: &'object mut Map<String, Value>,
    key: &str,
) -> Option<&'object mut Map<String, Value>> {
    let value = object.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

// Null in a patch would delete the field: to the API it is as empty as an empty string.
fn fill_empty(object: &mut Map<String, Value>, key: &str, value: &str) {
    if object.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
        object.insert(key.to_owned(), value.into());
    }
}
