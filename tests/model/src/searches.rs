//! What is searched: how many agents and slots, and which faults there are.

use anyhow::{Context, Result};

/// Which kinds of faults there are; each may come at any time and any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// kill -9 of the daemon; systemd starts it again.
    pub kills: bool,
    /// Power loss of the host.
    pub power: bool,
    /// Somebody else reboots the host.
    pub others_reboot: bool,
    /// Requests and answers are lost, or late.
    pub lost: bool,
    /// The API server refuses a write that it would have been able to apply.
    pub refusals: bool,
    /// The call of Reboot is refused, or unanswered.
    pub calls: bool,
    pub never_returns: bool,
    /// The host comes back as another machine.
    pub reinstalled: bool,
    /// The kubelet dies, or finds the node sick.
    pub sick: bool,
    pub nodes_deleted: bool,
    /// Node and slots are written by others, without a change that matters: the kubelet, `kubectl apply`.
    pub touched: bool,
    /// People cordon and uncordon.
    pub cordons: bool,
    /// People free, take, garble, delete and make slots.
    pub slots_by_hand: bool,
    /// Other nodes reclaim slots of a missing Node.
    pub reclaims: bool,
    pub pools_moved: bool,
    pub requests: bool,
    /// Gates close, budgets refuse.
    pub gates: bool,
    /// Readings fail.
    pub unreadable: bool,
    /// The fleet's policy is not understood.
    pub policy: bool,
    /// Windows end, and open again.
    pub windows: bool,
    /// The drain's deadline passes.
    pub deadlines: bool,
    /// Pods come to the node.
    pub pods: bool,
    /// Bare pods come that the cluster would delete during a reboot, and people delete them.
    pub bare_pods: bool,
    /// After a boot the Node gets a taint that it did not have.
    pub taints: bool,
}

impl Faults {
    pub const NONE: Faults = Faults {
        kills: false,
        power: false,
        others_reboot: false,
        lost: false,
        refusals: false,
        calls: false,
        never_returns: false,
        reinstalled: false,
        sick: false,
        nodes_deleted: false,
        touched: false,
        cordons: false,
        slots_by_hand: false,
        reclaims: false,
        pools_moved: false,
        requests: false,
        gates: false,
        unreadable: false,
        policy: false,
        windows: false,
        deadlines: false,
        pods: false,
        bare_pods: false,
        taints: false,
    };
    pub const ALL: Faults = Faults {
        kills: true,
        power: true,
        others_reboot: true,
        lost: true,
        refusals: true,
        calls: true,
        never_returns: true,
        reinstalled: true,
        sick: true,
        nodes_deleted: true,
        touched: true,
        cordons: true,
        slots_by_hand: true,
        reclaims: true,
        pools_moved: true,
        requests: true,
        gates: true,
        unreadable: true,
        policy: false,
        windows: false,
        deadlines: true,
        pods: true,
        bare_pods: false,
        taints: false,
    };
}

/// One search.
#[derive(Debug, Clone)]
pub struct Search {
    pub name: &'static str,
    /// In one line: what it shows.
    pub shows: &'static str,
    pub agents: usize,
    pub slots: usize,
    /// The second slot belongs to a second pool.
    pub two_pools: bool,
    /// Besides the agents there are any number of others, who claim, release and reclaim at any time.
    pub outside: bool,
    pub drains: bool,
    pub empty_boot_ids: bool,
    pub reboot_tries: u32,
    /// All agents are members of one control plane: one at a time may be disrupted, however many slots there are.
    pub members: bool,
    /// Each agent is in a zone of its own, and one zone at a time may be disrupted.
    pub zones: bool,
    /// Something is asked after a reboot, which may be well or not at any time.
    pub after: bool,
    /// `foreign_cordon = "wait"`; else "reboot".
    pub waits_for_cordons: bool,
    /// Whether there is a request is part of the state; else each reading may say either.
    pub requests_kept: bool,
    pub faults: Faults,
    /// Also judges liveness.
    pub live: bool,
    /// Takes a minute or more, and is left out of `model check --short`.
    pub long: bool,
}

/// All searches.
pub fn all() -> Vec<Search> {
    let alone = Search {
        name: "alone",
        shows: "one agent among any others, one slot, every fault",
        agents: 1,
        slots: 1,
        two_pools: false,
        outside: true,
        drains: false,
        empty_boot_ids: false,
        reboot_tries: 1,
        members: false,
        zones: false,
        after: false,
        waits_for_cordons: false,
        requests_kept: true,
        faults: Faults { sick: false, reinstalled: false, ..Faults::ALL },
        live: true,
        long: false,
    };
    let machines = Faults { sick: true, reinstalled: true, ..alone.faults };
    // Each fault alone is shown above, together with all others; here agents meet, with a few kinds at a time.
    let crashes = Faults {
        kills: true,
        power: true,
        lost: true,
        calls: true,
        never_returns: true,
        deadlines: true,
        others_reboot: true,
        requests: true,
        ..Faults::NONE
    };
    // Those that multiply the states of a long search; `alone` and `alone-hands` have them.
    let most = Faults { slots_by_hand: false, pools_moved: false, nodes_deleted: false, ..machines };
    let few = Faults { kills: true, power: true, lost: true, ..Faults::NONE };
    let hands = Faults { kills: true, slots_by_hand: true, ..Faults::NONE };
    let nodes =
        Faults { kills: true, power: true, lost: true, nodes_deleted: true, reclaims: true, ..Faults::NONE };
    let two_slots = Search { slots: 2, ..alone.clone() };
    let several = Search { outside: false, requests_kept: false, faults: crashes, ..alone.clone() };
    vec![
        // The gate of the policy is the same whatever else there is, and doubles the states.
        Search { faults: Faults { policy: true, ..alone.faults }, long: true, ..alone.clone() },
        Search {
            name: "alone-hands",
            shows: "one agent among any others, people's hands in all objects, the gate of the policy",
            faults: Faults {
                kills: true,
                slots_by_hand: true,
                pools_moved: true,
                nodes_deleted: true,
                policy: true,
                ..Faults::NONE
            },
            ..alone.clone()
        },
        Search {
            name: "after",
            shows: "the same, with a gate after the reboot, and windows that end and open",
            after: true,
            faults: Faults { windows: true, ..alone.faults },
            long: true,
            ..alone.clone()
        },
        Search {
            name: "drain",
            shows: "the same, with pods that come and go",
            drains: true,
            long: true,
            ..alone.clone()
        },
        Search {
            name: "machines",
            shows: "the same, with two tries, sick kubelets, and hosts that come back as another machine",
            reboot_tries: 2,
            faults: machines,
            long: true,
            ..alone.clone()
        },
        Search {
            name: "bootless",
            shows: "the same, where Nodes report no boot id",
            empty_boot_ids: true,
            faults: machines,
            long: true,
            ..alone.clone()
        },
        Search {
            name: "after-short",
            shows: "one agent among any others, a gate after the reboot, most faults",
            after: true,
            faults: Faults { windows: true, sick: false, reinstalled: false, ..most },
            ..alone.clone()
        },
        Search {
            name: "drain-short",
            shows: "the same, with pods that come and go",
            drains: true,
            faults: Faults { sick: false, reinstalled: false, ..most },
            ..alone.clone()
        },
        Search {
            name: "machines-short",
            shows: "the same, with two tries, sick kubelets, and hosts that come back as another machine",
            reboot_tries: 2,
            faults: most,
            ..alone.clone()
        },
        Search {
            name: "bootless-short",
            shows: "the same, where Nodes report no boot id",
            empty_boot_ids: true,
            faults: most,
            ..alone.clone()
        },
        Search {
            name: "cordons",
            shows: "one agent that waits while somebody else has cordoned its Node, most faults",
            waits_for_cordons: true,
            faults: Faults { sick: false, reinstalled: false, ..most },
            ..alone.clone()
        },
        Search {
            name: "bare-pods",
            shows: "one agent, pods that come and go, bare ones that would be deleted during a reboot, most faults",
            drains: true,
            faults: Faults { bare_pods: true, sick: false, reinstalled: false, ..most },
            ..alone.clone()
        },
        Search {
            name: "taints",
            shows: "one agent whose Node gets a taint after the boot, sick kubelets, most faults",
            faults: Faults { taints: true, reinstalled: false, ..most },
            ..alone.clone()
        },
        Search {
            name: "two-slots",
            shows: "one agent among any others, two slots of its pool, crashes",
            faults: crashes,
            ..two_slots.clone()
        },
        Search {
            name: "two-slots-hands",
            shows: "the same, people's hands",
            faults: hands,
            ..two_slots.clone()
        },
        Search {
            name: "two-pools",
            shows: "one agent that is moved between two pools, crashes",
            two_pools: true,
            faults: Faults { pools_moved: true, ..crashes },
            ..two_slots
        },
        Search { name: "2x1", shows: "two agents, one slot, crashes", agents: 2, ..several.clone() },
        Search {
            name: "2x1-hands",
            shows: "two agents, one slot, people's hands",
            agents: 2,
            faults: hands,
            ..several.clone()
        },
        Search {
            name: "2x1-nodes",
            shows: "two agents, one slot, Nodes that vanish, reclaim",
            agents: 2,
            // Each reboots once: that is enough to be missed in any phase.
            requests_kept: true,
            faults: nodes,
            long: true,
            ..several.clone()
        },
        Search {
            name: "2x2",
            shows: "two agents, two slots, kills, lost and late writes",
            agents: 2,
            slots: 2,
            faults: Faults { power: false, ..few },
            long: true,
            ..several.clone()
        },
        Search {
            name: "2x2-kills",
            shows: "two agents, two slots, kills",
            agents: 2,
            slots: 2,
            faults: Faults { kills: true, ..Faults::NONE },
            ..several.clone()
        },
        Search {
            name: "members",
            shows: "two members of a control plane, two slots, kills",
            agents: 2,
            slots: 2,
            members: true,
            faults: Faults { kills: true, ..Faults::NONE },
            ..several.clone()
        },
        Search {
            name: "zones",
            shows: "two agents of two zones, two slots, one zone at a time, kills",
            agents: 2,
            slots: 2,
            zones: true,
            faults: Faults { kills: true, ..Faults::NONE },
            ..several.clone()
        },
        Search {
            name: "3x1",
            shows: "three agents, one slot, crashes",
            agents: 3,
            faults: few,
            long: true,
            ..several.clone()
        },
        Search {
            name: "3x1-kills",
            shows: "the same, kills",
            agents: 3,
            faults: Faults { kills: true, ..Faults::NONE },
            ..several
        },
    ]
}

/// The search of this name.
pub fn find(name: &str) -> Result<Search> {
    if name == large().name {
        return Ok(large());
    }
    let known = || all().iter().map(|search| search.name).collect::<Vec<_>>().join(", ");
    all()
        .into_iter()
        .find(|search| search.name == name)
        .with_context(|| format!("no search {name:?}; there are: {}", known()))
}

/// Too large to be searched: for walks.
pub fn large() -> Search {
    Search {
        name: "3x2",
        shows: "three agents, two slots, pods, every fault",
        agents: 3,
        slots: 2,
        two_pools: false,
        outside: false,
        drains: true,
        empty_boot_ids: false,
        reboot_tries: 2,
        members: false,
        zones: false,
        after: true,
        waits_for_cordons: false,
        requests_kept: true,
        faults: Faults { windows: true, policy: true, bare_pods: true, taints: true, ..Faults::ALL },
        live: false,
        long: false,
    }
}
