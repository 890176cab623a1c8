//! What nodes of the pool say of themselves by labels on their own Nodes: that they wait for a slot, that they have tried
//! something well.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::api::Api;
use super::error::ApiError;
use super::objects::{List, POOL};
use super::paths::{NODES, with};
use crate::decide::{PROVEN, Proven, WAITING, Waiters};
use crate::words::name;

/// For all pages: nothing rests on the answer, and the drain is over.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The metadata of a Node is some kilobytes.
const PAGE: &str = "200";
/// More than all slots of a pool name together.
const MOST_FIRST: usize = 200;

type Labels = BTreeMap<String, String>;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Waiter {
    metadata: Labelled,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labelled {
    name: String,
    labels: Labels,
}

impl Api {
    /// Reads which other nodes of the pool say that they wait, and since when. `rank`: where a node with such labels stands;
    /// lower goes first.
    pub async fn waiters<R: Ord>(
        &mut self,
        pool: &str,
        rank: impl Fn(&Labels) -> R,
    ) -> Result<Waiters, ApiError> {
        let read = tokio::time::timeout(TIMEOUT, self.read_waiters(pool, rank)).await;
        read.unwrap_or_else(|_| {
            Err(ApiError::NoAnswer(format!("the list was not complete after {} s", TIMEOUT.as_secs())))
        })
    }

    async fn read_waiters<R: Ord>(
        &mut self,
        pool: &str,
        rank: impl Fn(&Labels) -> R,
    ) -> Result<Waiters, ApiError> {
        let labels = format!("{POOL}={pool},{WAITING}");
        let not_here = format!("metadata.name!={}", self.node);
        let mut all: Vec<(R, String, String)> = Vec::new();
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
            all.extend(waiters.map(|mut it| {
                let rank = rank(&it.labels);
                (rank, it.labels.remove(WAITING).unwrap_or_default(), name(it.name))
            }));
            token = page.metadata.next;
            if token.is_empty() {
                break;
            }
        }
        Ok(in_order(all))
    }
}

impl Api {
    /// Counts the nodes of the pool that have tried this well, up to `most`.
    pub async fn proven(&mut self, pool: &str, what: &str, most: u32) -> Result<Proven, ApiError> {
        let labels = format!("{POOL}={pool},{PROVEN}={what}");
        let most = most.to_string();
        let path = with(NODES, &[("labelSelector", labels.as_str()), ("limit", most.as_str())]);
        let page = self.client()?.metadata_list::<List<Waiter>>(&path).await;
        let nodes = self.mind(page)?.items.map_or(0, |nodes| nodes.len());
        Ok(Proven { what: what.to_owned(), nodes })
    }
}

/// The labels are minutes in UTC, whose order is that of their letters.
fn in_order<R: Ord>(mut all: Vec<(R, String, String)>) -> Waiters {
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.sort_unstable();
    Waiters { first: all.into_iter().map(|(_, _, name)| name).take(MOST_FIRST).collect(), count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_comes_first() {
        let all = [(1, "0310Z", "b"), (1, "0309Z", "c"), (1, "0310Z", "a"), (0, "0311Z", "d")];
        let all = all.map(|(rank, since, name)| (rank, since.to_owned(), name.to_owned()));
        let waiters = in_order(all.to_vec());
        assert_eq!((waiters.first.join(" "), waiters.count), ("d c a b".to_owned(), 4));
    }
}
