//! The gates after a reboot: the node is uncordoned but keeps its slot until whatever was moved or rebuilt because of
//! it is well again, so that the next node does not go down meanwhile.

use std::time::Duration;

use super::super::questions::MOST_NAMED;
use super::super::settings::{AtLimit, ObjectField};
use super::super::wish::{OTHERS_LOOK, WAITING_LOOK, WITH_KUBELET, Wish};
use super::super::{Names, PROVEN, Part, Parts, Phase, Reason, SlotChange, SlotView};
use super::situation::Situation;
use crate::notation::Selector;

/// What these gates say about a returning node.
pub(super) enum AfterGates {
    /// They do not hold the slot, or it is too early to ask.
    Unasked,
    /// They hold the slot.
    Held(Wish),
    /// They let it go, if the look before the release says so again.
    Asked {
        /// What to say if that is only because their time is over.
        given_up: Vec<Reason>,
    },
}

impl Situation<'_> {
    /// The gates after the reboot for which this slot was stamped. They are asked once the uncordon has been
    /// answered. If a person wants the slot back, or removes rebootd from this host, the slot is given back without
    /// them.
    pub(super) fn after(&self, slot: &SlotView) -> AfterGates {
        let uncordoned = self.is_uncordoned();
        let after = &self.settings.after;
        let wanted_back = slot.step_back.is_some() || self.world.step_back;
        let canary = slot.claim.canary.as_ref();
        if !uncordoned || (after.is_empty() && canary.is_none()) || slot.stamp.is_none() || wanted_back {
            return AfterGates::Unasked;
        }
        let why = self.requests.not_live().map(ToString::to_string);
        let why = why.or_else(|| self.world.host.kernel.failure().map(str::to_owned));
        if let Some(why) = why.filter(|_| canary.is_some()) {
            let wish = Wish { watched: Parts::only(Part::Slots), ..Wish::new(Phase::Returning) };
            let wish = Wish { look_age: Some(WAITING_LOOK), host_age: Some(OTHERS_LOOK), ..wish };
            return AfterGates::Held(wish.because(Reason::CanaryFailed { why }));
        }
        if !slot.returned {
            // Others would take it for a node that does not come back.
            let wish = Wish { reads: WITH_KUBELET, ..Wish::new(Phase::Returning) };
            return AfterGates::Held(wish.act(self.write_slot(slot, SlotChange::Returned)));
        }
        let now = self.world.now.boot;
        let begun = self.world.memory.uncordoned.as_ref().map_or(Duration::ZERO, |it| it.at);
        let rule = self.settings.policy.canary.as_ref().filter(|_| canary.is_some());
        let soaked = begun + rule.map_or(after.soak, |rule| after.soak.max(rule.soak));
        let wish = Wish { watched: Parts::only(Part::Slots), ..Wish::new(Phase::Returning) };
        if now < soaked {
            let wish = Wish { look_age: Some(WAITING_LOOK), until: Some(soaked), ..wish };
            return AfterGates::Held(wish.because(Reason::Soaking { left: soaked - now }));
        }
        let mut reasons = self.closed_after();
        let (limit, overdue) = (after.limit, soaked + after.limit);
        if reasons.is_empty() {
            return match canary.filter(|what| self.node.labels.get(PROVEN) != Some(*what)) {
                Some(what) => AfterGates::Held(Wish { reads: WITH_KUBELET, ..wish }.act(self.prove(what))),
                None => AfterGates::Asked { given_up: reasons },
            };
        }
        if overdue <= now {
            if after.at_limit == AtLimit::Release {
                reasons.insert(0, Reason::AfterGivenUp { limit });
                return AfterGates::Asked { given_up: reasons };
            }
            reasons.insert(0, Reason::AfterOverdue { limit });
        }
        AfterGates::Held(Wish {
            reasons,
            reads: WITH_KUBELET.with(Part::After).with_if(Part::Pods, !after.pods.is_empty()),
            look_age: Some(OTHERS_LOOK),
            until: Some(overdue).filter(|at| *at > now),
            ..wish
        })
    }

    /// What is not well. A look that did not read it says nothing; the caller wants it read, so that happens first.
    fn closed_after(&self) -> Vec<Reason> {
        let Some(look) = self.world.cluster.look.filter(|look| look.read.has(Part::After)) else {
            return Vec::new();
        };
        let after = &self.settings.after;
        let read = &self.world.cluster.after;
        let query = after.query.as_ref().and_then(|_| match &read.query {
            Some(Ok(found)) if found.count() == 0 => None,
            Some(Ok(found)) => Some(format!("Prometheus finds {}", found.clone().shortened(MOST_NAMED))),
            Some(Err(why)) => Some(format!("cannot read Prometheus: {why}")),
            None => Some("Prometheus was not asked yet".to_owned()),
        });
        let objects = after.objects.iter().enumerate();
        let objects = objects.filter_map(|(number, object)| match read.objects.get(number) {
            Some(Ok(values)) => not_as_asked(object, values),
            Some(Err(why)) => Some(format!("cannot read {}: {why}", object.path)),
            None => Some(format!("{} was not read yet", object.path)),
        });
        let pods = after
            .pods
            .iter()
            .filter(|_| look.read.has(Part::Pods))
            .filter_map(|selector| self.not_ready(selector));
        query.into_iter().chain(objects).chain(pods).map(|why| Reason::AfterCheck { why }).collect()
    }

    /// The pods of this node that this selector matches and that are not ready. If there are none yet, that counts as
    /// well: the pods that had to leave come back only after the uncordon.
    fn not_ready(&self, selector: &Selector) -> Option<String> {
        let Some(pods) = self.world.cluster.pods.current() else {
            return Some("cannot read the pods of this node".to_owned());
        };
        let there = |pod: &&super::super::PodView| !pod.finished && !pod.terminating;
        let mut selected = pods.values().filter(there).filter(|pod| selector.selects(&pod.labels)).peekable();
        if selected.peek().is_none() {
            return Some(format!("no pod {selector} is on this node"));
        }
        let mut names = Names::default();
        selected.filter(|pod| !pod.ready).for_each(|pod| names.push(pod.key.to_string()));
        names.first.sort_unstable();
        let names = names.shortened(MOST_NAMED);
        (names.count() > 0).then(|| format!("pods of this node are not ready: {names}"))
    }
}

/// What is wrong with the first value that is not among the wanted ones.
fn not_as_asked(object: &ObjectField, values: &[Option<String>]) -> Option<String> {
    let ObjectField { path, field, equals } = object;
    let wrong = values.iter().find(|value| value.as_ref().is_none_or(|value| !equals.contains(value)))?;
    let wanted = equals.join(" or ");
    Some(match wrong {
        Some(value) => format!("{field} of {path} is {value}, not {wanted}"),
        None => format!("there is no {field} in {path}; it has to be {wanted}"),
    })
}
