//! What the targets share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use rebootd::config::Files;
use rebootd::decide::{
    Effect, Event, Kernel, Memory, Names, Next, Now, Outcome, Part, Parts, Reads, Request, Settings, Source,
    Target, World, decide, observe,
};
use rebootd::report::status;

/// In the samples, this stands where a secret is: it must not be told.
pub const SECRET: &str = "c2VjcmV0LXNlY3JldA";
/// The ids of this boot and machine in the samples.
pub const BOOT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const MACHINE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is told has to be fit for people: no secret, nothing that a terminal obeys, and not endless.
pub fn is_fit(told: &str) {
    assert!(!told.contains(SECRET), "a secret is told: {told}");
    assert!(told.chars().count() < 50_000, "{} characters are told", told.chars().count());
    let obeyed =
        |letter: char| (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter);
    assert!(!told.contains(obeyed), "{told:?}");
}

/// A file with this content; each process has its own.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("rebootd-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A node that may reboot at any time.
pub fn settings() -> Settings {
    let text = "[node]\nname = 'n1'\n[policy]\nwindow = 'always'\nmin_interval = 0\n";
    let files = Files::from_texts(vec![("/f".into(), text.to_owned())], Path::new("/nowhere")).unwrap();
    let mut settings = files.settings("n1").unwrap();
    settings.api = Some(ApiAccess {
        server: "https://x".into(),
        certificate_authority: PemSource::Inline(Vec::new()),
        credential: Credential::Token(Secret::new(SECRET.into())),
    });
    settings
}

/// A host that asks for a reboot, and with nothing against it.
pub fn world(memory: Memory) -> World {
    let mut world = World::new(at(1000), "p".into(), BOOT.into(), MACHINE.into(), memory);
    let request = Request { reason: "kernel".into(), packages: Vec::new(), since: None };
    let requests = BTreeMap::from([(Source::SentinelFile, Some(Ok(Some(request))))]);
    for event in [
        Event::Requests(requests),
        Event::Hold(Ok(None)),
        Event::Kernel(Ok(Kernel::default())),
        Event::Clock(Ok(true)),
        Event::Policy(Ok(())),
        Event::Packages(Ok(Names::default())),
        Event::Others(Ok(Default::default())),
    ] {
        observe(&mut world, event, at(1000));
    }
    world
}

/// Lets the core see a whole look at this time with these facts, decide, and do it.
pub fn look(world: &mut World, settings: &Settings, facts: Vec<Event>, seconds: u64) {
    let parts =
        [Part::Policy, Part::Others, Part::Node, Part::Slots, Part::Kubelet, Part::Pods, Part::Budgets];
    let parts = parts.into_iter().fold(Parts::NONE, Parts::with);
    let reads = Reads { parts, confirms_drained: true };
    let host = Event::Host {
        going_down: Ok(false),
        package_manager: Ok(None),
        inhibitors: Ok(Vec::new()),
        may_reboot: Ok(true),
        scheduled: Ok(None),
    };
    let mut events = vec![Event::LookBegun];
    events.extend(facts);
    events.extend([Event::LookEnded(reads), host]);
    events.into_iter().for_each(|event| observe(world, event, at(seconds)));
    let decision = decide(world, settings);
    is_fit(&status::line(&decision));
    if let Next::Act(effect) = decision.next {
        is_fit(&effect.to_string());
        answered(world, effect, seconds);
    }
}

/// The cluster has done what was asked.
fn answered(world: &mut World, effect: Effect, seconds: u64) {
    let uid = match &effect {
        Effect::WriteSlot(write) => write.uid.clone(),
        Effect::WriteNode(write) => write.uid.clone(),
        Effect::Evict(eviction) => {
            let (pods, how) = (eviction.pods.clone(), eviction.how);
            return observe(world, Event::EvictionsBegun { pods, how }, at(seconds));
        }
        Effect::StartHook { .. } | Effect::TellPeople | Effect::Reboot { .. } => return,
    };
    observe(world, Event::WriteBegun(Target(uid)), at(seconds));
    let sent = Duration::from_secs(seconds);
    observe(world, Event::WriteEnded { effect, sent, outcome: Outcome::Answered }, at(seconds));
}

fn at(seconds: u64) -> Now {
    Now { boot: Duration::from_secs(seconds), wall: Duration::from_secs(1_790_000_000 + seconds) }
}
