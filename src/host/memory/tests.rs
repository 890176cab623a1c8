//! What the state file survives.

use super::*;
use crate::decide::Cves;

fn temporary(name: &str) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("rebootd-memory-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory.join("state.json")
}

/// A memory with something in each field.
fn everything() -> Memory {
    Memory {
        setback: Some(Setback {
            boot_id: "b".into(),
            at: Duration::from_secs(7),
            count: 2,
            because: AbortReason::DrainDeadline,
        }),
        last_reboot: Some(LastReboot {
            boot_id: "a".into(),
            at: Duration::from_secs(1_700_000_000),
            asked: BTreeSet::from([Source::SentinelFile]),
            kernel: Some("6.1.0-44-amd64".into()),
            why: "/run/reboot-required by libc6".into(),
            cordoned_at: Some(Duration::from_secs(1_699_999_990)),
            uncordoned_at: Some(Duration::from_secs(1_700_000_060)),
            ready_at: Some(Duration::from_secs(1_700_000_040)),
            requested_at: Some(Duration::from_secs(1_699_900_000)),
            packages: BTreeSet::from(["libc6".to_owned()]),
            updates: vec![Update {
                package: "libc6".into(),
                running: Some("1".into()),
                installed: Some("2".into()),
                since: Some(1_699_000_100),
                cves: Some(Cves { count: 1, at_least: true, named: vec!["CVE-2026-0001".into()] }),
            }],
            measured: Measured::sample(),
            up_since: Some(Duration::from_secs(1_699_000_000)),
            claimed_at: Some(Duration::from_secs(1_699_999_980)),
            drained_at: Some(Duration::from_secs(1_699_999_995)),
            ended_at: Some(Duration::from_secs(1_700_000_070)),
            led_to: Some("b".into()),
            ending: Some(Ending::Well),
        }),
        cordoned_at: Some(Duration::from_secs(1_700_000_500)),
        earlier_reboots: vec![Duration::from_secs(1_600_000_000)],
        first_start: Some(FirstStart {
            boot_id: "b".into(),
            at: Duration::from_secs(3),
            heard: BTreeSet::from([Source::Annotation]),
            clock_was_set: true,
        }),
        well: Some(Well {
            boot_id: "b".into(),
            transition: "2026-11-27T20:00:00Z".into(),
            at: Duration::from_secs(17),
        }),
        kernels: Some(Kernels {
            boot_id: "b".into(),
            running: "6.1.0-44-amd64".into(),
            before: Some("6.1.0-40-amd64".into()),
        }),
        uncordoned: Some(Uncordoned { boot_id: "b".into(), at: Duration::from_secs(90) }),
        asked_since: BTreeMap::from([(Source::SentinelCommand, Duration::from_secs(1_700_000_000))]),
        hooks: BTreeMap::from([(
            Hook::BeforeDrain,
            HookRun {
                boot_id: "b".into(),
                turn: Duration::from_secs(5),
                asked: Duration::from_secs(6),
                before: "i".into(),
            },
        )]),
    }
}

/// What the file holds then.
fn stored(path: &Path) -> Vec<u8> {
    store(path, &everything()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_is_stored_is_read_again() {
    let path = temporary("roundtrip");
    store(&path, &everything()).unwrap();
    assert_eq!(load(&path).unwrap(), everything());
}

#[test]
fn what_the_first_version_wrote_is_understood() {
    let path = temporary("first");
    let reboot = r#"{"version": 1, "last_reboot": {"boot_id": "a", "seconds_since_1970": 7}}"#;
    fs::write(&path, reboot).unwrap();
    let last = load(&path).unwrap().last_reboot.unwrap();
    assert_eq!((last.ending, last.cordoned_for()), (None, None), "nothing is known of it");
    assert_eq!(last, LastReboot { boot_id: "a".into(), at: Duration::from_secs(7), ..Default::default() });
}

#[test]
fn an_ending_that_another_version_knows_is_unknown() {
    let path = temporary("ending");
    let reboot = r#"{"boot_id": "a", "seconds_since_1970": 7, "ending": "in-tears"}"#;
    fs::write(&path, format!(r#"{{"version": 1, "last_reboot": {reboot}}}"#)).unwrap();
    assert_eq!(load(&path).unwrap().last_reboot.unwrap().ending, None);
}

#[test]
fn missing_is_empty_and_garbage_is_an_error() {
    let path = temporary("garbage");
    let _ = fs::remove_file(&path);
    assert_eq!(load(&path).unwrap(), Memory::default());
    fs::write(&path, "{\"version\": 1, \"setback\":").unwrap();
    assert!(load(&path).is_err());
    fs::write(&path, "{\"version\": 2}").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn a_file_that_ends_too_early_is_an_error_wherever_it_ends() {
    let path = temporary("truncated");
    let whole = stored(&path);
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(load(&path).is_err(), "{length} bytes: {:?}", load(&path));
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(load(&path).unwrap(), everything());
}

#[test]
fn a_wrong_byte_anywhere_never_ends_the_daemon() {
    let path = temporary("flipped");
    let whole = stored(&path);
    for place in 0..whole.len() {
        for byte in [0, b'"', b'9', b'-', b'}', 0xff] {
            let mut wrong = whole.clone();
            wrong[place] = byte;
            fs::write(&path, wrong).unwrap();
            // Some of them still say something.
            let _ = load(&path);
        }
    }
}

#[test]
fn what_a_newer_version_has_added_is_ignored() {
    let path = temporary("added");
    let text = String::from_utf8(stored(&path)).unwrap();
    let newer = text
        .replacen('{', r#"{"moods": [{"boot_id": 1}],"#, 1)
        .replace(r#""turn":"#, r#""colour": null, "turn":"#);
    let newer = newer.replace(
        r#""hooks": {"#,
        r#""hooks": {"before-breakfast": {"boot_id": "b", "turn": 1, "asked": 1, "before": ""},"#,
    );
    fs::write(&path, newer.replace(r#""annotation""#, r#""a-source-to-come", "annotation""#)).unwrap();
    assert_eq!(load(&path).unwrap(), everything());
}

#[test]
fn what_cannot_be_read_is_set_aside_and_the_memory_begins_anew() {
    let path = temporary("aside");
    let aside = path.with_file_name("state.json.unread");
    for content in
        [&b"{\"version\": 2, \"mood\": 7}"[..], b"", b"\xff\0", &vec![b'['; 100_000], &vec![b' '; 2 << 20]]
    {
        fs::write(&path, content).unwrap();
        assert_eq!(recall(&path), Memory::default());
        assert_eq!(fs::read(&aside).unwrap(), content);
        store(&path, &everything()).unwrap();
        assert_eq!((recall(&path), fs::read(&aside).unwrap().as_slice()), (everything(), content));
    }
    let _ = fs::remove_file(&path);
    assert_eq!(recall(&path), Memory::default());
    fs::create_dir_all(&path).unwrap();
    // A file stands where a directory would be set aside: it stays, and is told.
    assert_eq!(recall(&path), Memory::default());
    assert!(path.is_dir());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
