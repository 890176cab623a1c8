use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-28T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn heartbeat(phase: &str, more: Value) -> Option<Heartbeat> {
    let mut text = json!({"version": "1", "at": NOW, "phase": phase});
    text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Some(serde_json::from_value(text).unwrap())
}

fn record(boot_before: &str, outcome: &str) -> Value {
    json!({"lastReboot": {
        "node": "n1", "pool": "worker", "outcome": outcome, "request": "", "boot_before": boot_before, "boot_after": null,
        "kernel_before": null, "kernel_after": null, "packages": [], "more_packages": 0, "asked": null, "claimed": null,
        "cordoned": null, "drained": null, "down": null, "ready": null, "uncordoned": null, "released": null,
    }})
}

fn node(boot: &str, request: Option<&str>) -> NodeView {
    NodeView { boot_id: boot.into(), ready: true, request: request.map(str::to_owned), ..NodeView::default() }
}

/// Idle, in boot `old`, after an earlier reboot.
fn before() -> Seen {
    let node = Some(node("old", None));
    Seen { node, said: heartbeat("idle", record("older", "well")), ..Seen::default() }
}

/// The same, once it is asked by the annotation and says that it waits for this reason.
fn asked(more: Value) -> Seen {
    Seen { node: Some(node("old", Some("why"))), said: heartbeat("waiting", more), ..Seen::default() }
}

fn slot(stamp: Option<&str>) -> SlotView {
    let stamp = stamp.map(|boot_id| Stamp {
        boot_id: boot_id.into(),
        attempt: 1,
        at: Duration::ZERO,
        daemon_sets: Default::default(),
        request: None,
    });
    SlotView { name: "worker-1".into(), holder: Some("n1".into()), stamp, ..SlotView::default() }
}

fn with(node: NodeView, slot: Option<SlotView>) -> Seen {
    Seen { node: Some(node), held: slot.into_iter().collect(), ..asked(json!({})) }
}

fn goes(watched: &mut Watched, seen: &Seen) -> String {
    match watched.look(seen, now()) {
        Step::Goes(line) => line,
        Step::Over(over) => panic!("{over:?}"),
    }
}

fn over(watched: &mut Watched, seen: &Seen) -> Over {
    match watched.look(seen, now()) {
        Step::Over(over) => over,
        Step::Goes(line) => panic!("{line}"),
    }
}

#[test]
fn a_turn_is_told_step_by_step_and_ends_with_a_new_record() {
    let mut watched = Watched::new(&before());
    let mut steps = Vec::new();
    let mut look = |seen: Seen| steps.push(goes(&mut watched, &seen));
    let here = || node("old", Some("why"));
    let cordoned = |node: NodeView| NodeView { unschedulable: true, mark: Some(String::new()), ..node };
    look(Seen { node: Some(here()), ..before() });
    look(asked(json!({"reason": "my-turn-comes"})));
    look(with(here(), Some(slot(None))));
    look(with(cordoned(here()), Some(slot(None))));
    look(with(cordoned(here()), Some(slot(Some("old")))));
    look(with(NodeView { ready: false, ..cordoned(here()) }, Some(slot(Some("old")))));
    look(with(NodeView { ready: false, ..cordoned(node("new", Some("why"))) }, Some(slot(Some("old")))));
    look(with(cordoned(node("new", Some("why"))), Some(slot(Some("old")))));
    look(with(node("new", None), Some(slot(Some("old")))));
    look(with(node("new", None), None));
    let said = heartbeat("idle", record("old", "well"));
    let end = Seen { node: Some(node("new", None)), said, ..Seen::default() };
    let Over::Reported(record) = over(&mut watched, &end) else { panic!() };
    assert_eq!((record.boot_before.as_str(), record.outcome.as_str()), ("old", "well"));
    assert!(steps[0].starts_with("is asked; its rebootd has not taken it up yet"), "{}", steps[0]);
    let expected = [
        "waits for its turn",
        "holds worker-1, and is cordoned next",
        "is cordoned, and its pods leave (it holds worker-1)",
        "is drained, and about to reboot",
        "is down",
        "has rebooted, and is not Ready yet",
        "has rebooted, is Ready again, and waits until it is healthy",
        "is uncordoned, and gives worker-1 back next",
        "holds no slot any more; its report follows",
    ];
    assert_eq!(steps[1..], expected);
}

#[test]
fn a_node_that_waits_is_told_with_what_it_waits_for() {
    let line = |seen: &Seen| goes(&mut Watched::new(&before()), seen);
    let window = json!({"reason": "window-closed", "windowOpens": "2026-11-29T02:00:00Z"});
    let past = json!({"reason": "window-closed", "windowOpens": "2026-11-28T02:00:00Z"});
    let paused = Seen { paused: Some("an incident".into()), ..asked(window.clone()) };
    assert_eq!(line(&paused), "waits: the fleet is paused: an incident");
    let held = NodeView { hold: Some("a disk (ann@a)".into()), ..node("old", Some("why")) };
    assert_eq!(line(&with(held, None)), "waits: it is held: a disk (ann@a)");
    let turn = |more| Seen { holders: vec!["n2".into(), "n3".into()], ..asked(more) };
    let opens = "waits: window-closed; the next window opens at 2026-11-29T02:00:00Z";
    assert_eq!(line(&turn(window)), opens);
    assert_eq!(line(&turn(past.clone())), "waits for n2, n3, as all slots of its pool are held");
    assert_eq!(line(&asked(past)), "waits: window-closed");
    // By now it is not paused, and a slot is free.
    assert_eq!(line(&asked(json!({"reason": "paused"}))), "waits for its turn");
    assert_eq!(line(&asked(json!({"reason": "inhibited"}))), "waits: inhibited");
}

#[test]
fn a_request_that_is_gone_before_the_reboot_was_withdrawn() {
    let mut watched = Watched::new(&before());
    goes(&mut watched, &asked(json!({})));
    assert_eq!(over(&mut watched, &before()), Over::Withdrawn);

    // In mid-drain, rebootd first undoes it; until then the slot is held, and after that something may still ask.
    let mut watched = Watched::new(&before());
    goes(&mut watched, &with(node("old", None), Some(slot(None))));
    let line = goes(&mut watched, &with(node("old", None), None));
    assert!(line.starts_with("has given its slot back without a reboot"), "{line}");
    assert_eq!(over(&mut watched, &before()), Over::Withdrawn);
}

#[test]
fn a_turn_that_was_called_off_is_told_until_the_next_one() {
    let mut watched = Watched::new(&before());
    goes(&mut watched, &with(node("old", Some("why")), Some(slot(None))));
    for _ in 0..2 {
        let line = goes(&mut watched, &asked(json!({})));
        assert!(line.starts_with("has given its slot back without a reboot"), "{line}");
    }
    goes(&mut watched, &with(node("old", Some("why")), Some(slot(None))));
    goes(&mut watched, &with(node("old", Some("why")), Some(slot(Some("old")))));
    assert_eq!(goes(&mut watched, &asked(json!({}))), "holds no slot any more; its report follows");
}

/// The node may carry the API server: then nobody sees its stamp.
#[test]
fn a_reboot_that_nobody_saw_is_not_taken_for_a_withdrawal() {
    let mut watched = Watched::new(&before());
    goes(&mut watched, &asked(json!({})));
    let back = |said| Seen { node: Some(node("new", None)), said, ..Seen::default() };
    let old_words = back(before().said);
    assert_eq!(goes(&mut watched, &old_words), "holds no slot any more; its report follows");
    assert!(matches!(
        over(&mut watched, &back(heartbeat("idle", record("old", "stayed-up")))),
        Over::Reported(record) if record.outcome == "stayed-up"
    ));
    // Its memory was lost, and with it the record.
    let later = heartbeat("idle", json!({"at": "2026-11-28T12:05:00Z"}));
    assert_eq!(over(&mut watched, &back(later)), Over::Unrecorded);
}

#[test]
fn a_reboot_by_hand_leaves_the_request_there() {
    let mut watched = Watched::new(&before());
    goes(&mut watched, &asked(json!({})));
    let again = Seen { node: Some(node("new", Some("why"))), ..asked(json!({})) };
    for _ in 0..2 {
        assert_eq!(goes(&mut watched, &again), "waits for its turn");
    }
}

#[test]
fn what_asks_already_is_named() {
    assert_eq!(before().asks(), None);
    let annotation = asked(json!({})).asks().unwrap();
    assert_eq!(annotation, "the Node's annotation rebootd.io/request says \"why\"");
    let sentinel =
        Seen { node: Some(node("old", None)), ..asked(json!({"asking": ["libc6", "linux-image"]})) };
    assert_eq!(sentinel.asks().unwrap(), "libc6, linux-image");
    let slot = Seen { held: vec![slot(None)], ..before() };
    assert_eq!(slot.asks().unwrap(), "it holds slot worker-1");
}

/// Whoever has the credential of that rebootd can write a record, but not what the kubelet says.
#[test]
fn a_record_without_another_boot_proves_nothing() {
    let mut forged = record("x", "well");
    forged["lastReboot"]["boot_after"] = json!("old");
    for record in [record("old", "well"), forged] {
        let seen = Seen { said: heartbeat("waiting", record), ..asked(json!({})) };
        let mut watched = Watched::new(&before());
        goes(&mut watched, &seen);
    }
    let stayed_up = Seen { said: heartbeat("idle", record("old", "stayed-up")), ..before() };
    assert!(matches!(over(&mut Watched::new(&before()), &stayed_up), Over::Reported(_)));
}

#[test]
fn a_node_that_is_deleted_takes_its_request_with_it() {
    let mut watched = Watched::new(&before());
    goes(&mut watched, &Seen::default());
    let later = now() + jiff::SignedDuration::from_secs(LONG_GONE + 1);
    assert_eq!(watched.look(&Seen::default(), later), Step::Over(Over::Deleted));
    // It is registered again, and nothing asks that one.
    let other = NodeView { uid: "another".into(), ..node("old", None) };
    let again = Seen { node: Some(other), ..before() };
    assert_eq!(over(&mut Watched::new(&before()), &again), Over::Deleted);
    // A withdrawn request is seen by the condition before the label and the heartbeat tell of it.
    let withdrawn = Seen { node: Some(node("old", None)), required: Some(false), ..asked(json!({})) };
    assert_eq!(over(&mut Watched::new(&before()), &withdrawn), Over::Withdrawn);
}
