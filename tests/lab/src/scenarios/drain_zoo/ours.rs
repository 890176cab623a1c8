//! What rebootd would do with each pod of the zoo: as its own library reads configuration and pods, by its own plan.

use std::fs;
use std::time::Duration;

use ::rebootd::cluster::Api;
use ::rebootd::config;
use ::rebootd::decide::{self, Event, Memory, Now, World, budget_namespaces, observe, plan};
use anyhow::{Context, Result};

use super::zoo::NODE;
use super::{Verdict, Verdicts};
use crate::lab::Lab;

const NOW: Now = Now { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_700_000_000) };

/// The verdicts under these keys of `[drain]`, on a host without inhibitors.
pub(super) async fn ask(lab: &Lab, keys: &str) -> Result<Verdicts> {
    let directory = lab.directory().join("zoo");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("config.toml"), format!("[drain]\n{keys}"))?;
    fs::copy(lab.control_plane.admin_kubeconfig(), directory.join("kubeconfig"))?;
    let settings = config::load(&[&directory], NODE)?;
    // As the daemon does; somebody else in this process may have, too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut api = Api::new(settings.api.clone().context("no kubeconfig was found")?, NODE.to_owned());

    let mut world = World::new(NOW, "zoo".to_owned(), "a".repeat(32), "b".repeat(32), Memory::default());
    let host = Event::Host {
        going_down: Ok(false),
        package_manager: Ok(None),
        inhibitors: Ok(Vec::new()),
        may_reboot: Ok(true),
        scheduled: Ok(None),
    };
    observe(&mut world, host, NOW);
    observe(&mut world, Event::Pods(Ok(api.pods().await?)), NOW);
    let budgets = api.budgets(&budget_namespaces(&world, &settings)).await?;
    observe(&mut world, Event::Budgets(Ok(budgets)), NOW);
    let planned = plan(&world, &settings).context("the pods were not read")?.into_iter();
    Ok(planned
        .map(|it| (format!("{}/{}", it.pod.key.namespace, it.pod.key.name), it.verdict.into()))
        .collect())
}

impl From<decide::Verdict> for Verdict {
    fn from(verdict: decide::Verdict) -> Verdict {
        match verdict {
            decide::Verdict::Evict | decide::Verdict::Warn(_) => Verdict::Evict,
            decide::Verdict::Leave(_) => Verdict::Leave,
            decide::Verdict::Await(..) | decide::Verdict::Refuse(_) => Verdict::Refuse,
        }
    }
}
