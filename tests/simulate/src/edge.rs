//! What a loop needs of the world outside, in virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rebootd::agent::Edge;
use rebootd::decide::settings::Settings;
use rebootd::decide::{
    AfterReadings, Decision, Event, Eviction, EvictionOutcome, EvictionRefusal, Failure, Hook, How, Kernel,
    KubeletLease, Memory, Names, NodeChange, NodeWrite, Now, Others, Outcome, Part, Parts, Refuser,
    SlotChange, SlotWrite, WAITING, Waiters, World, holders,
};

use crate::clock::{Due, Sleep};
use crate::fleet::Fleet;

/// The loop of a node, at its place.
pub struct At {
    pub fleet: Rc<RefCell<Fleet>>,
    pub node: usize,
    pub settings: Rc<Settings>,
}

impl At {
    async fn sleep(&self, time: Duration) {
        let until = self.fleet.borrow().clock.now + time;
        Sleep { fleet: Rc::clone(&self.fleet), node: self.node, until, is_set: false }.await;
    }

    /// The way to the server or back.
    async fn travel(&self) {
        let takes = {
            let dice = &mut self.fleet.borrow_mut().dice;
            if dice.per_thousand(3.0) { dice.millis(300, 2000) } else { dice.millis(1, 15) }
        };
        self.sleep(takes).await;
    }

    /// Whether the answer is lost.
    async fn asks(&self, what: &'static str, count: u64) -> bool {
        self.travel().await;
        let mut fleet = self.fleet.borrow_mut();
        fleet.requested(what, count);
        fleet.dice.per_thousand(0.5)
    }

    /// Writes, and says so to people: that is a request of its own.
    async fn written(&self, is_applied: Result<(), ()>, is_lost: bool) -> Outcome {
        self.travel().await;
        let failure = |message: &str| Failure { message: message.into(), retry_after: None };
        match is_applied {
            _ if is_lost => Outcome::Unanswered(failure("timed out")),
            Ok(()) => {
                self.fleet.borrow_mut().requested("events", 1);
                Outcome::Answered
            }
            Err(()) => Outcome::Refused { failure: failure("conflict"), conflict: true },
        }
    }
}

impl Edge for At {
    fn now(&self) -> Now {
        self.fleet.borrow().now(self.node)
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn begin(&mut self, _: &World) -> Vec<Event> {
        vec![
            Event::Requests(self.fleet.borrow().hosts[self.node].requests()),
            Event::Kernel(Ok(Kernel::default())),
        ]
    }

    fn report(&mut self, _: &World, decision: &Decision) {
        self.fleet.borrow_mut().phase_is(self.node, decision.phase);
    }

    fn remember(&mut self, memory: &Memory) -> Result<(), String> {
        self.fleet.borrow_mut().hosts[self.node].memory = memory.clone();
        Ok(())
    }

    async fn read(&mut self, part: Part, world: &World) -> Vec<Event> {
        let (what, count) = match part {
            Part::Policy => ("list configmaps", 1),
            Part::Others => ("list nodes", self.fleet.borrow().hosts.len().div_ceil(500) as u64),
            Part::Waiters => ("list nodes", self.fleet.borrow().waiting.len().div_ceil(200).max(1) as u64),
            Part::Node => ("get nodes", 1),
            Part::Slots => ("list leases", 1),
            Part::Holders => ("get nodes", holders(world, &self.settings).len() as u64),
            Part::Kubelet => ("get leases", 1),
            Part::Pods => ("list pods", 1),
            Part::Budgets => ("list budgets", 0),
            Part::Proven | Part::Alerts | Part::After | Part::Annotations => return vec![],
        };
        let is_lost = self.asks(what, count).await;
        let events = self.read_now(part, world, is_lost);
        self.travel().await;
        events
    }

    async fn read_host(&mut self, _: &World) -> Vec<Event> {
        let fleet = self.fleet.borrow();
        let host = &fleet.hosts[self.node];
        vec![
            Event::Requests(host.requests()),
            Event::Hold(Ok(None)),
            Event::Kernel(Ok(Kernel::default())),
            Event::Packages(Ok(Names::default())),
            Event::Livepatch(Ok(false)),
            Event::Clock(Ok(true)),
            Event::Sessions(Ok(vec![])),
            Event::Hooks(BTreeMap::new()),
            Event::Host {
                going_down: Ok(host.going_down),
                package_manager: Ok(None),
                inhibitors: Ok(vec![]),
                may_reboot: Ok(true),
                scheduled: Ok(None),
            },
        ]
    }

    fn look_failed(&mut self) {
        self.fleet.borrow_mut().hosts[self.node].watched = Parts::NONE;
    }

    fn watch(&mut self, parts: Parts, _: &World) {
        let mut fleet = self.fleet.borrow_mut();
        let before = std::mem::replace(&mut fleet.hosts[self.node].watched, parts);
        let begun = parts.in_order().filter(|part| !before.has(*part)).count() as u64;
        fleet.requested("watches", begun);
        if parts.has(Part::Kubelet)
            && !before.has(Part::Kubelet)
            && fleet.hosts[self.node].kubelet_since.is_some()
        {
            fleet.clock.after(Duration::from_secs(5), Due::Renews(self.node));
        }
    }

    async fn write_slot(&mut self, write: &SlotWrite, _: &World) -> Outcome {
        let is_lost = self.asks("patch leases", 1).await;
        let is_applied = if is_lost && self.fleet.borrow_mut().dice.per_thousand(500.0) {
            Ok(())
        } else {
            self.fleet.borrow_mut().write_slot(self.node, write)
        };
        self.written(is_applied, is_lost).await
    }

    async fn write_node(&mut self, write: &NodeWrite, _: &World) -> Outcome {
        let is_lost = self.asks("patch nodes", 1).await;
        let is_applied = if is_lost && self.fleet.borrow_mut().dice.per_thousand(500.0) {
            Ok(())
        } else {
            self.fleet.borrow_mut().write_node(self.node, write)
        };
        self.written(is_applied, is_lost).await
    }

    fn evict(&mut self, eviction: &Eviction) -> Vec<Event> {
        let mut fleet = self.fleet.borrow_mut();
        fleet.requested("evictions", eviction.pods.len() as u64);
        let now = fleet.clock.now;
        let mut events = Vec::new();
        for key in &eviction.pods {
            let takes = fleet.dice.millis(2_000, 35_000);
            let host = &mut fleet.hosts[self.node];
            // Counted from the first request.
            let refused = host.refused.get_mut(&key.uid).is_some_and(|until| {
                if *until < Duration::from_secs(200) {
                    *until += now + Duration::from_secs(200);
                }
                now + Duration::from_secs(200) < *until
            });
            let outcome = if refused && eviction.how == How::Evict {
                let by = Refuser::Budget { name: "budget".into(), counts: Some((1, 1)) };
                let message =
                    "The disruption budget budget needs 1 healthy pods and has 1 currently".to_owned();
                EvictionOutcome::Refused(EvictionRefusal { by, message, retry_after: None })
            } else {
                let pod =
                    host.pods.get_mut(&key.uid).filter(|pod| !pod.terminating && eviction.how != How::DryRun);
                if let Some(pod) = pod {
                    pod.terminating = true;
                    let number = key.uid.trim_start_matches("pod-").parse().unwrap_or_default();
                    fleet.clock.after(takes, Due::PodGone(self.node, number));
                }
                EvictionOutcome::Granted
            };
            events.push(Event::EvictionEnded { pod: key.clone(), how: eviction.how, outcome });
        }
        events
    }

    fn start_hook(&mut self, _: Hook) {}

    fn tell_people(&mut self) {}

    async fn reboot(&mut self, _kexec: bool) -> Result<(), String> {
        self.fleet.borrow_mut().reboot_asked(self.node);
        Ok(())
    }

    async fn wait(&mut self, until: Option<Duration>, _: &World) -> Vec<Event> {
        let until = until.map(|boot| self.fleet.borrow().at(self.node, boot));
        Wait { fleet: Rc::clone(&self.fleet), node: self.node, until, is_set: false }.await
    }
}

impl At {
    fn read_now(&self, part: Part, world: &World, is_lost: bool) -> Vec<Event> {
        let mut fleet = self.fleet.borrow_mut();
        let failure = || Failure { message: "timed out".into(), retry_after: None };
        let name = &self.settings.node_name;
        vec![match part {
            Part::Policy if is_lost => Event::PolicyUnanswered(failure()),
            Part::Policy => Event::Policy(Ok(())),
            Part::Others if is_lost => Event::Others(Err(failure())),
            Part::Others => {
                let mut others = Others { of_pool: fleet.hosts.len() - 1, ..Others::default() };
                let not_ready = fleet.not_ready.iter().filter(|node| **node != self.node);
                not_ready
                    .for_each(|node| others.not_ready.push(fleet.hosts[*node].settings.node_name.clone()));
                Event::Others(Ok(others))
            }
            Part::Waiters => {
                let others = fleet.waiting.iter().filter(|(_, node)| *node != self.node).take(200);
                let first = others.map(|(_, node)| fleet.hosts[*node].settings.node_name.clone()).collect();
                Event::Waiters(Waiters {
                    first,
                    count: u32::try_from(fleet.waiting.len()).unwrap_or(u32::MAX),
                })
            }
            Part::Node if is_lost => Event::Node(Err(failure())),
            Part::Node => Event::Node(Ok(Some(fleet.hosts[self.node].node.clone()))),
            Part::Slots if is_lost => Event::Slots(Err(failure())),
            Part::Slots => {
                let versions = fleet.versions.clone();
                fleet.hosts[self.node].seen = versions;
                Event::Slots(Ok(fleet.slots.clone()))
            }
            Part::Holders => {
                let all = holders(world, &self.settings).into_iter().filter(|holder| holder != name);
                return all.map(|name| Event::Holder { name, exists: Ok(true) }).collect();
            }
            Part::Kubelet if is_lost => Event::Kubelet(Err(failure())),
            Part::Kubelet => {
                let since = fleet.hosts[self.node].kubelet_since;
                let renewals = since.map_or(0, |since| (fleet.clock.now - since).as_secs() / 10);
                let version = format!("{since:?}-{renewals}");
                let uid = "kubelet".to_owned();
                Event::Kubelet(Ok(KubeletLease { uid, resource_version: version.clone(), renewed: version }))
            }
            Part::Pods if is_lost => Event::Pods(Err(failure())),
            Part::Pods => Event::Pods(Ok(fleet.hosts[self.node].pods.values().cloned().collect())),
            Part::Budgets => Event::Budgets(Ok(vec![])),
            Part::After => Event::After(AfterReadings::default()),
            Part::Proven | Part::Alerts | Part::Annotations => return vec![],
        }]
    }
}

impl Fleet {
    fn write_slot(&mut self, node: usize, write: &SlotWrite) -> Result<(), ()> {
        let is_claim = matches!(write.change, SlotChange::Claim(_));
        let number = self.slots.iter().position(|slot| slot.name == write.slot).ok_or(())?;
        let slot = &mut self.slots[number];
        let is_free = slot.holder.is_none();
        let is_same = slot.resource_version == write.resource_version && slot.uid == write.uid;
        if is_claim {
            *self.counts.entry("claims").or_default() += u64::from(is_same && is_free);
            *self.counts.entry("conflicts").or_default() += u64::from(!is_same);
        }
        if !is_same {
            return Err(());
        }
        let before = slot.holder.clone();
        match &write.change {
            SlotChange::Claim(claim) => {
                (slot.holder, slot.claim) =
                    (Some(self.hosts[node].settings.node_name.clone()), claim.clone());
                (slot.stamp, slot.next, slot.returned) = (None, Default::default(), false);
            }
            SlotChange::Stamp(stamp, next) => {
                (slot.stamp, slot.next, slot.returned) = (Some(stamp.clone()), next.clone(), false);
            }
            SlotChange::Returned => slot.returned = true,
            SlotChange::Release { because } => {
                (slot.holder, slot.claim, slot.stamp) = (None, Default::default(), None);
                if because.is_none() {
                    self.rebooted(node);
                }
            }
            SlotChange::Free { .. } => {
                (slot.holder, slot.claim, slot.stamp) = (None, Default::default(), None)
            }
        }
        self.slot_changed(number, before.as_deref());
        self.check(node);
        Ok(())
    }

    fn write_node(&mut self, node: usize, write: &NodeWrite) -> Result<(), ()> {
        let version = self.new_version().to_string();
        let view = &mut self.hosts[node].node;
        if view.resource_version != write.resource_version || view.uid != write.uid {
            return Err(());
        }
        view.resource_version = version;
        let waited = view.labels.get(WAITING).cloned();
        for (name, value) in &write.signs.labels {
            match value {
                Some(value) => drop(view.labels.insert(name.clone(), value.clone())),
                None => drop(view.labels.remove(name)),
            }
        }
        match &write.change {
            NodeChange::Cordon { why } => {
                (view.unschedulable, view.unschedulable_is_ours, view.mark) = (true, true, Some(why.clone()));
            }
            NodeChange::Uncordon { .. } => (view.unschedulable, view.mark) = (false, None),
            NodeChange::RemoveMark => view.mark = None,
            NodeChange::Confirm { .. } => {}
        }
        self.labelled(node, waited);
        self.check(node);
        Ok(())
    }
}

/// Ready once something has happened, or at this time.
struct Wait {
    fleet: Rc<RefCell<Fleet>>,
    node: usize,
    until: Option<Duration>,
    is_set: bool,
}

impl Future for Wait {
    type Output = Vec<Event>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Vec<Event>> {
        let (until, node, is_set) = (self.until, self.node, self.is_set);
        self.is_set = true;
        let mut fleet = self.fleet.borrow_mut();
        let events = fleet.take_events(node);
        if !events.is_empty() {
            return Poll::Ready(events);
        }
        if until.is_some_and(|until| fleet.clock.now >= until) {
            return Poll::Ready(vec![Event::Tick]);
        }
        if let Some(until) = until.filter(|_| !is_set) {
            fleet.clock.at(until, Due::Loop(node));
        }
        Poll::Pending
    }
}
