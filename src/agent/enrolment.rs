//! The node's own credential: got with the token that the kubelet brings or that a person has installed, bound to the
//! Node, and renewed from then on. The old token is used until a new one has worked and is stored.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::{ApiAccess, Credential, PemSource};
use crate::cluster::{Api, ApiError, BoundNode, Issued, Untaken};
use crate::decide::{CredentialState, Settings};
use crate::host::credential::{self, Kept};
use crate::host::offered::{self, Candidate, Offered};
use crate::host::{clock, hooks, identity};
use crate::report::{messages, systemd};

/// Root's unit takes a moment to gather what this host has to offer.
const GATHERING: Duration = Duration::from_secs(1);
/// The first pause before it is asked again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LAST_PAUSE: Duration = Duration::from_secs(300);
const NO_PODS: &str = "no pod of the DaemonSet rebootd-credential runs here: kubectl -n rebootd get pods -o wide, and see \
                       that the manifests are applied and the kubelet is up; or bring one: rebootctl enroll";

/// Gets and keeps the credential of a node whose files name none.
pub(super) struct Enrolment {
    directory: Option<PathBuf>,
    /// The files name a credential: nothing is to be got.
    is_by_hand: bool,
    own: Option<Kept>,
    /// A new one has to be got: there is none, it is not accepted, or a person has installed another one.
    is_wanted: bool,
    /// The API server does not accept it any more.
    is_refused: bool,
    /// Root's unit has been asked.
    is_asked: bool,
    pause: Duration,
    /// When the next step is due, in time since boot.
    due: Duration,
    state: CredentialState,
}

impl Enrolment {
    /// With what was kept in this directory, if anything.
    pub(super) fn new(directory: Option<PathBuf>) -> Enrolment {
        let own = directory.as_deref().and_then(|it| {
            credential::load(it).unwrap_or_else(|error| {
                tracing::warn!("what is known of the token in {}: {error}; a new one is got", it.display());
                None
            })
        });
        let own = own.filter(is_of_this_machine);
        Enrolment {
            directory,
            is_by_hand: true,
            own,
            is_wanted: false,
            is_refused: false,
            is_asked: false,
            pause: FIRST_PAUSE,
            due: clock::now().boot,
            state: CredentialState::Good,
        }
    }

    /// Takes over settings as the files make them, and completes them if they name no credential. Where the API server does
    /// not answer, it may have moved, which this host knows.
    pub(super) fn begin(&mut self, settings: &mut Settings, is_answered: bool) {
        self.is_by_hand = settings.api.is_some();
        self.is_wanted =
            self.is_refused || self.own.is_none() || !is_answered || installed_after(self.issued());
        if self.is_by_hand {
            (self.is_refused, self.state) = (false, CredentialState::Good);
        } else if self.is_wanted {
            // A person who has mended something need not wait.
            (self.is_asked, self.due, self.pause) = (false, clock::now().boot, FIRST_PAUSE);
        }
        self.complete(settings);
    }

    /// Completes settings that name no credential.
    pub(super) fn complete(&mut self, settings: &mut Settings) {
        if self.is_by_hand {
            return;
        }
        settings.api = None;
        let Some((own, directory)) = self.own.as_ref().zip(self.directory.as_ref()) else {
            if self.state == CredentialState::Good {
                self.state = CredentialState::Missing("asking this host for one".to_owned());
            }
            return;
        };
        if !settings.node_is_written {
            settings.node_name.clone_from(&own.node);
        }
        settings.credential_node = Some(own.node.clone());
        settings.credential_ends = Some(own.ends());
        settings.api = Some(own.access(directory));
    }

    /// What to tell people of it.
    pub(super) fn state(&self) -> CredentialState {
        self.state.clone()
    }

    /// When the next step is due; `None`: never.
    pub(super) fn due(&self) -> Option<Duration> {
        match &self.own {
            _ if self.is_by_hand || self.directory.is_none() => None,
            Some(own) if !self.is_wanted => {
                let left = age(own).map_or(0, |age| (own.life / 2).saturating_sub(age));
                let left = Duration::from_secs(left);
                Some(self.due.max(clock::now().boot + left))
            }
            _ => Some(self.due),
        }
    }

    /// The API server has accepted the credential, or not: its Node is gone or another one, or it has expired. Returns
    /// whether there is something else to tell now.
    pub(super) fn answered(&mut self, is_accepted: bool) -> bool {
        if is_accepted != self.is_refused {
            // A renewal has failed, but only because the clock was wrong.
            let is_over = is_accepted
                && matches!(self.state, CredentialState::Failing(_))
                && self.own.as_ref().is_some_and(|own| !is_late(own));
            if is_over {
                self.state = CredentialState::Good;
            }
            return is_over;
        }
        self.is_refused = !is_accepted;
        let refused = "it cannot be read, or the API server does not accept it (any more)";
        self.state = match (is_accepted, self.is_by_hand) {
            (true, _) => CredentialState::Good,
            (false, true) => CredentialState::Failing(format!("{refused}: replace it")),
            (false, false) => CredentialState::Failing(format!("{refused}; a new one is being got")),
        };
        self.is_wanted = self.is_refused && !self.is_by_hand;
        if self.is_wanted {
            (self.is_asked, self.due, self.pause) = (false, clock::now().boot, FIRST_PAUSE);
        }
        true
    }

    /// The next step; returns whether the settings have to be completed again.
    pub(super) async fn step(&mut self, life: Duration) -> bool {
        let now = clock::now().boot;
        match self.own.clone().filter(|_| !self.is_wanted) {
            Some(own) => self.renew(&own, life).await,
            None if !self.is_asked => match hooks::start(offered::UNIT) {
                Ok(()) => (self.is_asked, self.due) = (true, now + GATHERING),
                Err(error) => self.failed(format!(
                    "rebootd-hook@credential.socket is not there ({error}): systemctl start rebootd-hook@credential.socket"
                )),
            },
            None => {
                self.is_asked = false;
                match self.enrol(life).await {
                    Ok(()) => return true,
                    Err(why) => self.failed(why),
                }
            }
        }
        false
    }

    /// When our own was issued. A time that is still to come must not make all that is installed look older.
    fn issued(&self) -> u64 {
        self.own.as_ref().filter(|own| age(own).is_some()).map_or(0, |own| own.issued)
    }

    fn failed(&mut self, why: String) {
        // The journal of the core has a line only if something else is the matter, not if it has another cause.
        let (message_id, pause) = (messages::CREDENTIAL_DELAYED, self.pause.as_secs());
        tracing::info!(message_id, "no new credential: {why}; tried again in {pause} s");
        self.due = clock::now().boot + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.state = match &self.own {
            None => CredentialState::Missing(why),
            Some(_) if self.is_refused => CredentialState::Failing(why),
            Some(_) if self.is_wanted => {
                tracing::error!("this node's credential stays as it is");
                self.is_wanted = false;
                return;
            }
            // There is time to try again before anybody has to be woken.
            Some(own) if !is_late(own) => CredentialState::Good,
            Some(_) => {
                // The API server may have another address or certificate authority by now, which this host knows.
                (self.is_wanted, self.is_asked) = (true, false);
                CredentialState::Failing(why)
            }
        };
    }

    async fn renew(&mut self, own: &Kept, life: Duration) {
        let Some(directory) = self.directory.clone() else { return };
        let node = BoundNode { name: own.node.clone(), uid: own.node_uid.clone() };
        match Api::new(own.access(&directory), own.node.clone()).issue(&node, life).await {
            Ok(issued) => match self.keep(own.clone(), issued).await {
                Ok(()) => {
                    tracing::info!(message_id = messages::CREDENTIAL_RENEWED, "the credential was renewed");
                }
                Err(why) => self.failed(why),
            },
            Err(ApiError::Status { code: 401, .. } | ApiError::Credential { .. }) => {
                self.answered(false);
            }
            Err(error) => self.failed(format!("cannot be renewed: {error}")),
        }
    }

    async fn enrol(&mut self, life: Duration) -> Result<(), String> {
        let is_new = installed_after(self.issued());
        let installed = offered::load(Path::new(offered::INSTALLED)).ok().filter(|_| is_new);
        let mut why = None;
        if let Some(installed) = installed {
            match self.try_all(installed, life).await {
                Ok(()) => return Ok(()),
                Err(error) => why = Some(error),
            }
        }
        let gathered = offered::load(Path::new(offered::PATH)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "root's unit has gathered nothing: systemctl status rebootd-credential".to_owned()
            }
            _ => format!("{}: {error}", offered::PATH),
        });
        let result = match gathered {
            Ok(gathered) => self.try_all(gathered, life).await,
            Err(error) => Err(error),
        };
        // What a person has installed is what they want to know about.
        result.map_err(|error| why.unwrap_or(error))
    }

    async fn try_all(&mut self, offered: Offered, life: Duration) -> Result<(), String> {
        let server = offered.server.map_err(|why| {
            format!(
                "the API server's address is not known ({why}): set up the kubelet, bring a credential by rebootctl \
                 enroll, or put a kubeconfig at /etc/rebootd/kubeconfig"
            )
        })?;
        let machine_id = identity::machine_id(Path::new(identity::MACHINE_ID))?;
        let mut why = None;
        for candidate in offered.candidates {
            systemd::alive();
            let authority = offered.certificate_authority.clone();
            let authority = authority.unwrap_or_else(|| candidate.certificate_authority.clone());
            match self.try_candidate(&server, authority, &candidate, &machine_id, life).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    // A server that does not answer does not answer the others either, and each would be waited for.
                    // Who brings an authority of his own decides that only for himself.
                    let is_over = !error.is_answered && offered.certificate_authority.is_some();
                    // The first is the likeliest, so its trouble is what people should know.
                    why = why.or(Some(error.why));
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(why.unwrap_or_else(|| NO_PODS.to_owned()))
    }

    async fn try_candidate(
        &mut self,
        server: &str,
        certificate_authority: String,
        candidate: &Candidate,
        machine_id: &str,
        life: Duration,
    ) -> Result<(), Untaken> {
        let access = ApiAccess {
            server: server.to_owned(),
            certificate_authority: PemSource::Inline(certificate_authority.clone().into_bytes()),
            credential: Credential::Token(candidate.token.clone()),
        };
        let mut api = Api::new(access, String::new());
        let node = api.own_node(machine_id).await?;
        let issued = api.issue(&node, life).await.map_err(|error| {
            Untaken::by_us(format!("a token bound to the Node {} was not issued: {error}", node.name))
        })?;
        let own = Kept {
            server: server.to_owned(),
            certificate_authority,
            node: node.name.clone(),
            node_uid: node.uid,
            machine_id: machine_id.to_owned(),
            issued: 0,
            life: 0,
        };
        self.keep(own, issued).await.map_err(Untaken::by_us)?;
        let (message_id, node) = (messages::ENROLLED, &node.name);
        tracing::info!(message_id, "this machine is the Node {node}, and has a credential of its own");
        Ok(())
    }

    /// Keeps a new token that works.
    async fn keep(&mut self, own: Kept, issued: Issued) -> Result<(), String> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let own = Kept { issued: clock::now().wall.as_secs(), life: issued.life.as_secs(), ..own };
        let credential = Credential::Token(issued.token.clone());
        let mut api = Api::new(ApiAccess { credential, ..own.access(directory) }, own.node.clone());
        match api.is_agent().await {
            Ok(true) => {}
            Ok(false) => return Err("the new token is of another account".to_owned()),
            Err(error) => return Err(format!("the new token does not work: {error}")),
        }
        credential::store(directory, &own, &issued.token)
            .map_err(|error| format!("cannot keep the new token in {}: {error}", directory.display()))?;
        self.own = Some(own);
        (self.is_wanted, self.is_refused, self.is_asked) = (false, false, false);
        // Not immediately again, however short a life the server gives.
        self.due = clock::now().boot + FIRST_PAUSE;
        (self.pause, self.state) = (FIRST_PAUSE, CredentialState::Good);
        Ok(())
    }
}

/// A copy of another machine's disk must not go on as that machine's Node.
fn is_of_this_machine(own: &Kept) -> bool {
    let is_ours = identity::machine_id(Path::new(identity::MACHINE_ID)).is_ok_and(|id| id == own.machine_id);
    if !is_ours {
        tracing::warn!("the token for the Node {} was issued to another machine; a new one is got", own.node);
    }
    is_ours
}

/// In seconds, by the wall clock; `None` if that was set back since, so that nobody knows.
fn age(own: &Kept) -> Option<u64> {
    clock::now().wall.as_secs().checked_sub(own.issued)
}

/// It should have been renewed long ago.
fn is_late(own: &Kept) -> bool {
    age(own).is_some_and(|age| age >= own.life / 4 * 3)
}

/// A person has installed a credential after this time.
fn installed_after(time: u64) -> bool {
    let changed = fs::metadata(offered::INSTALLED).map(|it| it.mtime());
    changed.is_ok_and(|changed| u64::try_from(changed).is_ok_and(|changed| changed > time))
}

#[cfg(test)]
mod tests;
