//! Sends to the webhook what its receiver wants to know. Never in the way: whatever fails is told once and left.

use serde_json::Value;
use tokio::task::JoinSet;

use crate::cluster::{ApiError, ClusterEvent, send_to_webhook};
use crate::decide::Settings;
use crate::report::webhook::{body, is_wanted};

/// So many may wait to be sent; what comes then is left out.
const MOST: usize = 20;

#[derive(Default)]
pub(super) struct Webhook {
    waiting: Vec<Value>,
    sending: JoinSet<Result<(), ApiError>>,
    /// What last failed, as it was told.
    failure: Option<String>,
}

impl Webhook {
    pub(super) fn tell(&mut self, event: &ClusterEvent, settings: &Settings) {
        let notify = &settings.notify;
        if notify.webhook_file.is_some()
            && is_wanted(event, notify.webhook_events)
            && self.waiting.len() < MOST
        {
            self.waiting.push(body(event, settings));
        }
        self.flush(settings);
    }

    /// One after the other, so that they arrive in their order.
    pub(super) fn flush(&mut self, settings: &Settings) {
        while let Some(Ok(result)) = self.sending.try_join_next() {
            self.note(result);
        }
        let Some(file) = settings.notify.webhook_file.clone() else { return };
        if !self.sending.is_empty() || self.waiting.is_empty() {
            return;
        }
        let bodies = std::mem::take(&mut self.waiting);
        self.sending.spawn(async move {
            let mut result = Ok(());
            for body in bodies {
                // One that is refused says nothing about the next.
                result = result.and(send_to_webhook(&file, body).await);
            }
            result
        });
    }

    fn note(&mut self, result: Result<(), ApiError>) {
        let failure = result.err().map(|error| error.to_string());
        if let Some(why) = failure.as_ref().filter(|_| failure != self.failure) {
            tracing::warn!("the webhook was not told, which changes nothing else: {why}");
        }
        self.failure = failure;
    }
}
