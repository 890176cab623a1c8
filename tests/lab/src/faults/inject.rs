//! Carries the plan out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::persons;
use super::plan::{Class, Fault, Mishap, Planned, Target};
use crate::observer::Observer;
use crate::proxy::{Action, Rule, RuleHandle, Verb};
use crate::simulated::client::Client;
use crate::simulated::{BusMood, Machine, Site};

/// A rule that has caught nothing after this long makes room for another one.
const ARMED: Duration = Duration::from_secs(20);
/// A person decides about a garbled slot only when nothing can be on its way any more.
const PERSON_WAITS: Duration = Duration::from_secs(45);

/// A fault that waits for the request or the call that it is meant for.
struct Armed {
    site: usize,
    name: &'static str,
    text: String,
    since: Instant,
    trap: Trap,
}

enum Trap {
    Rule { class: Class, handle: RuleHandle, late: Duration },
    Fate,
}

/// Has an effect on the machines and their ways, and counts it.
pub(super) struct Injector<'a> {
    pub(super) sites: &'a [Site],
    pub(super) slots: &'a [(&'static str, &'static str)],
    pub(super) person: Client,
    pub(super) observer: &'a Observer,
    pub(super) story: Story,
    armed: Vec<Armed>,
    /// What has an end of its own.
    under_way: JoinSet<()>,
    /// Ends all that at once.
    over: CancellationToken,
    /// When the last delayed request has reached the server.
    last_late: Instant,
    /// How often each kind took effect.
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// Who did what when, for people, in a file.
#[derive(Clone)]
pub(super) struct Story(Arc<Mutex<File>>);

impl Story {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    pub(super) fn tell(&self, text: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(file, "{} {text}", Timestamp::now());
    }
}

impl<'a> Injector<'a> {
    pub(super) fn new(
        sites: &'a [Site],
        slots: &'a [(&'static str, &'static str)],
        person: Client,
        observer: &'a Observer,
        story: Story,
    ) -> Self {
        Self {
            sites,
            slots,
            person,
            observer,
            story,
            armed: Vec::new(),
            under_way: JoinSet::new(),
            over: CancellationToken::new(),
            last_late: Instant::now(),
            counts: BTreeMap::new(),
        }
    }

    /// How many faults took effect.
    pub(super) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Lets this happen, and counts what has taken effect since.
    pub(super) async fn inject(&mut self, planned: Planned) {
        self.sweep();
        while self.under_way.try_join_next().is_some() {}
        let Some(site) = self.choose(planned.target) else { return };
        let fault = planned.fault;
        let name = &self.sites[site].machine.name;
        let text = format!("{name}: {}: {fault:?}", fault.name());
        // What cannot be done at this moment, such as to a Node that is not there, is no fault.
        if self.strike(site, fault, &text).await.unwrap_or(false) {
            self.happened(fault.name(), &text);
        }
    }

    fn happened(&mut self, name: &'static str, text: &str) {
        self.story.tell(text);
        *self.counts.entry(name).or_default() += 1;
    }

    fn choose(&self, target: Target) -> Option<usize> {
        let which = match target {
            Target::Machine(which) => return Some(which),
            Target::Holder(which) => which,
        };
        let state = self.observer.state();
        let holders: Vec<&str> = state.leases.values().filter_map(|slot| slot.holder.as_deref()).collect();
        let holder = holders.get(which % holders.len().max(1))?;
        self.sites.iter().position(|site| site.machine.name == *holder)
    }

    /// Counts what was caught, and takes away what waits in vain.
    fn sweep(&mut self) {
        for armed in std::mem::take(&mut self.armed) {
            let caught = match &armed.trap {
                Trap::Rule { handle, late, .. } => {
                    let caught = !handle.hits().is_empty();
                    if caught {
                        self.last_late = self.last_late.max(Instant::now() + *late);
                        handle.remove();
                    }
                    caught
                }
                Trap::Fate => self.sites[armed.site].machine.fates_left() == 0,
            };
            if caught {
                self.happened(armed.name, &format!("{} (took effect)", armed.text));
            } else if matches!(&armed.trap, Trap::Rule { .. }) && armed.since.elapsed() > ARMED {
                if let Trap::Rule { handle, .. } = &armed.trap {
                    handle.remove();
                }
            } else {
                self.armed.push(armed);
            }
        }
    }

    fn arm(&mut self, site: usize, fault: Fault, text: &str, trap: Trap) {
        let (name, text, since) = (fault.name(), text.to_owned(), Instant::now());
        self.armed.push(Armed { site, name, text, since, trap });
    }

    /// Whether something waits there already for a request of this class, or for the next call of `Reboot`.
    fn is_armed(&self, site: usize, wanted: Option<Class>) -> bool {
        let same = |trap: &Trap| match trap {
            Trap::Rule { class, .. } => wanted == Some(*class),
            Trap::Fate => wanted.is_none(),
        };
        self.armed.iter().any(|armed| armed.site == site && same(&armed.trap))
    }

    /// Sleeps, but not beyond the end of all faults; then does the rest.
    fn later<F: Future<Output = ()> + Send + 'static>(&mut self, time: Duration, rest: F) {
        let over = self.over.clone();
        self.under_way.spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = sleep(time) => {}
            }
            rest.await;
        });
    }

    /// Whether it took effect at once.
    async fn strike(&mut self, site: usize, fault: Fault, text: &str) -> Result<bool> {
        let Site { machine, proxy, .. } = &self.sites[site];
        let (machine, proxy, person) = (Arc::clone(machine), Arc::clone(proxy), self.person.clone());
        let is_up = machine.boot_id().is_some();
        match fault {
            Fault::Request { class, mishap, kill_connection } => {
                if !self.is_armed(site, Some(class)) {
                    let (rule, (action, late)) = (rule(class, kill_connection), action(mishap));
                    let handle = proxy.add(rule, action);
                    self.arm(site, fault, text, Trap::Rule { class, handle, late });
                }
                return Ok(false);
            }
            Fault::NextReboot(fate) => {
                if !self.is_armed(site, None) {
                    machine.expect(fate);
                    self.arm(site, fault, text, Trap::Fate);
                }
                return Ok(false);
            }
            Fault::ConnectionsBreak => {
                let open = proxy.open_connections() > 0;
                proxy.kill_connections();
                return Ok(open);
            }
            Fault::Silence(time) => {
                proxy.set_black_hole(true);
                self.last_late = self.last_late.max(Instant::now() + time);
                self.later(time, async move { proxy.set_black_hole(false) });
            }
            Fault::Refused(time) => {
                proxy.set_refuse(true);
                proxy.kill_connections();
                self.later(time, async move { proxy.set_refuse(false) });
            }
            Fault::DaemonKilled => return Ok(machine.signal("-KILL").await),
            Fault::DaemonKilledMemoryLost => {
                machine.forget();
                return Ok(machine.signal("-KILL").await);
            }
            Fault::DaemonRestarted => return Ok(machine.signal("-TERM").await),
            Fault::DaemonPaused(time) => {
                let paused = machine.signal("-STOP").await;
                self.later(time, async move {
                    let _ = machine.signal("-CONT").await;
                });
                return Ok(paused);
            }
            Fault::PowerLoss { dark } => {
                machine.power_off("power loss").await;
                self.later(dark, async move { machine.boot() });
                return Ok(is_up);
            }
            Fault::SomebodyReboots { after, dark } => {
                let Some(boot) = machine.prepare_shutdown() else { return Ok(false) };
                self.later(Duration::ZERO, async move {
                    machine.reboot(&boot, after, dark, "somebody reboots").await;
                });
            }
            Fault::BusFails(time) => self.bus_is(machine, BusMood::Failing, time),
            Fault::BusHangs(time) => self.bus_is(machine, BusMood::Hanging, time),
            Fault::BusBreaks => machine.break_bus_connections(),
            Fault::Inhibited(time) => {
                machine.set_inhibited(true);
                self.later(time, async move { machine.set_inhibited(false) });
            }
            Fault::RequestWithdrawn => return Ok(std::fs::remove_file(machine.sentinel()).is_ok()),
            Fault::KubeletDies(time) => machine.stop_kubelet(time),
            Fault::KubeletNotReady(time) => {
                machine.set_kubelet_ready(false);
                self.later(time, async move { machine.set_kubelet_ready(true) });
            }
            Fault::NodeDeleted => persons::delete_node(&person, &machine.name).await?,
            Fault::Cordoned(time) => {
                let did = persons::set_unschedulable(&person, &machine.name, true).await?;
                if did {
                    self.later(time, async move {
                        let _ = persons::set_unschedulable(&person, &machine.name, false).await;
                    });
                }
                return Ok(did);
            }
            Fault::Uncordoned => return persons::set_unschedulable(&person, &machine.name, false).await,
            Fault::SlotsApplied => persons::apply_slots(&person, self.slots).await?,
            Fault::SlotRewritten => return persons::rewrite_slot(&person, &machine.name).await,
            Fault::SlotGarbled => {
                let did = persons::garble_slot(&person, &machine.name).await?;
                if did {
                    self.under_way.spawn(async move { repair(&person, &machine).await });
                }
                return Ok(did);
            }
        }
        Ok(is_up)
    }

    fn bus_is(&mut self, machine: Arc<Machine>, mood: BusMood, time: Duration) {
        machine.set_bus(mood);
        self.later(time, async move { machine.set_bus(BusMood::Well) });
    }

    /// Nothing goes wrong any more. Returns when the last late request has reached the server.
    pub(super) async fn end(&mut self) {
        self.sweep();
        self.over.cancel();
        self.armed.clear();
        for Site { machine, proxy, .. } in self.sites {
            machine.forget_fates();
            proxy.clear();
        }
        while self.under_way.join_next().await.is_some() {}
        for Site { machine, proxy, .. } in self.sites {
            proxy.set_refuse(false);
            proxy.set_black_hole(false);
            machine.heal();
            machine.signal("-CONT").await;
            machine.boot();
        }
        tokio::time::sleep_until(self.last_late).await;
    }
}

async fn repair(person: &Client, machine: &Machine) {
    sleep(PERSON_WAITS).await;
    // Until it is up and well: what he does to a sick node is his to answer for.
    loop {
        if machine.is_well() && persons::repair_slot(person, &machine.name).await.is_ok() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn rule(class: Class, kill_connection: bool) -> Rule {
    let rule = match class {
        Class::SlotWrite => Rule::new(Verb::Patch, "leases"),
        Class::NodeWrite => Rule::new(Verb::Patch, "nodes"),
        Class::Eviction => Rule::new(Verb::Create, "pods/eviction"),
        Class::NodeRead => Rule::new(Verb::Get, "nodes"),
        Class::SlotsRead => Rule::new(Verb::List, "leases"),
        Class::PodsRead => Rule::new(Verb::List, "pods"),
        Class::KubeletRead => Rule::new(Verb::Get, "leases"),
        Class::Watch => Rule::any().verb(Verb::Watch),
        Class::Any => Rule::any(),
    };
    if kill_connection { rule.nth(1).kill_connection() } else { rule.nth(1) }
}

/// The action, and how long after it something may still reach the server.
fn action(mishap: Mishap) -> (Action, Duration) {
    match mishap {
        Mishap::LostRequest => (Action::DropBefore, Duration::ZERO),
        Mishap::LostAnswer => (Action::DropAfter, Duration::ZERO),
        Mishap::Delayed(time) => (Action::Delay(time), time),
        Mishap::AnswerDelayed(time) => (Action::DelayAnswer(time), time),
        Mishap::Overloaded => (Action::answer_overloaded(1), Duration::ZERO),
        Mishap::ServerError(500) => {
            (Action::answer_error(500, "InternalError", "an error of the lab"), Duration::ZERO)
        }
        Mishap::ServerError(status) => {
            (Action::answer_error(status, "ServiceUnavailable", "an error of the lab"), Duration::ZERO)
        }
    }
}
