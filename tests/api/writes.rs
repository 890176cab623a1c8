//! Every write: applied under the uid and the resourceVersion that it names, and under no other.

use std::time::Duration;

use rebootd::cluster::Api;
use rebootd::decide::{
    Claim, NodeChange, NodeWrite, Outcome, SignsWrite, SlotChange, SlotView, SlotWrite, Stamp, Successors,
};
use serde_json::json;

use crate::reads::{NODES, SLOTS, node};
use crate::server::with_server;

/// 28 November 2026, noon, UTC.
const NOW: Duration = Duration::from_secs(1_795_867_200);

async fn slot(api: &mut Api, name: &str) -> SlotView {
    api.slots().await.unwrap().into_iter().find(|slot| slot.name == name).unwrap()
}

fn write(slot: &SlotView, nonce: &str, change: SlotChange) -> SlotWrite {
    SlotWrite {
        slot: slot.name.clone(),
        uid: slot.uid.clone(),
        resource_version: slot.resource_version.clone(),
        nonce: nonce.to_owned(),
        change,
    }
}

/// Why the server refused it, and whether it calls that a conflict.
fn refused(outcome: Outcome) -> (bool, String) {
    match outcome {
        Outcome::Refused { conflict, failure } => (conflict, failure.message),
        other => panic!("{other:?}"),
    }
}

fn is_conflict(outcome: Outcome) -> bool {
    let (conflict, message) = refused(outcome);
    assert_eq!(conflict, message.starts_with("409 "), "{message}");
    conflict
}

#[test]
fn a_slot_is_claimed_stamped_and_released_by_compare_and_swap() {
    with_server(async |server| {
        let metadata = json!({ "name": "write-1", "labels": { "rebootd.io/pool": "writes" } });
        server.create(SLOTS, json!({ "metadata": metadata })).await;
        let mut api = server.api("write-node");
        let free = slot(&mut api, "write-1").await;
        let claim = Claim {
            boot_id: Some("b".repeat(32)),
            at: Some(std::time::Duration::from_millis(1500)),
            reason: "kernel".into(),
            ..Claim::default()
        };
        let claiming = write(&free, "n-1", SlotChange::Claim(claim.clone()));
        assert_eq!(api.write_slot(&claiming, NOW).await, Outcome::Answered);
        let held = slot(&mut api, "write-1").await;
        assert_eq!((held.holder.as_deref(), &held.claim), (Some("write-node"), &claim));
        // What a Lease has by convention, for tools that read it.
        let spec = async || server.get(&format!("{SLOTS}/write-1")).await.1["spec"].clone();
        let by_convention = json!({
            "holderIdentity": "write-node", "acquireTime": "2026-11-28T12:00:00.000000Z", "leaseTransitions": 1,
        });
        assert_eq!(spec().await, by_convention);

        // Whoever read it before is too late, and who means another object of this name is wrong.
        assert!(is_conflict(server.api("another").write_slot(&claiming, NOW).await));
        let of_another = SlotWrite { uid: "another".into(), ..write(&held, "n-2", SlotChange::Claim(claim)) };
        let (_, message) = refused(api.write_slot(&of_another, NOW).await);
        assert!(message.starts_with("422 "), "{message}");
        let late = SlotWrite { resource_version: free.resource_version.clone(), ..of_another };
        assert!(is_conflict(api.write_slot(&late, NOW).await));
        assert_eq!(slot(&mut api, "write-1").await, held);

        let stamp = Stamp {
            boot_id: "b".repeat(32),
            attempt: 1,
            at: std::time::Duration::from_secs(2),
            daemon_sets: Default::default(),
            request: Some("firmware".into()),
        };
        let next = Successors { names: vec!["n2".into(), "n3".into()], waiting: 12 };
        let stamping = write(&held, "n-3", SlotChange::Stamp(stamp.clone(), next.clone()));
        assert_eq!(api.write_slot(&stamping, NOW).await, Outcome::Answered);
        let stamped = slot(&mut api, "write-1").await;
        assert_eq!((stamped.stamp.as_ref(), &stamped.next), (Some(&stamp), &next));
        assert_eq!(api.ask_to_step_back(&stamped, "root@admin").await, Outcome::Answered);
        assert!(is_conflict(api.ask_to_step_back(&stamped, "late").await));
        let asked = slot(&mut api, "write-1").await;
        assert_eq!(asked.step_back.as_deref(), Some("root@admin"));

        let releasing = write(&asked, "n-4", SlotChange::Release { because: None });
        assert_eq!(api.write_slot(&releasing, NOW).await, Outcome::Answered);
        let released = slot(&mut api, "write-1").await;
        assert_eq!((released.holder, released.stamp, released.step_back), (None, None, None));
        assert_eq!(released.next, next);
        assert_eq!(spec().await, json!({ "leaseTransitions": 1 }));
        assert_eq!((released.claim, released.pool.as_deref()), (Claim::default(), Some("writes")));
        server.delete(&format!("{SLOTS}/write-1")).await;
        assert!(refused(api.write_slot(&releasing, NOW).await).1.starts_with("404 "));
    });
}

#[test]
fn a_patch_that_changes_nothing_is_answered_and_not_written() {
    with_server(async |server| {
        server.create(SLOTS, json!({ "metadata": { "name": "write-2" } })).await;
        let mut api = server.api("write-node");
        let free = slot(&mut api, "write-2").await;
        let release = |slot: &SlotView, nonce| write(slot, nonce, SlotChange::Release { because: None });
        assert_eq!(api.write_slot(&release(&free, "n-1"), NOW).await, Outcome::Answered);
        let first = slot(&mut api, "write-2").await;
        assert_ne!(first.resource_version, free.resource_version);
        // Why each write has a nonce of its own: an earlier one on its way would still be applied after this answer.
        assert_eq!(api.write_slot(&release(&first, "n-1"), NOW).await, Outcome::Answered);
        assert_eq!(slot(&mut api, "write-2").await.resource_version, first.resource_version);
        assert_eq!(api.write_slot(&release(&first, "n-2"), NOW).await, Outcome::Answered);
        assert_ne!(slot(&mut api, "write-2").await.resource_version, first.resource_version);
    });
}

#[test]
fn a_cordon_is_ours_until_somebody_else_writes_it() {
    with_server(async |server| {
        node(server, "write-3", json!({ "annotations": { "rebootd.io/request": "firmware" } })).await;
        let mut api = server.api("write-3");
        let mut write = async |change, uid: Option<&str>, version: Option<&str>| {
            let read = api.node().await.unwrap().unwrap();
            let write = NodeWrite {
                uid: uid.unwrap_or(&read.uid).to_owned(),
                resource_version: version.unwrap_or(&read.resource_version).to_owned(),
                nonce: format!("n-{}", read.resource_version),
                pool: "writes".into(),
                fulfils_request: true,
                signs: SignsWrite::default(),
                change,
            };
            let outcome = api.write_node(&write).await;
            (outcome, api.node().await.unwrap().unwrap(), read)
        };
        let cordon = || NodeChange::Cordon { why: "kernel".into() };
        let (outcome, after, before) = write(cordon(), Some("another"), None).await;
        assert!(!refused(outcome).0 && after == before);
        for uid in [None, Some("another")] {
            let (outcome, after, before) = write(cordon(), uid, Some("1")).await;
            assert!(is_conflict(outcome) && after == before);
        }
        let (outcome, cordoned, _) = write(cordon(), None, None).await;
        assert_eq!(outcome, Outcome::Answered);
        assert!(cordoned.unschedulable && cordoned.unschedulable_is_ours);
        assert_eq!((cordoned.mark.as_deref(), cordoned.request), (Some("kernel"), None));
        assert_eq!(cordoned.pool_label.as_deref(), Some("writes"));
        let (outcome, uncordoned, _) = write(NodeChange::Uncordon { because: None }, None, None).await;
        assert_eq!(outcome, Outcome::Answered);
        assert!(!uncordoned.unschedulable && uncordoned.mark.is_none());
        let (_, _, _) = write(cordon(), None, None).await;
        server.patch(&format!("{NODES}/write-3"), json!({ "spec": { "unschedulable": null } })).await;
        server.patch(&format!("{NODES}/write-3"), json!({ "spec": { "unschedulable": true } })).await;
        let (outcome, taken_over, _) = write(NodeChange::Confirm { in_turn: true }, None, None).await;
        assert_eq!(outcome, Outcome::Answered);
        assert!(taken_over.unschedulable && !taken_over.unschedulable_is_ours && taken_over.mark.is_some());
        server.delete(&format!("{NODES}/write-3")).await;
    });
}

#[test]
fn the_fleet_is_paused_again_and_again_and_resumed_once() {
    with_server(async |server| {
        let mut api = server.api("");
        assert_eq!(api.paused().await.unwrap(), None);
        for why in ["move of racks", "still moving\nracks"] {
            assert_eq!(api.pause(why).await, Outcome::Answered);
            let pause = slot(&mut api, "pause").await;
            assert_eq!(pause.holder.unwrap(), why.replace('\n', " "));
            assert_eq!(api.paused().await.unwrap().unwrap(), why.replace('\n', " "));
        }
        assert!(api.resume().await.unwrap());
        assert!(!api.resume().await.unwrap());
        let mut nobody = server.api_of("", "nothing");
        assert!(nobody.paused().await.is_err());
        assert!(refused(nobody.pause("x").await).1.starts_with("403 "));
        assert!(nobody.resume().await.is_err());
    });
}

#[test]
fn what_is_urgent_is_one_key_beside_the_policy() {
    with_server(async |server| {
        let maps = "/api/v1/namespaces/rebootd/configmaps";
        let mut api = server.api("admin");
        assert_eq!(api.policy_map().await.unwrap(), None);
        assert_eq!(api.write_policy_key(None, "urgent.toml", Some("a")).await, Outcome::Answered);
        let alone = api.policy_map().await.unwrap().unwrap();
        assert_eq!(alone.data, [("urgent.toml".to_owned(), "a".to_owned())].into());
        let policy = json!({ "data": { "policy.toml": "version = 1" } });
        server.patch(&format!("{maps}/policy"), policy).await;
        // Somebody wrote meanwhile.
        assert!(is_conflict(api.write_policy_key(Some(&alone), "urgent.toml", None).await));
        let both = api.policy_map().await.unwrap().unwrap();
        assert_eq!(api.write_policy_key(Some(&both), "urgent.toml", Some("b")).await, Outcome::Answered);
        let both = api.policy_map().await.unwrap().unwrap();
        assert_eq!(both.data.get("urgent.toml").map(String::as_str), Some("b"));
        assert_eq!(api.write_policy_key(Some(&both), "urgent.toml", None).await, Outcome::Answered);
        let policy = api.policy_map().await.unwrap().unwrap();
        assert_eq!(policy.data, [("policy.toml".to_owned(), "version = 1".to_owned())].into());
        // If nothing else is there, an empty ConfigMap would be no policy that anybody understands.
        server
            .patch(&format!("{maps}/policy"), json!({ "data": { "policy.toml": null, "urgent.toml": "c" } }))
            .await;
        let alone = api.policy_map().await.unwrap().unwrap();
        assert_eq!(api.write_policy_key(Some(&alone), "urgent.toml", None).await, Outcome::Answered);
        assert_eq!(api.policy_map().await.unwrap(), None);
    });
}
