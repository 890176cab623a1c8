use super::*;
use crate::access::Secret;
use crate::config::Files;

const HOUR: u64 = 3600;

struct Node {
    directory: PathBuf,
    enrolment: Enrolment,
    settings: Settings,
}

/// With a credential that was issued so many seconds ago, for a server that does not answer.
fn node(name: &str, age: i64, machine_id: Option<&str>) -> Node {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = std::env::temp_dir().join(format!("rebootd-enrolment-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ours = identity::machine_id(Path::new(identity::MACHINE_ID)).unwrap();
    let kept = Kept {
        server: "https://127.0.0.1:1".into(),
        certificate_authority: rcgen::CertificateParams::default().self_signed(&key).unwrap().pem(),
        node: "n1".into(),
        node_uid: "u".into(),
        machine_id: machine_id.map_or(ours, str::to_owned),
        issued: clock::now().wall.as_secs().checked_add_signed(-age).unwrap(),
        life: 24 * HOUR,
    };
    credential::store(&directory, &kept, &Secret::new("token".into())).unwrap();
    let mut settings = Files::read(&[directory.as_path()]).unwrap().settings("host").unwrap();
    let mut enrolment = Enrolment::new(Some(directory.clone()));
    enrolment.begin(&mut settings, true);
    Node { directory, enrolment, settings }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Node {
    async fn step(&mut self) -> CredentialState {
        self.enrolment.step(Duration::from_secs(24 * HOUR)).await;
        self.enrolment.state()
    }

    /// In how many hours from now.
    fn due(&self) -> u64 {
        self.enrolment.due().unwrap().saturating_sub(clock::now().boot).as_secs().div_ceil(HOUR)
    }
}

#[tokio::test]
async fn a_renewal_that_fails_for_long_has_the_host_asked_for_another_way() {
    let mut early = node("early", 13 * 3600, None);
    assert_eq!(early.step().await, CredentialState::Good);
    assert!(!early.enrolment.is_wanted);
    let mut late = node("late", 19 * 3600, None);
    let state = late.step().await;
    assert!(matches!(state, CredentialState::Failing(_)) && late.enrolment.is_wanted, "{state:?}");
    // Nothing is gathered in a test: what it has is used again, and told of.
    late.enrolment.failed("nothing was gathered".into());
    assert!(!late.enrolment.is_wanted && late.enrolment.state() == state);
}

#[tokio::test]
async fn a_reload_beside_a_server_that_does_not_answer_has_the_host_asked() {
    let mut moved = node("moved", 60, None);
    assert!(!moved.enrolment.is_wanted && moved.due() > 1);
    moved.settings.api = None;
    moved.enrolment.begin(&mut moved.settings, false);
    assert!(moved.enrolment.is_wanted && moved.due() == 0);
    // It has nothing better: the credential stays, without an alarm.
    moved.enrolment.failed("nothing was gathered".into());
    assert!(!moved.enrolment.is_wanted && moved.enrolment.state() == CredentialState::Good);
}

#[tokio::test]
async fn a_clock_that_was_wrong_neither_stops_renewals_nor_leaves_an_alarm() {
    let back = node("back", -20 * 3600, None);
    assert_eq!((back.due(), back.enrolment.issued()), (0, 0));
    let mut ahead = node("ahead", 19 * 3600, None);
    assert!(matches!(ahead.step().await, CredentialState::Failing(_)));
    // The API server still accepts it: the alarm stays.
    assert!(!ahead.enrolment.answered(true));
    let own = ahead.enrolment.own.as_mut().unwrap();
    own.issued += 19 * HOUR;
    assert!(ahead.enrolment.answered(true) && ahead.enrolment.state() == CredentialState::Good);
}

#[tokio::test]
async fn a_copy_of_another_machine_gets_a_credential_of_its_own() {
    assert_eq!(node("same", 0, None).settings.node_name, "n1");
    let copy = node("copy", 0, Some(&"f".repeat(32)));
    assert!(copy.settings.api.is_none() && copy.enrolment.is_wanted);
    assert!(matches!(copy.enrolment.state(), CredentialState::Missing(_)));
}
