//! The loop: decide, then read, act or wait. The only place where the pieces meet; it decides nothing itself.
//!
//! Everything that it does outside of the core goes through an [`Edge`]: for the daemon that is
//! [`super::DaemonEdge`], for the tests a cluster in memory. So what the core is told, and in which order, is the
//! same for both.

use std::time::Duration;

use crate::decide::{
    Decision, Effect, Event, Eviction, Hook, Memory, Next, NodeWrite, Now, Outcome, Part, Parts, Phase,
    Reads, Reason, Settings, SlotChange, SlotWrite, Target, World, decide, observe, record_failure,
};

/// What the loop needs from the outside world. Each method does what it says and decides nothing.
#[allow(async_fn_in_trait, reason = "the loop runs on one thread, and names no future")]
pub trait Edge {
    /// The time at which the next event happens.
    fn now(&self) -> Now;
    /// The settings in force. Reading the fleet's policy, or a reload, may change them.
    fn settings(&self) -> &Settings;
    /// What is known before anything is read for a decision.
    fn begin(&mut self, world: &World) -> Vec<Event>;
    /// Reports the decision to people. If this fails, no harm is done.
    fn report(&mut self, world: &World, decision: &Decision);
    /// Stores this for the next start. Returns when it is on the disk, or could not be written.
    fn remember(&mut self, memory: &Memory) -> Result<(), String>;
    /// Reads one part of the cluster; returns what was found, or why it could not be read.
    async fn read(&mut self, part: Part, world: &World) -> Vec<Event>;
    /// Reads this host: what asks for a reboot, and what stands in its way.
    async fn read_host(&mut self, world: &World) -> Vec<Event>;
    /// A look has failed: what is being watched may have changed since.
    fn look_failed(&mut self);
    /// Watches these parts from now on, and no others.
    fn watch(&mut self, parts: Parts, world: &World);
    /// Sends a write to a slot. `world` is the state before the write.
    async fn write_slot(&mut self, write: &SlotWrite, world: &World) -> Outcome;
    /// Sends a write to the own Node. `world` is the state before the write.
    async fn write_node(&mut self, write: &NodeWrite, world: &World) -> Outcome;
    /// Asks for evictions; returns the answers that are there already. The others come through [`Edge::wait`].
    fn evict(&mut self, eviction: &Eviction) -> Vec<Event>;
    /// Asks systemd to start the unit of a hook.
    fn start_hook(&mut self, hook: Hook);
    /// Asks people who are logged in to log out.
    fn tell_people(&mut self);
    /// Asks logind to reboot; with kexec if that is wanted and a kernel is loaded for it.
    async fn reboot(&mut self, kexec: bool) -> Result<(), String>;
    /// Nothing is left to give back: takes from the Node what only this agent keeps up to date, if that works.
    async fn leave(&mut self, _world: &World) {}
    /// Returns what has happened, at the latest at this time since boot.
    async fn wait(&mut self, until: Option<Duration>, world: &World) -> Vec<Event>;
}

/// The core with its edge.
pub struct Agent<E> {
    world: World,
    edge: E,
}

impl<E: Edge> Agent<E> {
    /// An agent that goes on from this World.
    pub fn new(world: World, edge: E) -> Agent<E> {
        Agent { world, edge }
    }

    /// What is known, and the edge: for tests that drive the loop step by step.
    pub fn into_parts(self) -> (World, E) {
        (self.world, self.edge)
    }

    /// Runs until `stop` resolves, in the middle of whatever step that is: nothing is undone, because the shutdown
    /// for our own reboot stops us in the same way.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        self.begin();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.step() => {}
            }
        }
    }

    /// Gives back what this node holds, if that is allowed. Returns when nothing is left; `show` is told each decision.
    pub async fn step_back(mut self, mut show: impl FnMut(&World, &Settings, &Decision)) {
        self.tell(Event::StepBack);
        self.begin();
        loop {
            let decision = self.decide();
            show(&self.world, self.edge.settings(), &decision);
            let refused = decision.reasons.iter().any(|reason| matches!(reason, Reason::Refused { .. }));
            let is_done = decision.phase == Phase::Idle && matches!(decision.next, Next::Wait(_));
            if is_done && !refused && self.world.cluster.look.is_some() {
                self.edge.leave(&self.world).await;
                return;
            }
            self.carry_out(decision).await;
        }
    }

    fn begin(&mut self) {
        // Whether anything can be remembered at all has to be known before the first claim.
        self.remember();
        let events = self.edge.begin(&self.world);
        self.tell_all(events);
    }

    /// One round of the loop.
    pub async fn step(&mut self) {
        let decision = self.decide();
        self.carry_out(decision).await;
    }

    fn decide(&mut self) -> Decision {
        let decision = decide(&self.world, self.edge.settings());
        self.edge.report(&self.world, &decision);
        let (for_slot, watched) = (decision.wants_slot, decision.watched);
        let known = (!self.world.cluster.gated, self.world.cluster.watched);
        if matches!(decision.next, Next::Wait(_)) && (for_slot, watched) != known {
            self.tell(Event::Waits { for_slot, watched });
        }
        decision
    }

    async fn carry_out(&mut self, decision: Decision) {
        match decision.next {
            Next::Read(reads) => self.look(reads).await,
            Next::Act(effect) => self.act(effect).await,
            Next::Wait(until) => {
                self.edge.watch(decision.watched, &self.world);
                let events = self.edge.wait(until, &self.world).await;
                self.tell_all(events);
            }
        }
    }

    /// Folds an event. What has to be remembered is stored before anything depends on it.
    fn tell(&mut self, event: Event) {
        let before = self.world.memory.clone();
        observe(&mut self.world, event, self.edge.now());
        if self.world.memory != before {
            self.remember();
        }
    }

    fn remember(&mut self) {
        let result = self.edge.remember(&self.world.memory);
        observe(&mut self.world, Event::Remembered(result), self.edge.now());
    }

    fn tell_all(&mut self, events: Vec<Event>) {
        for event in events {
            self.tell(event);
        }
    }

    /// Reads the parts one after the other. After one has failed, the rest would only fail, too. The host comes last.
    async fn look(&mut self, reads: Reads) {
        if reads.is_look() {
            self.tell(Event::LookBegun);
        }
        let mut failed = false;
        for part in reads.parts.in_order() {
            let events = self.edge.read(part, &self.world).await;
            failed = events.iter().any(Event::ends_look);
            self.tell_all(events);
            if failed {
                break;
            }
        }
        if reads.is_look() {
            if failed {
                self.edge.look_failed();
            }
            self.tell(Event::LookEnded(reads));
        } else if reads.parts != Parts::NONE {
            // The current look stays, and so do the watches, which started from an earlier list.
            return;
        }
        let events = self.edge.read_host(&self.world).await;
        self.tell_all(events);
        if self.world.host.memory_failure.is_some() {
            self.remember();
        }
    }

    /// Each effect is reported to the core before it is sent: whatever happens then, the core knows that it may have
    /// been sent.
    async fn act(&mut self, effect: Effect) {
        match &effect {
            Effect::WriteSlot(write) => {
                let leads_to_reboot = matches!(write.change, SlotChange::Claim(_) | SlotChange::Stamp(..));
                if leads_to_reboot && !self.can_remember_a_reboot() {
                    return;
                }
                let sent = self.begin_write(&write.uid);
                let outcome = self.edge.write_slot(write, &self.world).await;
                self.tell(Event::WriteEnded { effect, sent, outcome });
            }
            Effect::WriteNode(write) => {
                let sent = self.begin_write(&write.uid);
                let outcome = self.edge.write_node(write, &self.world).await;
                self.tell(Event::WriteEnded { effect, sent, outcome });
            }
            Effect::Evict(eviction) => {
                self.tell(Event::EvictionsBegun { pods: eviction.pods.clone(), how: eviction.how });
                let answered = self.edge.evict(eviction);
                self.tell_all(answered);
            }
            Effect::StartHook { hook, turn } => {
                self.tell(Event::HookBegun { hook: *hook, turn: *turn });
                self.edge.start_hook(*hook);
            }
            Effect::TellPeople => {
                self.tell(Event::PeopleTold);
                self.edge.tell_people();
            }
            Effect::Reboot { not_after, kexec } => {
                self.tell(Event::RebootBegun);
                let result = if self.edge.now().boot > *not_after {
                    Err("the stamp is too old by now".to_owned())
                } else if let Some(why) = record_failure(&self.world, self.edge.settings()) {
                    Err(format!(
                        "it was not asked, because the record of this reboot cannot be written: {why}"
                    ))
                } else {
                    self.edge.reboot(*kexec).await
                };
                self.tell(Event::RebootEnded(result));
            }
        }
    }

    /// Tries it, because the disk may have filled up since the memory last changed.
    fn can_remember_a_reboot(&mut self) -> bool {
        self.remember();
        record_failure(&self.world, self.edge.settings()).is_none()
    }

    /// Returns the time of sending; a stamp is valid from then on.
    fn begin_write(&mut self, uid: &str) -> Duration {
        let sent = self.edge.now().boot;
        self.tell(Event::WriteBegun(Target(uid.to_owned())));
        sent
    }
}

#[cfg(test)]
mod tests;
