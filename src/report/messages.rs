//! The MESSAGE_ID of each journal message that somebody may look for or want explained. None is ever changed: scripts match
//! them. `packaging/usr/lib/systemd/catalog/rebootd.catalog` explains each; `tests/catalog.rs` makes it from docs/status.md.

/// A turn begins: a free slot is claimed, or its own one again.
pub const CLAIM: &str = "c0467d368ab4410fa6053b78dfe9241b";
/// The Node is cordoned.
pub const CORDON: &str = "5b26481b5b7945d2bfc5387615a11e8c";
/// A pod may not leave yet.
pub const EVICTION_REFUSED: &str = "2104f5fe5ccd4cca9189a1dd6f306302";
/// A drain is over.
pub const DRAINED: &str = "e089767ed2ea446483b62befa029de78";
/// The slot is stamped: the reboot follows.
pub const STAMP: &str = "6702e183241345c08ea1721dc512afd6";
/// logind is asked to reboot.
pub const REBOOT_ASKED: &str = "196467acc879483e9272235c5228ed66";
/// logind reboots the host.
pub const REBOOT_GRANTED: &str = "6d7ed6db33fd400aab1591e270179d42";
/// logind does not.
pub const REBOOT_REFUSED: &str = "17b8794daa1c4dc2af3b186bc905cdd2";
/// The Node is uncordoned.
pub const UNCORDON: &str = "6819d7e6781d406587b94dbd31cd2388";
/// The slot is given back after a reboot.
pub const RELEASE: &str = "40cd3e31a9c54ec6ab9338208f1e4c9b";
/// The slot is given back without a reboot.
pub const ABORT: &str = "89a75f7bea144bc5b7a569d0568df11f";
/// The slot of a Node that is gone is freed.
pub const FREE: &str = "e96426510a61484b8b59a84426d42f05";
/// The turn of a reboot has ended; `REBOOT=` tells its facts.
pub const REBOOT_ENDED: &str = "03ee6d18641e4611bd2284a14dd555c0";
/// A write was refused.
pub const WRITE_REFUSED: &str = "3a41d97e9d9a41d29f7a9584f485506e";
/// A write has no answer.
pub const WRITE_UNANSWERED: &str = "527b97373c9b4f62a76aa208b44eb9f3";
/// The node has got a credential.
pub const ENROLLED: &str = "61b61f79e9ea494ea2c45ae2cf3ec025";
/// The node's credential was renewed.
pub const CREDENTIAL_RENEWED: &str = "f7ce58cf82644800a30a089a5e60f634";
/// The node could not get a credential, or not renew it.
pub const CREDENTIAL_DELAYED: &str = "dae55538b6fe4317940de0c6256512ac";
/// The configuration was read again.
pub const CONFIGURATION_LOADED: &str = "34bb6f0747c54d938f302fc56259af31";
/// The new configuration is not used.
pub const CONFIGURATION_REFUSED: &str = "019294d90f2240759440048263f2201b";

/// The id of the message that tells this kind of reason.
pub fn of_reason(kind: &str) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == kind).map(|(_, id)| *id)
}

/// By the kind of the reason. A new one: `systemd-id128 new`.
pub const REASONS: &[(&str, &str)] = &[
    ("not-enrolled", "91804e2b82ad49f2a3f9d0134391f503"),
    ("credential-of-other-node", "3fa9b39fa7834235af2754f13bd10d2b"),
    ("credential-failing", "79722f74c5d34b57984941dc6a97ba52"),
    ("nothing-read", "9b26e3b1fd804bed9917b75447ec4e0b"),
    ("unreadable", "424b764c4c5647c193e1abfe081eadb2"),
    ("api-failing", "c6d3eba324db4717b13f0a54dfbe9c1d"),
    ("turn-overdue", "ace56688e1974272aef012066585c798"),
    ("refused", "de5a5b8d55644ec89e266997e0537888"),
    ("step-failing", "e592417503c84e0bba4ddd385b8311d4"),
    ("node-missing", "9e18c5abcf334724be4e65085d4c63c6"),
    ("node-missing-for-long", "1aaa4c20e3894c5483684e0856762025"),
    ("other-machine", "7da27dd0fdd34270a79ec49ffaf1b203"),
    ("boot-not-reported", "88b8628080fc48359901c800ecab0200"),
    ("no-window", "411cf13fdef547898994db7437e5edbe"),
    ("window-closed", "51ff1da7b7dc473eae7220b47afa4f0b"),
    ("window-ends-soon", "11d53469a3434abf813937ad726228a7"),
    ("frozen", "758698cb50f84b7293a73d3bd3addc27"),
    ("held", "2b59fd6da9354a32906851e90e9c9b72"),
    ("paused", "946a2516188f4b989a31a4e8a425b34a"),
    ("up-for-too-short", "d732371a1a2f4635a5d395428b975e1f"),
    ("shutdown-scheduled", "7b044ba5ae1849d0aa911a12df2a8d4f"),
    ("foreign-cordon", "7d9c283d498a4f28b45964d7cd9c88b8"),
    ("node-is-removed", "748e0b93606b42878b15e392cbfeea5d"),
    ("rebooted-recently", "0e5378a5ee914b85b05c05a367375d45"),
    ("too-many-reboots", "882430a5f4ae461496e1b9c7d603e7c9"),
    ("request-too-new", "c0347f95b0dc48beaaac93abe42234b0"),
    ("livepatched", "fa11a08d80de41ec98bc2c43cdc0cedf"),
    ("request-overdue", "0d3a723aebae4ee8965c810723c5218f"),
    ("policy-unreadable", "a08eee46d75e413a87ebc8dcc1b08d60"),
    ("configuration-unreadable", "bfa565ddfa0943cfa48c02ed8669a433"),
    ("older-kernel", "e2ad90a54dee40ddbbc0bb23ff0089e1"),
    ("not-live", "1390e29b10314ebdbf3d9ca3ef63cba7"),
    ("survived-reboot", "44ab27d5d55e4c0990f682a0ff1f6b78"),
    ("record-not-kept", "3318c62e404640d1a89668196b27d3c3"),
    ("backing-off", "3e524dd482c14b4db3e869e6f8ae3fab"),
    ("package-manager", "33decd22478c4d80bf270abd53787a25"),
    ("machine-id-is-transient", "e1d91f504b2c464a8526714a84be5cc6"),
    ("packages-half-installed", "cf5d62fb25de47b99f03dfee3ff044d1"),
    ("kernel-cannot-start", "e140f4e4c2d043be9281e8e812355094"),
    ("inhibited", "3ffb8f32f1784b80bcd246f65b21fae5"),
    ("may-not-reboot", "e5fe7a1ee8af47339308a2b8da78e809"),
    ("clock-not-synchronized", "712042159f4644bf8e48a322538ba913"),
    ("logged-in", "83a47588dd4249aabea3a5ce34783036"),
    ("hook-not-ready", "d9c14bd2180c422694d5b2ff51a4c988"),
    ("hook-starting", "a449fc44a962456498600a025985cdfa"),
    ("hook-runs", "c94132fd3b9f4077846d70973305388c"),
    ("hook-failed", "534ab83ac32445dca1ad494890487a60"),
    ("policies-not-in-force", "490a53df216f4ce983390795f193b508"),
    ("manifests-older", "b82aa6c8a37a4f2a9b11f9463f21c91b"),
    ("manifests-newer", "9143519a57fc4899833f48166f137fd6"),
    ("no-slots", "8e535dbb8b7641edb71663e15ec05ef0"),
    ("no-free-slot", "4c719078bb6346f18751896be87ed2e2"),
    ("holder-missing", "3cfc690750d242d8a371d730ad52339f"),
    ("stamped-holder-missing", "646894c6190b4f07bae8f2676e7360ef"),
    ("my-turn-comes", "f63fb568ecec4e51a52c84ab5f2a4a48"),
    ("slot-under-old-name", "c7e00fa91f3d45e78d682e35f2652631"),
    ("slot-of-other-machine", "fe89ad7c3485407fa4e677f7c1519a43"),
    ("slot-unproven", "2ed8ccc07fae47218b28ae5c350f627a"),
    ("members-turn", "e821238adaac4dc78222069d7c3c844f"),
    ("zones-turn", "4ae49b98710748628e8195103798b706"),
    ("canary-first", "f01d1a63755c4351822d5b5fbec077cf"),
    ("canary-failed", "baf3de8ca2474bb5be0a628e1c7d8dea"),
    ("node-not-back", "0c79871b2bb54fc18b27e7f4f427551a"),
    ("other-nodes-not-ready", "3fcc4fc293f44d07965913bdd5ae275d"),
    ("control-plane-not-ready", "2bdc2260ca084084bcf770364a43525c"),
    ("alerts", "d06c0fc48b0449fc802ff0be0ac9d59f"),
    ("only-node", "4b72ac7418a54eb39ec065fc6d16723b"),
    ("only-control-plane", "59c98584f9104da585070121feac7d90"),
    ("kured-here", "04e909bf2e774c0bab26327dddbac01b"),
    ("leaving-load-balancers", "70465af5c00e4a6c91ebb5f7a6f4d42e"),
    ("pods-refused", "594596de64fa4b86862e0ac89a2a593b"),
    ("blocking-pods", "2f27aeecb42a4ac3a8439e22914a7050"),
    ("blocking-pods-stay", "7d6bb1f701844946851c01e650308ee0"),
    ("would-be-blocked", "2b374b4d65954729b5ad37bbfe670e80"),
    ("pods-left", "9abc0ae18c4a4a27b59b259526f6e0e0"),
    ("pods-stuck", "fe943ab864e349258b3efd5886abb863"),
    ("evictions-held-up", "d1e5c7cf76f2455f97ed79346d8d990d"),
    ("goes-on", "03919b5870024d438d3c0543183ec5a7"),
    ("volumes-in-use", "89b740f7f25b4345a0db60368fd71948"),
    ("reboot-asked", "1b286e9e5fec4d7481ab6f7036a55d49"),
    ("reboot-call-failed", "8cdf283581fc445a92d472c27e5ed9ca"),
    ("going-down", "8b939fa980cd4e499d8d136a9839a398"),
    ("not-ready", "687b4e165b344b9facfb8998a587ddb0"),
    ("network-unavailable", "ec1a14bdb2aa49a3bf508a70f6618017"),
    ("kubelet-not-seen", "206d7ade796048978773326d3037728b"),
    ("no-heartbeat", "b12372f527a0427ab3986f1ef1704fd9"),
    ("kubelet-not-renewing", "95020cdd444e4f03bcc47de5b3906f41"),
    ("settling", "44fb98f495434909a2ab42a7abf50534"),
    ("fewer-resources", "db64414d15b34aceb440c48ec2a25f8c"),
    ("new-taint", "726c40f8146a47e29c3ea370680312f3"),
    ("daemonset-pods", "2b39004a201a4d8592a0ba742e81f7d8"),
    ("daemonset-pods-overdue", "46cd520a9fe045b6b2090847a72d152a"),
    ("return-overdue", "f9b1cc7074c14e749b5493890923b944"),
    ("soaking", "87cc5029ee464e60b76232eb44d4b358"),
    ("after-check", "d341779fb5b74772b51799f245388327"),
    ("after-overdue", "8fa7ef563e2a46309edfa3c37614eab6"),
    ("after-given-up", "1d823bbc03be41e68f2bf50b27c8fb14"),
    ("aborting", "5b779096cd6048fe875038fd0d7bc63c"),
    ("urgent", "7ddec78fef584e28b6976ba3f987e33b"),
    ("observing", "c93a672c36d84d4aa0a9c9da7760145b"),
    ("stepped-back", "52cae46776af4a65b3e259cd46497b77"),
];
