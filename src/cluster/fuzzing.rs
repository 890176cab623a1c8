//! For the fuzz targets in `fuzz/`: what the API server and Prometheus send, without a connection.

use serde::de::DeserializeOwned;

use super::enrolment::Review;
use super::error::{ApiError, status_in};
use super::objects::{ConfigMap, List, Node, Something, annotations};
use super::pods::{DisruptionBudget, Pod};
use super::slots::Lease;
use super::table::{Table, node_state};
use super::{checks, watch};
use crate::decide::{Event, NodeView, Part, PodView, SlotView};

/// What the body of the answer says when this part was asked for: the facts in it, and what is told of the rest. For
/// [`Part::Others`], of any answer that is no fact by itself.
pub fn answer(part: Part, body: &[u8]) -> (Vec<Event>, Vec<String>) {
    let mut read = Read::default();
    match part {
        Part::Node => read.add(body, |node: Node| Event::Node(Ok(Some(NodeView::from(node))))),
        Part::Slots => {
            read.add(body, |list: List<Lease>| Event::Slots(Ok(items(list).map(SlotView::from).collect())));
        }
        Part::Kubelet => read.add(body, |lease: Lease| Event::Kubelet(Ok(lease.into()))),
        Part::Pods => {
            read.add(body, |list: List<Pod>| Event::Pods(Ok(items(list).map(PodView::from).collect())));
        }
        Part::Budgets => read.add(body, |list: List<DisruptionBudget>| {
            Event::Budgets(Ok(items(list).map(Into::into).collect()))
        }),
        _ => {
            read.tell(parse::<List<ConfigMap>>(body));
            read.tell(parse::<Review>(body));
            read.tell(parse(body).and_then(|table: Table| {
                table.each(["Name", "Status"], |[_, status]| node_state(status).map(drop))
            }));
            read.tell(checks::found(200, body));
            read.tell::<()>(Err(status_in(500, body)));
        }
    }
    (read.events, read.told)
}

/// The same for a line of each watch that there is.
pub fn watched(line: &[u8]) -> (Vec<Event>, Vec<String>) {
    let mut read = Read::default();
    let pod = watch::understand(line).map(|it| it.and_then(|event| watch::pod_event(event, "n1")));
    read.events.extend(read_or_told(pod, &mut read.told).flatten());
    let slot = watch::understand(line).map(|it| it.and_then(watch::slot_event));
    read.events.extend(read_or_told(slot, &mut read.told).flatten());
    let one = watch::understand::<Something>(line).map(|it| it.and_then(watch::changed));
    read.events.extend(read_or_told(one, &mut read.told).flatten());
    let own = watch::understand(line).map(|it| it.map(annotations));
    read.events.extend(read_or_told(own, &mut read.told).flatten());
    read.tell(watch::understand::<DisruptionBudget>(line).map(|it| it.map(|event| event.object.opens())));
    (read.events, read.told)
}

#[derive(Default)]
struct Read {
    events: Vec<Event>,
    told: Vec<String>,
}

impl Read {
    fn add<T: DeserializeOwned>(&mut self, body: &[u8], event: impl FnOnce(T) -> Event) {
        self.events.extend(read_or_told(parse(body), &mut self.told).map(event));
    }

    fn tell<T>(&mut self, read: Result<T, ApiError>) {
        read_or_told(read, &mut self.told);
    }
}

fn read_or_told<T>(read: Result<T, ApiError>, told: &mut Vec<String>) -> Option<T> {
    read.map_err(|error| told.push(error.to_string())).ok()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(ApiError::garbled)
}

fn items<T>(list: List<T>) -> impl Iterator<Item = T> {
    list.items.into_iter().flatten()
}
