//! What is asked of Prometheus and of Kubernetes objects, before and after a reboot.

use super::error::{ConfigError, Mistakes, Place};
use super::merge::Merged;
use super::parts::{AfterKeys, BeforeKeys, PrometheusKeys};
use super::value::{Expression, PrometheusUrl, ServicePort};
use crate::decide::settings::{AfterSettings, GatesSettings, Prometheus, Query};

/// Where Debian keeps the certificate authorities that the administrator trusts: public ones and their own.
const SYSTEMS_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Both fire all the time: the one to show that alerting works, the other to silence others.
const ALWAYS_FIRING: [&str; 2] = ["Watchdog", "InfoInhibitor"];

/// What is asked before and after a reboot, and what is measured meanwhile.
pub(super) fn questions(
    merged: &Merged,
) -> Result<(GatesSettings, AfterSettings, Option<Query>), ConfigError> {
    let (mut gates, mut after): (GatesSettings, AfterSettings) =
        (merged.read("gates")?, merged.read("after")?);
    let asked_after: AfterKeys = merged.read("after")?;
    after.objects = asked_after.object.0;

    let mut mistakes = Mistakes::default();
    let mut measured = None;
    let before = mistakes.note(before(merged));
    let after_query = asked_after.query.zip(merged.place(&["after.query"]));
    let PrometheusKeys { measure, .. } = merged.read("prometheus")?;
    let measure = measure.zip(merged.place(&["prometheus.measure"]));
    match prometheus(merged) {
        Ok(server) => {
            let mut ask = |question: Option<(Expression, Place)>| {
                let (Expression(expression), place) = question?;
                // That may be written in the files of the hosts, and can only be written there.
                if server.is_none() && !merged.is_section {
                    mistakes.add(place, "this needs [prometheus], with \"url\" or \"service\"");
                }
                Some(Query { expression, server: server.clone()? })
            };
            (gates.query, after.query, measured) = (ask(before), ask(after_query), ask(measure));
        }
        Err(error) => mistakes.note(Err(error)),
    }
    mistakes.end((gates, after, measured))
}

/// The query that must find nothing before a reboot, and where it is written.
fn before(merged: &Merged) -> Result<Option<(Expression, Place)>, ConfigError> {
    let BeforeKeys { alerts, ignore_alerts, query } = merged.read("gates")?;
    let place = |key: &str| merged.place(&[key]);
    if let Some(query_at) = place("gates.query").filter(|_| alerts) {
        let message = "either \"query\" or \"alerts\", not both: a query may ask for ALERTS as well";
        return Err(ConfigError::at(query_at, message));
    }
    let without_effect = !alerts && !ignore_alerts.is_empty() && !merged.is_section;
    if let Some(ignored_at) = place("gates.ignore_alerts").filter(|_| without_effect) {
        return Err(ConfigError::at(ignored_at, "\"ignore_alerts\" has no effect without \"alerts\""));
    }
    let alerts = alerts.then(|| Expression(firing(&ignore_alerts))).zip(place("gates.alerts"));
    Ok(alerts.or(query.zip(place("gates.query"))))
}

/// All alerts that fire, except these and rebootd's own: one of those fires because nothing reboots.
fn firing(ignored: &[String]) -> String {
    let names = ALWAYS_FIRING.into_iter().chain(ignored.iter().map(String::as_str));
    let others = names.map(|name| format!(",alertname!={name:?}"));
    format!("ALERTS{{alertstate=\"firing\",alertname!~\"Rebootd.+\"{}}}", others.collect::<String>())
}

/// How to reach Prometheus, if somebody says so. Keys that would silently have no effect are mistakes.
fn prometheus(merged: &Merged) -> Result<Option<Prometheus>, ConfigError> {
    let keys: PrometheusKeys = merged.read("prometheus")?;
    let place = |key: &str| merged.place(&[&format!("prometheus.{key}")]);
    let mut mistakes = Mistakes::default();
    let mut refuse = |key: &str, message: &str| {
        place(key).into_iter().for_each(|place| mistakes.add(place, message));
    };
    let server = match (keys.url, keys.service) {
        (Some(PrometheusUrl(url)), service) => {
            if service.is_some() {
                refuse("service", "either \"url\" or \"service\", not both");
            }
            // It was allowed once: a node that was in its turn when the package was upgraded finishes with it.
            if url.starts_with("http://") && !merged.are_kept {
                refuse("token_file", "the token would be sent unencrypted: \"url\" must begin with https://");
                refuse("certificate_authority", "this has no effect if \"url\" begins with http://");
            }
            Some(Prometheus::Url {
                url,
                token_file: keys.token_file,
                certificate_authority: keys.certificate_authority.unwrap_or(SYSTEMS_AUTHORITIES.into()),
            })
        }
        (None, Some(ServicePort { namespace, port })) => {
            let message =
                "this has no effect beside \"service\": the API server is asked, with the credential for it";
            ["token_file", "certificate_authority"].iter().for_each(|key| refuse(key, message));
            Some(Prometheus::Service { namespace, port })
        }
        (None, None) => {
            let message = "this has no effect without \"url\"";
            ["token_file", "certificate_authority"].iter().for_each(|key| refuse(key, message));
            None
        }
    };
    mistakes.end(server)
}

#[cfg(test)]
mod tests;
