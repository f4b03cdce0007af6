//! The states of keys, and records of the version before.

use super::*;

fn key(name: &str, algorithm: &str, at: u64) -> Selector {
    let seal = SealKeys::new(vec![('a', [7; 32])]);
    let signing = SigningKey {
        selector: name.to_owned(),
        algorithm: algorithm.to_owned(),
        pkcs8: b"key".to_vec(),
    };
    let domain = "news.example".parse().expect("a domain");
    Selector::new(&seal, &domain, &signing, format!("p={name}"), Timestamp(at))
}

fn sender(keys: &[(&str, &str, u64)]) -> SenderRecord {
    let mut sender = SenderRecord::new("t");
    for (name, algorithm, at) in keys {
        sender.add(key(name, algorithm, *at)).expect("a free name");
    }
    sender
}

fn shown(sender: &SenderRecord) -> String {
    let keys = sender.selectors.iter().map(|key| format!("{} {}", key.name, key.state));
    keys.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_key_is_published_then_active_then_retired_then_gone() {
    let mut sender = sender(&[("mp1", "rsa", 1), ("mp2", "rsa", 2)]);
    assert_eq!(shown(&sender), "mp1 active, mp2 published");
    assert_eq!(sender.activate("mp2", Timestamp(9)), Ok(Some("mp1".into())));
    assert_eq!(shown(&sender), "mp2 active, mp1 retired");
    assert_eq!(sender.key("mp1").expect("there").since(), Timestamp(9));
    assert_eq!(sender.remove("mp2"), Err(KeyRefused::Signs("mp2".into())));
    assert_eq!(sender.activate("mp2", Timestamp(9)), Err(KeyRefused::Active("mp2".into())));
    sender.remove("mp1").expect("it does not sign");
    let unknown = KeyRefused::Unknown("mp1".into(), "mp2".into());
    assert_eq!(sender.remove("mp1"), Err(unknown));
    assert!(matches!(sender.add(key("mp2", "rsa", 3)), Err(KeyRefused::Taken(_))));
}

#[test]
fn each_algorithm_has_its_active_key_and_one_is_always_left() {
    let mut sender = sender(&[("e1", "ed25519", 1), ("r1", "rsa", 1)]);
    assert_eq!(shown(&sender), "r1 active, e1 active", "RSA first");
    sender.proved_at = Some(Timestamp(1));
    sender.add(key("e2", "ed25519", 5)).expect("a free name");
    assert_eq!(sender.activate("e2", Timestamp(6)), Ok(Some("e1".into())));
    assert_eq!(shown(&sender), "r1 active, e2 active, e1 retired");
    sender.retire("r1", Timestamp(7)).expect("another one signs");
    assert_eq!(sender.retire("e2", Timestamp(8)), Err(KeyRefused::Last("e2".into())));
    assert_eq!(sender.active().count(), 1);
}

#[test]
fn another_algorithm_waits_on_a_domain_that_sends_already() {
    let mut sender = sender(&[("mp1", "rsa", 1)]);
    sender.proved_at = Some(Timestamp(2));
    assert_eq!(sender.add(key("mp2", "ed25519", 3)), Ok(KeyState::Published));
}

/// As the version before wrote it: without states, the signing key in front.
#[derive(Serialize)]
struct Old {
    tenant: &'static str,
    selectors: Vec<OldKey>,
    proved_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct OldKey {
    name: &'static str,
    algorithm: &'static str,
    record: &'static str,
    sealed: Vec<u8>,
    created_at: Timestamp,
}

#[test]
fn records_without_states_sign_with_their_first_key() {
    let old = |name, at| OldKey {
        name,
        algorithm: "rsa",
        record: "p=",
        sealed: vec![1],
        created_at: Timestamp(at),
    };
    let selectors = vec![old("mp2", 5), old("mp1", 1), old("mp3", 9)];
    let packed = pack(1, &Old { tenant: "t", selectors, proved_at: None });
    let read = SenderRecord::unpack("it", &packed).expect("readable");
    assert_eq!(shown(&read), "mp2 active, mp1 retired, mp3 published");
    assert_eq!(read.pack()[0], STATELESS, "the version before may read it");
}

#[test]
fn what_the_version_before_would_misread_it_does_not_read() {
    let mut read = sender(&[("mp1", "rsa", 1), ("mp2", "rsa", 2)]);
    for (step, version) in [("new", 1), ("activated", 1), ("removed", 1), ("ed25519", 2)] {
        match step {
            "activated" => drop(read.activate("mp2", Timestamp(3))),
            "removed" => drop(read.remove("mp1")),
            "ed25519" => {
                read.proved_at = Some(Timestamp(4));
                read.add(key("mp3", "ed25519", 4)).expect("a free name");
            }
            _ => {}
        }
        let packed = read.pack();
        assert_eq!(packed[0], version, "{step}");
        assert_eq!(SenderRecord::unpack("it", &packed).expect("readable"), read, "{step}");
    }
    let alone = sender(&[("mp1", "ed25519", 1)]);
    assert_eq!(alone.pack()[0], VERSION, "it knows no Ed25519");
}
