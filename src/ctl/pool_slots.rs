//! `rebootctl slots`: how many slots each pool has, and a person who makes more or fewer of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::kubeconfig::Kubeconfig;
use super::table::table;
use crate::cluster::{Api, ApiError, HeldSlot};
use crate::decide::settings::Share;
use crate::decide::{POOL, SlotView};
use crate::notation::is_label_value;

/// Show how many slots each pool has, or make more or fewer of them
///
/// As many nodes of a pool reboot at a time as it has slots. A slot that is held is never deleted: if too many are,
/// run it again later. A share is of the Nodes with the label rebootd.io/pool, rounded down, and at least one slot;
/// run it again when the pool has grown, by hand or by /usr/share/rebootd/manifests/optional/slots-share.yaml.
/// Exits with 1 on errors, also if a slot was to be deleted and could not be.
#[derive(Debug, Args)]
pub(super) struct Slots {
    /// The pool
    #[arg(long, value_name = "POOL", value_parser = parse_pool)]
    pool: Option<String>,
    /// So many slots
    #[arg(long, value_name = "NUMBER", requires = "pool", conflicts_with = "share", value_parser = clap::value_parser!(u16).range(1..=500))]
    count: Option<u16>,
    /// A slot for such a share of the pool's nodes, as in 5%
    #[arg(long, value_name = "PERCENT", requires = "pool")]
    share: Option<Share>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

fn parse_pool(text: &str) -> Result<String, String> {
    match is_label_value(text) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("no name of a pool: it has to be valid as the value of a label".to_owned()),
    }
}

impl Slots {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (mut api, runtime) = self.kubeconfig.connect().map_err(|error| {
            anyhow!("{error:#}\nkubectl shows the slots:\n  kubectl -n rebootd get leases -L {POOL}")
        })?;
        runtime.block_on(async {
            let slots = api.held_slots().await.context("cannot read the slots")?;
            let nodes = nodes_of_pools(&mut api).await?;
            match &self.pool {
                Some(pool) if self.count.is_some() || self.share.is_some() => {
                    self.change(&mut api, pool, &slots, nodes.get(pool).copied().unwrap_or_default()).await
                }
                pool => show(&slots, &nodes, pool.as_deref()),
            }
        })
    }

    async fn change(
        &self,
        api: &mut Api,
        pool: &str,
        slots: &[HeldSlot],
        nodes: usize,
    ) -> anyhow::Result<ExitCode> {
        if self.share.is_some() && nodes == 0 {
            bail!("no Node has the label {POOL}={pool}; each rebootd writes it to its own Node");
        }
        let share = self.share.map(|share| share.of(nodes).max(1));
        let wanted = share.unwrap_or(self.count.map_or(1, usize::from));
        let of_pool: Vec<&SlotView> =
            slots.iter().map(|held| &held.slot).filter(|slot| slot.pool.as_deref() == Some(pool)).collect();
        println!("Pool {pool}: {nodes} nodes, {} slots, {wanted} wanted.", of_pool.len());
        if of_pool.len() < wanted {
            let names = new_names(pool, slots, wanted - of_pool.len());
            for name in &names {
                self.once_told(name, "made", api.create_slot(name, pool)).await?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let too_many = of_pool.len() - wanted;
        let mut free: Vec<&&SlotView> = of_pool.iter().filter(|slot| slot.holder.is_none()).collect();
        free.sort_unstable_by(|one, other| (other.name.len(), &other.name).cmp(&(one.name.len(), &one.name)));
        for slot in free.iter().take(too_many) {
            self.once_told(&slot.name, "deleted", api.delete_slot(slot)).await?;
        }
        if free.len() >= too_many {
            return Ok(ExitCode::SUCCESS);
        }
        println!("{} too many are held and stay; run this again later.", too_many - free.len());
        Ok(ExitCode::FAILURE)
    }

    /// Does it, unless it is only to be told.
    async fn once_told(
        &self,
        name: &str,
        what: &str,
        effect: impl Future<Output = Result<(), ApiError>>,
    ) -> anyhow::Result<()> {
        if self.dry_run {
            println!("  {name} would be {what}");
            return Ok(());
        }
        effect.await.with_context(|| format!("{name} was not {what}"))?;
        println!("  {name} {what}");
        Ok(())
    }
}

/// How many Nodes each pool has.
async fn nodes_of_pools(api: &mut Api) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut pools = BTreeMap::new();
    for node in api.fleet(POOL).await.context("cannot read the Nodes")? {
        *pools.entry(node.pool.unwrap_or_default()).or_default() += 1;
    }
    Ok(pools)
}

fn show(slots: &[HeldSlot], nodes: &BTreeMap<String, usize>, only: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut pools: BTreeMap<&str, (usize, Vec<&str>)> =
        nodes.keys().map(|pool| (pool.as_str(), (0, Vec::new()))).collect();
    for held in slots {
        let Some(pool) = held.slot.pool.as_deref() else { continue };
        let (count, holders) = pools.entry(pool).or_default();
        *count += 1;
        holders.extend(held.slot.holder.as_deref());
    }
    pools.retain(|pool, _| only.is_none_or(|only| only == *pool));
    let mut rows = vec![["POOL", "NODES", "SLOTS", "HELD BY"].map(str::to_owned)];
    rows.extend(pools.into_iter().map(|(pool, (count, holders))| {
        let nodes = nodes.get(pool).copied().unwrap_or_default();
        [pool.to_owned(), nodes.to_string(), count.to_string(), holders.join(" ")]
    }));
    table(&rows).iter().for_each(|row| println!("{row}"));
    Ok(ExitCode::SUCCESS)
}

/// The first names of such slots that are not taken: `worker-2` and so on, as far as a Lease can have them.
fn new_names(pool: &str, slots: &[HeldSlot], count: usize) -> Vec<String> {
    let pool: String = pool
        .to_lowercase()
        .chars()
        .map(|sign| if sign.is_ascii_alphanumeric() || sign == '.' { sign } else { '-' })
        .collect();
    let names = (1_usize..).map(|number| format!("{pool}-{number}"));
    names.filter(|name| slots.iter().all(|held| held.slot.name != *name)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str) -> HeldSlot {
        HeldSlot { slot: SlotView { name: name.into(), ..SlotView::default() }, since: None }
    }

    #[test]
    fn new_slots_get_names_that_are_free_and_valid() {
        let slots = [slot("worker-1"), slot("worker-3")];
        assert_eq!(new_names("worker", &slots, 2), ["worker-2", "worker-4"]);
        assert_eq!(new_names("GPU_a.b", &slots, 1), ["gpu-a.b-1"]);
    }
}
