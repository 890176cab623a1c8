//! Lists for people: of any kind and size, page by page.

use serde::de::DeserializeOwned;

use super::api::Api;
use super::error::ApiError;
use super::objects::List;
use super::paths::{self, with};

/// A page is some megabytes at most.
const PAGE: &str = "500";

/// A kind of objects.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The path of its group and version: `/apis/apps/v1`.
    pub api: &'static str,
    /// Its name in paths and rights: `deployments`.
    pub name: &'static str,
}

impl Api {
    /// Reads all objects of a kind in a namespace; everywhere, or of the cluster, where it is empty.
    pub async fn list<T: DeserializeOwned>(
        &mut self,
        kind: Kind,
        namespace: &str,
    ) -> Result<Vec<T>, ApiError> {
        self.list_where(kind, namespace, "").await
    }

    /// The same, of those whose fields are so.
    pub(super) async fn list_where<T: DeserializeOwned>(
        &mut self,
        kind: Kind,
        namespace: &str,
        fields: &str,
    ) -> Result<Vec<T>, ApiError> {
        let path = paths::listed(kind.api, namespace, kind.name)?;
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let mut parameters = vec![("limit", PAGE)];
            parameters.extend(Some(("fieldSelector", fields)).filter(|_| !fields.is_empty()));
            parameters.extend(Some(("continue", next.as_str())).filter(|_| !next.is_empty()));
            let page: List<T> = self.get(&with(&path, &parameters)).await?;
            all.extend(page.items.into_iter().flatten());
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(all);
            }
        }
    }
}
