//! The loop with an edge that plays a script: what it reports to the core when things fail, break off and stop.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::Files;
use crate::decide::{Answer, Failure, KEEP_FROM_AUTOSCALERS, NodeView, Source};

/// An edge that records what it is asked for, and answers by a script.
struct Script {
    settings: Settings,
    node: NodeView,
    asked: Vec<String>,
    /// What each wait returns; after the last one it waits forever.
    waits: VecDeque<Vec<Event>>,
    /// This part cannot be read.
    fails: Option<Part>,
    /// This is never answered.
    hangs: Option<&'static str>,
    outcome: Outcome,
    remembered: Vec<Memory>,
    /// Nothing can be remembered.
    disk_is_full: bool,
}

impl Script {
    async fn asked(&mut self, what: &str) {
        self.asked.push(what.to_owned());
        if self.hangs == Some(what) {
            pending::<()>().await;
        }
    }
}

const NOW: Now = Now { boot: Duration::from_secs(500), wall: Duration::from_secs(1_700_000_000) };

fn failure() -> Failure {
    Failure { message: "connection refused".into(), retry_after: None }
}

impl Edge for Script {
    fn now(&self) -> Now {
        NOW
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn begin(&mut self, _: &World) -> Vec<Event> {
        vec![]
    }

    fn report(&mut self, _: &World, decision: &Decision) {
        self.asked.push(decision.phase.word().to_owned());
    }

    fn remember(&mut self, memory: &Memory) -> Result<(), String> {
        self.remembered.push(memory.clone());
        if self.disk_is_full { Err("no space left".to_owned()) } else { Ok(()) }
    }

    async fn read(&mut self, part: Part, _: &World) -> Vec<Event> {
        self.asked(match part {
            Part::Node => "read Node",
            Part::Slots => "read Slots",
            Part::Policy => "read Policy",
            _ => "read more",
        })
        .await;
        let fails = self.fails == Some(part);
        let node = self.node.clone();
        vec![match part {
            Part::Node if fails => Event::Node(Err(failure())),
            Part::Node => Event::Node(Ok(Some(node))),
            Part::Slots if fails => Event::Slots(Err(failure())),
            Part::Slots => Event::Slots(Ok(vec![])),
            Part::Policy => Event::Policy(Ok(())),
            _ => Event::Tick,
        }]
    }

    async fn read_host(&mut self, _: &World) -> Vec<Event> {
        self.asked("read host").await;
        let sentinel: Answer = Some(Ok(None));
        vec![
            Event::Requests(BTreeMap::from([(Source::SentinelFile, sentinel)])),
            Event::Host {
                going_down: Ok(false),
                package_manager: Ok(None),
                inhibitors: Ok(vec![]),
                may_reboot: Ok(true),
                scheduled: Ok(None),
            },
        ]
    }

    fn look_failed(&mut self) {
        self.asked.push("watches end".into());
    }

    fn watch(&mut self, parts: Parts, _: &World) {
        self.asked.push(format!("watch {parts:?}"));
    }

    async fn write_slot(&mut self, _: &SlotWrite, _: &World) -> Outcome {
        self.asked("write slot").await;
        self.outcome.clone()
    }

    async fn write_node(&mut self, _: &NodeWrite, _: &World) -> Outcome {
        self.asked("write Node").await;
        self.outcome.clone()
    }

    fn evict(&mut self, _: &Eviction) -> Vec<Event> {
        vec![]
    }

    fn start_hook(&mut self, _: Hook) {}

    fn tell_people(&mut self) {}

    async fn reboot(&mut self, _: bool) -> Result<(), String> {
        self.asked("reboot").await;
        Ok(())
    }

    async fn wait(&mut self, _: Option<Duration>, _: &World) -> Vec<Event> {
        self.asked("wait").await;
        match self.waits.pop_front() {
            Some(events) => events,
            None => pending().await,
        }
    }
}

fn agent() -> Agent<Script> {
    let text = "[api]\nserver = 'https://x'\ncertificate_authority = '/ca'\ntoken_file = '/t'";
    let files = Files::from_texts(vec![("f".into(), text.to_owned())], Path::new("/nowhere")).unwrap();
    let settings = files.settings("n").unwrap();
    let world = World::new(NOW, "p".into(), "b".into(), "m".into(), Memory::default());
    let node = NodeView {
        uid: "u".into(),
        machine_id: "m".into(),
        ready: true,
        pool_label: Some("worker".into()),
        ..NodeView::default()
    };
    let edge = Script {
        settings,
        node,
        asked: vec![],
        waits: VecDeque::new(),
        fails: None,
        hangs: None,
        outcome: Outcome::Answered,
        remembered: vec![],
        disk_is_full: false,
    };
    Agent::new(world, edge)
}

/// Runs the loop until it hangs, or for a few rounds; returns what its edge was asked for, and what the loop knows.
async fn run(mut agent: Agent<Script>) -> (World, Script) {
    let _ = tokio::time::timeout(Duration::from_millis(50), async {
        for _ in 0..12 {
            agent.step().await;
        }
    })
    .await;
    agent.into_parts()
}

fn test<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_look_reads_the_policy_then_the_node_the_slots_and_the_host_last() {
    let (world, script) = test(run(agent()));
    let reads: Vec<_> = script.asked.iter().filter(|asked| asked.starts_with("read")).collect();
    assert_eq!(reads, ["read Policy", "read Node", "read Slots", "read host"], "{:?}", script.asked);
    assert!(world.cluster.look.is_some_and(|look| look.ended.is_some()));
}

#[test]
fn a_read_that_fails_ends_the_look_and_the_watches_that_followed_the_last() {
    let mut failing = agent();
    failing.edge.fails = Some(Part::Node);
    let (world, script) = test(run(failing));
    let first = ["starting", "read Policy", "read Node", "watches end", "read host"];
    assert_eq!(script.asked[..5], first);
    assert_eq!(world.cluster.look, None);
    assert_eq!(world.cluster.read_failure.as_deref(), Some("connection refused"));
    // It waits until it is time, instead of spinning.
    assert!(script.asked.contains(&"wait".to_owned()), "{:?}", script.asked);
}

#[test]
fn a_watch_that_breaks_is_followed_by_a_look() {
    let mut broken = agent();
    broken.edge.waits = VecDeque::from([vec![Event::WatchEnded]]);
    let (_, script) = test(run(broken));
    let looks = script.asked.iter().filter(|asked| *asked == "read Node").count();
    assert_eq!(looks, 2, "{:?}", script.asked);
}

#[test]
fn a_reload_puts_every_object_in_doubt_and_looks_again() {
    let mut reloaded = agent();
    reloaded.edge.waits = VecDeque::from([vec![Event::Configuration(None), Event::Reloaded]]);
    let (world, script) = test(run(reloaded));
    assert_eq!(script.asked.iter().filter(|asked| *asked == "read Node").count(), 2, "{:?}", script.asked);
    assert!(world.cluster.look.is_some());
}

#[test]
fn a_write_without_an_answer_is_told_as_one_that_may_still_land() {
    let mut silent = agent();
    silent.edge.outcome = Outcome::Unanswered(failure());
    silent.edge.node.pool_label = None;
    let (world, script) = test(run(silent));
    assert!(script.asked.contains(&"write Node".to_owned()), "{:?}", script.asked);
    assert!(!world.cluster.settled.contains("u"), "nothing may be built on it");
    assert_eq!(world.cluster.pending, None);
    assert!(world.cluster.second_look.is_some());
}

#[test]
fn a_stop_is_obeyed_at_every_step_and_undoes_nothing() {
    for hangs in ["read Node", "read Slots", "read host", "write Node", "wait"] {
        let mut hanging = agent();
        hanging.edge.hangs = Some(hangs);
        hanging.edge.node.pool_label = Some("worker".to_owned()).filter(|_| hangs == "wait");
        let ended = test(async {
            let stop = tokio::time::sleep(Duration::from_millis(20));
            tokio::time::timeout(Duration::from_secs(5), hanging.run(stop)).await
        });
        assert!(ended.is_ok(), "{hangs}");
    }
}

#[test]
fn stepping_back_does_not_end_while_the_node_still_shows_signs_of_the_turn() {
    let refused = Outcome::Refused { failure: failure(), conflict: false };
    for (outcome, ends) in [(Outcome::Answered, true), (refused, false)] {
        let mut agent = agent();
        agent.edge.outcome = outcome;
        agent.edge.node.added = [format!("annotation:{}", KEEP_FROM_AUTOSCALERS[0])].into();
        let mut told = vec![];
        let step_back = agent.step_back(|_, _, decision| told.push(format!("{:?}", decision.next)));
        let ended = test(async { tokio::time::timeout(Duration::from_millis(50), step_back).await });
        assert_eq!(ended.is_ok(), ends, "{told:?}");
        assert!(told.iter().any(|next| next.contains("WriteNode")), "{told:?}");
    }
}

#[test]
fn what_is_to_be_remembered_is_written_down_when_it_is_known() {
    let (world, script) = test(run(agent()));
    assert_eq!(script.remembered.last(), Some(&world.memory));
}

#[test]
fn no_reboot_is_asked_for_that_could_not_be_remembered() {
    let reboot = || Effect::Reboot { not_after: NOW.boot, kexec: false };
    for (disk_is_full, min_interval, asked) in [(false, 60, true), (true, 60, false), (true, 0, true)] {
        let mut agent = agent();
        agent.edge.disk_is_full = disk_is_full;
        agent.edge.settings.policy.min_interval = Duration::from_secs(min_interval);
        let (world, script) = test(async {
            agent.act(reboot()).await;
            agent.into_parts()
        });
        assert_eq!(script.asked.contains(&"reboot".to_owned()), asked);
        assert_eq!(world.cluster.reboot_failure.is_none(), asked);
    }
}
