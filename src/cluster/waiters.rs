//! Which other nodes of the pool wait for a slot, by the label that each sets on its own Node.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::api::Api;
use super::error::ApiError;
use super::objects::{List, POOL};
use super::paths::{NODES, with};
use crate::decide::{WAITING, Waiters};
use crate::words::name;

/// For all pages: nothing rests on the answer, and the drain is over.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The metadata of a Node is some kilobytes.
const PAGE: &str = "200";
/// More than all slots of a pool name together.
const MOST_FIRST: usize = 200;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Waiter {
    metadata: Labelled,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labelled {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Api {
    /// Reads which other nodes of the pool say that they wait, and since when.
    pub async fn waiters(&mut self, pool: &str) -> Result<Waiters, ApiError> {
        let read = tokio::time::timeout(TIMEOUT, self.read_waiters(pool)).await;
        read.unwrap_or_else(|_| {
            Err(ApiError::NoAnswer(format!("the list was not complete after {} s", TIMEOUT.as_secs())))
        })
    }

    async fn read_waiters(&mut self, pool: &str) -> Result<Waiters, ApiError> {
        let labels = format!("{POOL}={pool},{WAITING}");
        let not_here = format!("metadata.name!={}", self.node);
        let mut all: Vec<(String, String)> = Vec::new();
        let mut token = String::new();
        loop {
            let mut parameters = vec![
                ("labelSelector", labels.as_str()),
                ("fieldSelector", not_here.as_str()),
                ("limit", PAGE),
            ];
            parameters.extend(Some(("continue", token.as_str())).filter(|(_, token)| !token.is_empty()));
            let page = self.client()?.metadata_list::<List<Waiter>>(&with(NODES, &parameters)).await;
            let page = self.mind(page)?;
            let waiters = page.items.into_iter().flatten().map(|it| it.metadata);
            all.extend(waiters.map(|mut it| (it.labels.remove(WAITING).unwrap_or_default(), name(it.name))));
            token = page.metadata.next;
            if token.is_empty() {
                break;
            }
        }
        Ok(in_order(all))
    }
}

/// The labels are minutes in UTC, whose order is that of their letters.
fn in_order(mut all: Vec<(String, String)>) -> Waiters {
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.sort_unstable();
    Waiters { first: all.into_iter().map(|(_, name)| name).take(MOST_FIRST).collect(), count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_comes_first() {
        let all = [("2026-11-29T0310Z", "b"), ("2026-11-29T0309Z", "c"), ("2026-11-29T0310Z", "a")];
        let waiters = in_order(all.map(|(since, name)| (since.to_owned(), name.to_owned())).to_vec());
        assert_eq!((waiters.first, waiters.count), (vec!["c".to_owned(), "a".to_owned(), "b".to_owned()], 3));
    }
}
