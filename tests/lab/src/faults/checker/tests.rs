//! Made-up histories: one that is right, and for each rule one in which a single thing is wrong.

use super::*;

const A: &str = "a";
const B: &str = "b";
const BOOT: &str = "boot-1";

fn second(seconds: f64) -> Timestamp {
    let nanoseconds = (seconds * 1e9) as i128;
    Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanoseconds).unwrap()
}

fn agent(name: &str) -> Author {
    Author::Agent(name.to_owned())
}

/// A story under construction. Each write takes a tenth of a second.
#[derive(Default, Clone)]
struct Story {
    events: Vec<Event>,
    pods: Vec<PodStay>,
}

impl Story {
    fn add(mut self, at: f64, what: What) -> Self {
        self.events.push(Event { at: second(at), what });
        self
    }

    fn slot(self, at: f64, author: Author, holder: Option<&str>, stamp: Option<&str>) -> Self {
        let write = SlotWrite {
            slot: "s".to_owned(),
            pool: "p".to_owned(),
            holder: holder.map(str::to_owned),
            stamp: stamp.map(str::to_owned),
            author,
            revision: (at * 10.0) as u64,
            answered: second(at + 0.1),
        };
        self.add(at, What::Slot(write))
    }

    fn node(self, at: f64, author: Author, node: &str, unschedulable: bool, mark: bool) -> Self {
        let node = node.to_owned();
        self.add(at, What::Node(NodeWrite { node, unschedulable, mark, author, answered: second(at + 0.1) }))
    }

    fn machine(self, at: f64, node: &str, event: MachineEvent) -> Self {
        self.add(at, What::Machine(node.to_owned(), event))
    }

    fn looks(self, at: f64, node: &str) -> Self {
        self.add(at, What::NodeRead(node.to_owned())).add(at + 0.05, What::PodsRead(node.to_owned()))
    }

    fn call(self, at: f64, node: &str) -> Self {
        let told_open = Some(second(at - 0.05));
        self.machine(at, node, MachineEvent::RebootCalled { call: 1, boot: BOOT.to_owned(), told_open })
    }

    fn claims_and_cordons(self, node: &str) -> Self {
        self.slot(1.0, agent(node), Some(node), None).node(2.0, agent(node), node, true, true)
    }

    fn stamps(self, at: f64, node: &str) -> Self {
        self.looks(at - 0.2, node).slot(at, agent(node), Some(node), Some(BOOT))
    }

    fn returns(self, node: &str) -> Self {
        self.machine(6.0, node, MachineEvent::Down("reboot"))
            .machine(7.0, node, MachineEvent::Booted("boot-2".to_owned()))
            .machine(8.0, node, MachineEvent::Healthy("boot-2".to_owned()))
            .node(9.0, agent(node), node, false, false)
            .slot(10.0, agent(node), None, None)
    }

    fn verdict(self) -> Verdict {
        let rules = Rules {
            slots: BTreeMap::from([("p".to_owned(), 1)]),
            pools: [A, B].map(|node| (node.to_owned(), "p".to_owned())).into(),
        };
        judge(&rules, self.events, &self.pods)
    }

    /// Nothing is broken and nothing left.
    fn keeps_all(self) {
        let verdict = self.verdict();
        assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
        assert!(verdict.left_behind.is_empty(), "{:?}", verdict.left_behind);
    }

    /// This promise is broken, with these words, and no other.
    fn breaks(self, promise: &str, words: &str) {
        let violations = self.verdict().violations;
        assert!(!violations.is_empty(), "nothing was found");
        for violation in violations {
            assert_eq!(violation.promise, promise, "{violation}");
            assert!(violation.text.contains(words), "{violation}");
        }
    }
}

/// Up to the stamp at 4 s.
fn stamped() -> Story {
    Story::default().claims_and_cordons(A).stamps(4.0, A)
}

#[test]
fn a_whole_cycle_keeps_all_and_counts_as_one_reboot() {
    stamped().call(4.5, A).returns(A).keeps_all();
    assert_eq!(stamped().call(4.5, A).returns(A).verdict().reboots, 1);
}

#[test]
fn two_cycles_one_after_the_other_are_right() {
    let mut story = stamped().call(4.5, A).returns(A);
    let again = Story::default().claims_and_cordons(B).stamps(4.0, B).call(4.5, B).returns(B);
    let later = SignedDuration::from_secs(20);
    for mut event in again.events {
        event.at += later;
        match &mut event.what {
            What::Slot(write) => write.answered += later,
            What::Node(write) => write.answered += later,
            What::Machine(_, MachineEvent::RebootCalled { told_open: Some(told), .. }) => *told += later,
            _ => {}
        }
        story.events.push(event);
    }
    story.keeps_all();
}

#[test]
fn p1_a_cordon_without_a_slot() {
    Story::default().node(2.0, agent(A), A, true, true).breaks("P1", "without a slot");
}

#[test]
fn p1_two_nodes_on_one_slot() {
    let slot_of_another = |story: Story| {
        let write = SlotWrite {
            slot: "not counted".to_owned(),
            pool: "p".to_owned(),
            holder: Some(B.to_owned()),
            stamp: None,
            author: agent(B),
            revision: 12,
            answered: second(1.3),
        };
        story.add(1.2, What::Slot(write))
    };
    let story = slot_of_another(Story::default().claims_and_cordons(A)).node(3.0, agent(B), B, true, true);
    story.breaks("P1", "are disrupted");
}

#[test]
fn p1_the_next_one_claims_while_the_first_is_dark() {
    // A person frees the slot of a node that is gone for good: that is his to answer for.
    let story = stamped().call(4.5, A).machine(6.0, A, MachineEvent::Down("reboot"));
    let freed = story.clone().slot(7.0, Author::Person, None, None).slot(8.0, agent(B), Some(B), None);
    assert!(freed.node(9.0, agent(B), B, true, true).verdict().violations.is_empty());
    // Its own agent may not.
    story.slot(7.0, agent(A), None, None).breaks("P3", "cordoned");
}

#[test]
fn p1_a_slot_of_another_pool() {
    let mut story = Story::default().claims_and_cordons(A);
    for event in &mut story.events {
        if let What::Slot(write) = &mut event.what {
            write.pool = "q".to_owned();
        }
    }
    story.breaks("P1", "of pool");
}

#[test]
fn p2_no_stamp() {
    Story::default().claims_and_cordons(A).looks(3.0, A).call(4.5, A).breaks("P2", "no stamp");
}

#[test]
fn p2_a_stamp_used_twice() {
    let twice = MachineEvent::RebootCalled { call: 2, boot: BOOT.to_owned(), told_open: Some(second(5.0)) };
    stamped().call(4.5, A).machine(5.1, A, twice).breaks("P2", "no stamp");
}

#[test]
fn p2_an_old_stamp() {
    stamped().call(9.6, A).breaks("P2", "old");
}

#[test]
fn p2_an_unanswered_stamp() {
    let mut story = stamped();
    for event in &mut story.events {
        if let What::Slot(write) = &mut event.what {
            write.answered = second(30.0);
        }
    }
    story.call(4.5, A).breaks("P2", "not answered");
}

#[test]
fn p2_a_stamp_of_an_earlier_boot() {
    let boot = "boot-0".to_owned();
    let call = MachineEvent::RebootCalled { call: 1, boot, told_open: Some(second(4.4)) };
    stamped().machine(4.5, A, call).breaks("P2", "the stamp names boot");
}

#[test]
fn p2_a_node_that_is_not_cordoned() {
    let never = Story::default().slot(1.0, agent(A), Some(A), None).stamps(4.0, A).call(4.5, A);
    never.breaks("P2", "not cordoned");
    let by_a_late_write = stamped().node(4.2, agent(A), A, false, false).call(4.5, A);
    by_a_late_write.breaks("P2", "not cordoned");
    let by_a_person = Story::default().claims_and_cordons(A).node(3.0, Author::Person, A, false, true);
    by_a_person.stamps(4.0, A).call(4.5, A).breaks("P2", "before it last looked");
}

#[test]
fn p2_an_uncordon_after_the_last_look_is_nobodys_fault() {
    let story = stamped().node(4.2, Author::Person, A, false, true).call(4.5, A);
    assert!(story.verdict().violations.is_empty());
}

#[test]
fn p2_a_pod_that_is_left() {
    let pod = |seen: f64, gone: Option<u64>| {
        let mut story = stamped();
        story.pods.push(PodStay { pod: "x".to_owned(), node: A.to_owned(), seen: second(seen), gone });
        story.call(4.5, A)
    };
    pod(0.5, None).breaks("P2", "pod x is left");
    pod(0.5, Some(41)).breaks("P2", "pod x is left");
    // Gone before the stamp; come after the last look.
    assert!(pod(0.5, Some(39)).verdict().violations.is_empty());
    assert!(pod(3.99, None).verdict().violations.is_empty());
}

#[test]
fn p2_an_inhibitor() {
    let call = MachineEvent::RebootCalled { call: 1, boot: BOOT.to_owned(), told_open: None };
    stamped().machine(4.5, A, call).breaks("P2", "inhibits");
    let before = MachineEvent::RebootCalled { call: 1, boot: BOOT.to_owned(), told_open: Some(second(3.5)) };
    stamped().machine(4.5, A, before).breaks("P2", "inhibits");
}

#[test]
fn p3_a_slot_given_back_before_the_uncordon() {
    stamped().slot(5.0, agent(A), None, None).breaks("P3", "cordoned");
}

#[test]
fn p3_a_slot_given_back_before_the_return_is_proven() {
    let early = stamped().call(4.5, A).node(5.0, agent(A), A, false, false).slot(5.5, agent(A), None, None);
    let violations = early.verdict().violations;
    assert_eq!(violations[0].promise, "P3");
    assert!(violations[0].text.contains("not healthy"));
}

#[test]
fn p3_a_call_that_came_to_nothing_binds_nobody() {
    let story = stamped().call(4.5, A).machine(5.0, A, MachineEvent::CallCameToNothing(1));
    story.node(36.0, agent(A), A, false, false).slot(37.0, agent(A), None, None).keeps_all();
}

#[test]
fn p3_a_slot_of_another() {
    Story::default().slot(1.0, agent(A), Some(A), None).slot(2.0, agent(B), None, None).breaks("P3", "of a");
    Story::default()
        .slot(1.0, agent(A), Some(A), None)
        .slot(2.0, agent(B), Some(B), None)
        .breaks("P3", "of a");
}

#[test]
fn p4_a_persons_cordon_is_removed() {
    let his = Story::default().node(0.5, Author::Person, A, true, false);
    his.clone().node(3.0, agent(A), A, false, false).breaks("P4", "Person");
    let taken_over = Story::default().claims_and_cordons(A).node(3.0, Author::Person, A, false, true).node(
        3.5,
        Author::Person,
        A,
        true,
        true,
    );
    taken_over.clone().node(4.0, agent(A), A, false, false).breaks("P4", "Person");
    // Only the mark may go.
    taken_over.node(4.0, agent(A), A, true, false).slot(5.0, agent(A), None, None).keeps_all();
}

#[test]
fn p4_another_node_is_written() {
    Story::default().node(1.0, agent(B), A, false, false).breaks("P4", "writes Node");
}

#[test]
fn what_is_left_behind_is_named() {
    let left = Story::default().claims_and_cordons(A).verdict().left_behind;
    assert_eq!(left.len(), 3, "{left:?}");
    let mark = Story::default().claims_and_cordons(A).node(3.0, Author::Person, A, false, true);
    let mark = mark.slot(4.0, agent(A), None, None).verdict().left_behind;
    assert_eq!(mark, ["Node a still carries our mark"]);
}
