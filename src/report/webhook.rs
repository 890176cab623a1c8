//! What is sent to a webhook, in the form that its receiver understands. docs/status.md describes them.

use serde_json::{Value, json};

use crate::cluster::{ClusterEvent, time};
use crate::decide::settings::{Settings, WebhookEvents, WebhookFormat};

/// Whether this is to be sent. What concerns a single pod never is.
pub fn is_wanted(event: &ClusterEvent, wanted: WebhookEvents) -> bool {
    let of_turns = ["RebootSlotClaimed", "Rebooting", "RebootDone"];
    event.pod.is_none()
        && match wanted {
            WebhookEvents::Failures => event.is_warning,
            WebhookEvents::Turns => event.is_warning || of_turns.contains(&event.reason),
            WebhookEvents::All => true,
        }
}

/// The body.
pub fn body(event: &ClusterEvent, settings: &Settings) -> Value {
    let ClusterEvent { reason, is_warning, note, at, .. } = event;
    let (node, pool) = (&settings.node_name, &settings.pool);
    let text = format!("{node} (pool {pool}): {reason}: {note}");
    match settings.notify.webhook_format {
        WebhookFormat::Json => json!({
            "node": node, "pool": pool, "event": reason, "warning": is_warning, "message": note,
            "at": time(*at), "version": env!("CARGO_PKG_VERSION"),
        }),
        // What somebody wrote is no markup: see "Escaping text" of Slack's documentation.
        WebhookFormat::Slack => json!({ "text": escaped(&text) }),
        WebhookFormat::Mattermost => json!({ "username": "rebootd", "text": text }),
        WebhookFormat::Teams => {
            let block = json!({ "type": "TextBlock", "wrap": true, "text": text });
            let card = json!({
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [block],
            });
            let attachment = json!({
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": card,
            });
            json!({ "type": "message", "attachments": [attachment] })
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Files;
    use crate::decide::PodKey;

    fn event(reason: &'static str, is_warning: bool) -> ClusterEvent {
        let at = Duration::from_secs(1_795_867_200);
        ClusterEvent { pod: None, reason, is_warning, note: "a <b> & c".into(), at }
    }

    #[test]
    fn failures_are_sent_always_and_the_rest_by_choice() {
        let sent = |event: &ClusterEvent| {
            [WebhookEvents::Failures, WebhookEvents::Turns, WebhookEvents::All]
                .map(|wanted| is_wanted(event, wanted))
        };
        assert_eq!(sent(&event("RebootCalledOff", true)), [true, true, true]);
        assert_eq!(sent(&event("RebootDone", false)), [false, true, true]);
        assert_eq!(sent(&event("RebootCordoned", false)), [false, false, true]);
        let of_pod = ClusterEvent { pod: Some(PodKey::default()), ..event("RebootEvictionRefused", true) };
        assert_eq!(sent(&of_pod), [false, false, false]);
    }

    #[test]
    fn each_receiver_gets_what_it_understands() {
        let mut settings = Files::read(&[]).unwrap().settings("n1").unwrap();
        let mut sent = |format| {
            settings.notify.webhook_format = format;
            body(&event("RebootCalledOff", true), &settings)
        };
        let json = sent(WebhookFormat::Json);
        assert_eq!(
            (&json["event"], &json["at"]),
            (&json!("RebootCalledOff"), &json!("2026-11-28T12:00:00Z"))
        );
        let text = "n1 (pool worker): RebootCalledOff: a <b> & c";
        assert_eq!(
            sent(WebhookFormat::Slack),
            json!({ "text": "n1 (pool worker): RebootCalledOff: a &lt;b&gt; &amp; c" })
        );
        assert_eq!(sent(WebhookFormat::Mattermost)["text"], text);
        assert_eq!(sent(WebhookFormat::Teams)["attachments"][0]["content"]["body"][0]["text"], text);
    }
}
