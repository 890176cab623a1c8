//! What can go wrong at a step of a cycle, and how it is made to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::cycle::Rig;
use super::steps::{Class, Point, Tracker};
use crate::bus::{Held, Place};
use crate::command;
use crate::host::Host;
use crate::proxy::{Action, Hit, Outcome, Rule, RuleHandle};
use crate::scenarios::stage::{CYCLE, SOON};

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The daemon is killed before the step has an effect, and the request dies with it.
    KilledBefore,
    /// The same, and the request arrives when the next daemon runs.
    KilledBeforeLate,
    /// The daemon is killed when the answer is there and has not reached it.
    KilledAfter,
    /// The host loses its power before the step has an effect, and the request dies with it.
    PowerLostBefore,
    /// The same, and the request arrives when the host boots again.
    PowerLostBeforeLate,
    /// The same, and the request arrives when the next daemon has looked and is idle.
    PowerLostBeforeVeryLate,
    /// The host loses its power when the answer is there and has not reached it.
    PowerLostAfter,
    /// The answer gets lost, and nothing else.
    AnswerLost,
    /// The request arrives when the daemon has given up on it.
    Delayed,
}

impl Fault {
    /// All, in the order of the table.
    pub(super) const ALL: [Fault; 9] = [
        Fault::KilledBefore,
        Fault::KilledBeforeLate,
        Fault::KilledAfter,
        Fault::PowerLostBefore,
        Fault::PowerLostBeforeLate,
        Fault::PowerLostBeforeVeryLate,
        Fault::PowerLostAfter,
        Fault::AnswerLost,
        Fault::Delayed,
    ];

    /// What can go wrong with a step of this class. A read that comes late changes nothing; a watch never times out.
    pub(super) fn of(class: Class) -> &'static [Fault] {
        use Fault::*;
        match class {
            Class::Read => &[KilledBefore, KilledAfter, PowerLostBefore, PowerLostAfter, AnswerLost, Delayed],
            Class::Watch => &[KilledBefore, KilledAfter, PowerLostBefore, PowerLostAfter, AnswerLost],
            Class::Write => &[
                KilledBefore,
                KilledBeforeLate,
                KilledAfter,
                PowerLostBeforeLate,
                PowerLostBeforeVeryLate,
                PowerLostAfter,
                AnswerLost,
                Delayed,
            ],
            Class::Evict => &[
                KilledBefore,
                KilledBeforeLate,
                KilledAfter,
                PowerLostBeforeLate,
                PowerLostAfter,
                AnswerLost,
                Delayed,
            ],
            Class::Ask => &[KilledBefore, KilledAfter, PowerLostBefore, PowerLostAfter],
            Class::Reboot => {
                &[KilledBefore, KilledBeforeLate, KilledAfter, PowerLostBefore, PowerLostAfter, AnswerLost]
            }
        }
    }

    /// Whether the host goes dark.
    pub(super) fn takes_power(self) -> bool {
        use Fault::*;
        matches!(self, PowerLostBefore | PowerLostBeforeLate | PowerLostBeforeVeryLate | PowerLostAfter)
    }

    fn place(self) -> Place {
        use Fault::*;
        match self {
            KilledAfter | PowerLostAfter | AnswerLost => Place::After,
            _ => Place::Before,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Fault::KilledBefore => "killed before",
            Fault::KilledBeforeLate => "killed before, arrives late",
            Fault::KilledAfter => "killed after",
            Fault::PowerLostBefore => "power lost before",
            Fault::PowerLostBeforeLate => "power lost before, arrives late",
            Fault::PowerLostBeforeVeryLate => "power lost before, arrives when idle",
            Fault::PowerLostAfter => "power lost after",
            Fault::AnswerLost => "answer lost",
            Fault::Delayed => "delayed past its timeout",
        })
    }
}

/// One step, and what goes wrong there.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) point: Point,
    pub(super) fault: Fault,
    /// Whether it lies in the half of the cycle that follows the boot.
    pub(super) follows_boot: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.point, self.fault)
    }
}

/// Looks at all that a daemon does in half a cycle, and stops it at some steps.
pub(super) struct Trap {
    pub(super) tracker: Arc<Tracker>,
    rule: RuleHandle,
    held: UnboundedReceiver<Held>,
}

enum Caught {
    Request(Hit),
    Call(Held),
}

impl Trap {
    /// Only looks. `begins` is what this half of the cycle begins with.
    pub(super) fn look(rig: &Rig<'_>, begins: &str) -> Trap {
        Trap::set(rig, begins, Vec::new(), Action::Hold, Place::Before)
    }

    /// Holds the step that the case is about; without one it only looks.
    pub(super) fn for_case(rig: &Rig<'_>, begins: &str, case: Option<&Case>) -> Trap {
        let Some(case) = case else { return Trap::look(rig, begins) };
        let place = case.fault.place();
        let action = match place {
            Place::Before => Action::Hold,
            Place::After => Action::HoldAnswer,
        };
        Trap::set(rig, begins, vec![case.point.clone()], action, place)
    }

    /// Does something to several requests, once to each.
    pub(super) fn for_requests(rig: &Rig<'_>, begins: &str, points: Vec<Point>, action: Action) -> Trap {
        Trap::set(rig, begins, points, action, Place::Before)
    }

    fn set(rig: &Rig<'_>, begins: &str, wanted: Vec<Point>, action: Action, place: Place) -> Trap {
        let tracker = Arc::new(Tracker::new(begins, wanted));
        let requests = Arc::clone(&tracker);
        let rule =
            Rule::any().from_agent("rebootd/").when(move |record, body| requests.request(record, body));
        let calls = Arc::clone(&tracker);
        let held = rig.bus.hold(place, move |call| calls.call(call));
        Trap { tracker, rule: rig.proxy().add(rule, action), held }
    }

    /// Makes it go wrong; false where the daemon is `past` without having come to the point, or had ended by itself.
    pub(super) async fn spring(
        &mut self,
        rig: &Rig<'_>,
        case: &Case,
        past: impl Future<Output = Result<()>>,
    ) -> Result<bool> {
        let caught = tokio::select! {
            biased;
            hit = self.rule.wait_hit() => Caught::Request(hit),
            Some(held) = self.held.recv() => Caught::Call(held),
            past = past => return past.map(|()| false),
        };
        strike(rig, case.fault, caught).await
    }

    /// How many steps it has stopped.
    pub(super) fn stopped(&self) -> usize {
        self.rule.hits().len()
    }

    /// Takes it away.
    pub(super) fn remove(self, rig: &Rig<'_>) {
        rig.bus.let_pass();
        self.rule.remove();
    }
}

/// False where there was nobody to strike: the host is going down, and the daemon has ended already.
async fn strike(rig: &Rig<'_>, fault: Fault, caught: Caught) -> Result<bool> {
    match fault {
        Fault::KilledBefore | Fault::KilledAfter => {
            let killed = kill(rig.host).await?;
            caught.lose();
            return Ok(killed);
        }
        Fault::KilledBeforeLate => {
            let killed = kill(rig.host).await?;
            caught.arrive(rig).await?;
            return Ok(killed);
        }
        Fault::PowerLostBefore | Fault::PowerLostAfter => {
            cut_power(rig.host).await?;
            caught.lose();
        }
        Fault::PowerLostBeforeLate => {
            cut_power(rig.host).await?;
            caught.arrive(rig).await?;
        }
        Fault::PowerLostBeforeVeryLate => {
            cut_power(rig.host).await?;
            rig.wait_idle(CYCLE).await?;
            caught.arrive(rig).await?;
        }
        Fault::AnswerLost => caught.lose(),
        Fault::Delayed => {
            caught.wait_given_up(rig).await?;
            caught.arrive(rig).await?;
        }
    }
    Ok(true)
}

impl Caught {
    fn lose(self) {
        match self {
            Caught::Request(hit) => hit.drop_request(),
            Caught::Call(held) => drop(held),
        }
    }

    /// Lets it go on, and waits until the server has answered.
    async fn arrive(self, rig: &Rig<'_>) -> Result<()> {
        let hit = match self {
            Caught::Call(held) => {
                held.release();
                return Ok(());
            }
            Caught::Request(hit) => hit,
        };
        hit.release();
        let answered = || rig.proxy().request(hit.number).is_some_and(|it| it.server_status.is_some());
        wait("the late request is answered", SOON, answered).await?;
        let status = rig.proxy().request(hit.number).and_then(|request| request.server_status);
        rig.say(format!("what was late arrives: {} {}, answer {status:?}", hit.verb, hit.resource));
        Ok(())
    }

    async fn wait_given_up(&self, rig: &Rig<'_>) -> Result<()> {
        let Caught::Request(hit) = self else { bail!("only requests are delayed") };
        let given_up = || rig.proxy().request(hit.number).is_some_and(|it| it.outcome == Outcome::ClientGone);
        wait("the daemon gives up on its request", SOON, given_up).await
    }
}

async fn wait(what: &str, limit: Duration, done: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done() {
        ensure!(Instant::now() < deadline, "waited {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Kills the daemon from outside, at once, and waits until the next one runs, be it after a boot that had begun.
/// False where there was none any more: the host's shutdown ends it too.
async fn kill(host: &Host) -> Result<bool> {
    let boots = host.boots().len();
    let before = host.service_processes("rebootd");
    let mut killed = false;
    for process in &before {
        killed |= command::run("kill", &["-KILL", &process.to_string()]).await.is_ok();
    }
    let replaced = || {
        let now = host.service_processes("rebootd");
        !now.is_empty() && now.iter().all(|process| !before.contains(process))
    };
    wait("systemd starts rebootd again", SOON, || host.boots().len() > boots || replaced()).await?;
    Ok(killed)
}

/// Takes the power away and gives it back at once: the host boots.
async fn cut_power(host: &Host) -> Result<()> {
    let boots = host.boots().len();
    // A host that is going down anyway may be quicker.
    let cut = host.power_off_abruptly().await;
    if !host.is_on() {
        host.boot();
    }
    let booted = host.wait_boot_number(boots + 1, SOON).await;
    booted.with_context(|| format!("after the power was cut ({cut:?})"))
}
