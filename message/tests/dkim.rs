//! Signatures are checked by people who did not write them: mail-auth's verifier,
//! and Debian's opendkim where it is installed.

// In tests an unwrap is an assertion, in their helper functions too.
#![allow(clippy::unwrap_used)]

mod verifier;

use std::process::Command;

use mail::{Domain, Timestamp};
use message::{Algorithm, Key, KeyError, Message, Signer, generate, generate_rsa_2048};
use verifier::{Published, passes};

const MESSAGE: &[u8] =
    b"From: a <a@example.org>\r\nTo: b@example.com\r\nSubject:  two  blanks\r\n \
    and a fold\r\nDate: Thu, 29 Feb 2024 12:34:56 +0000\r\nMessage-ID: <x@example.org>\r\n\
    List-Unsubscribe: <https://example.org/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\
    \r\nFeedback-ID: a:b:c:d\r\nX-Other: not signed\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
    one \t two \r\n.\r\n\r\nlast\r\n\r\n\r\n";

const AT: Timestamp = Timestamp(1_709_210_096_007);

fn signer() -> (Signer, String, Vec<u8>) {
    let (key, record) = generate_rsa_2048().unwrap();
    let domain: Domain = "example.org".parse().unwrap();
    (Signer::rsa(&key, &domain, "s2024").unwrap(), record, key)
}

/// The message, signed.
fn signed(signer: &Signer) -> Vec<u8> {
    let mut mail = Message::from(MESSAGE.to_vec());
    signer.sign(AT, &mut mail).unwrap();
    mail.joined()
}

fn read(algorithm: Algorithm, selector: &str) -> (Key, String) {
    let (key, record) = generate(algorithm).unwrap();
    (Key::read(algorithm, &key, selector).unwrap(), record)
}

/// A signer with a key of each algorithm, and its records by selector.
fn signer_of(algorithms: &[Algorithm]) -> (Signer, Published) {
    let domain: Domain = "example.org".parse().unwrap();
    let (mut keys, mut published) = (Vec::new(), Vec::new());
    for algorithm in algorithms {
        let selector = format!("s-{algorithm}");
        let (key, record) = read(*algorithm, &selector);
        assert_eq!(key.record(), record);
        published.push((selector, record));
        keys.push(key);
    }
    (Signer::new(&domain, keys).unwrap(), Published(published))
}

async fn verified(mail: &[u8], record: &str) -> bool {
    let keys = Published(vec![("s2024".to_owned(), record.to_owned())]);
    passes(mail, &keys).await == [true]
}

#[tokio::test]
async fn a_signature_is_verified_by_others() {
    let (signer, record, _) = signer();
    let mail = signed(&signer);
    assert!(mail.ends_with(MESSAGE));
    let text = String::from_utf8(mail.clone()).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
    assert!(text.contains("list-unsubscribe-post:") && text.contains("feedback-id:"), "{text}");
    assert!(verified(&mail, &record).await, "{text}");
}

/// Octets beyond ASCII are neither folded nor blanks: they are signed as they go out (RFC 8616, 3).
#[tokio::test]
async fn a_sender_beyond_ascii_is_signed_as_it_goes_out() {
    let (signer, record, _) = signer();
    let text = String::from_utf8(MESSAGE.to_vec()).unwrap();
    let text = text.replace("From: a <a@example.org>", "From: a  <j\u{fc}rgen\u{a0}@example.org>");
    let text = text.replace("Date:", "Reply-To: \u{30e1}\u{3000}\u{85}@example.org\r\nDate:");
    let mut mail = Message::from(text.into_bytes());
    signer.sign(AT, &mut mail).unwrap();
    let mail = mail.joined();
    assert!(verified(&mail, &record).await, "{}", String::from_utf8_lossy(&mail));
    let another = String::from_utf8(mail).unwrap().replace('\u{fc}', "ue");
    assert!(!verified(another.as_bytes(), &record).await);
}

#[tokio::test]
async fn ed25519_signs_alone_or_beside_rsa() {
    for algorithms in [
        &[Algorithm::Ed25519][..],
        &[Algorithm::Rsa, Algorithm::Ed25519],
        &[Algorithm::Ed25519, Algorithm::Rsa],
    ] {
        let (signer, published) = signer_of(algorithms);
        let mail = signed(&signer);
        assert!(mail.ends_with(MESSAGE));
        let text = String::from_utf8(mail.clone()).unwrap();
        let named: Vec<&str> =
            text.lines().filter_map(|l| l.split_once("; s=s-")?.1.strip_suffix(';')).collect();
        assert_eq!(named, algorithms.iter().map(|a| a.as_str()).collect::<Vec<_>>(), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
        assert_eq!(passes(&mail, &published).await, vec![true; algorithms.len()], "{text}");
        // Each signature stands by itself: a receiver that drops one still verifies the other.
        let at = text.rfind("DKIM-Signature:").unwrap();
        assert_eq!(passes(&mail[at..], &published).await, [true], "{text}");
        for (from, to) in [("one \t two", "one two three"), ("Feedback-ID: a", "Feedback-ID: b")] {
            let changed = text.replacen(from, to, 1);
            let results = passes(changed.as_bytes(), &published).await;
            assert_eq!(results, vec![false; algorithms.len()], "{from}");
        }
    }
}

/// The key of RFC 8463, A.1 and A.2.
#[test]
fn an_ed25519_record_is_what_the_rfc_shows() {
    use base64::Engine;
    let seed = base64::engine::general_purpose::STANDARD
        .decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
        .unwrap();
    // The PKCS#8 frame of RFC 8410, 7.
    let frame = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = [&frame[..], &seed].concat();
    let key = Key::read(Algorithm::Ed25519, &der, "brisbane").unwrap();
    assert_eq!(key.record(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    assert_eq!(
        Key::read(Algorithm::Ed25519, pem(&der).as_bytes(), "brisbane").unwrap().record(),
        key.record()
    );
}

#[tokio::test]
async fn a_changed_message_is_not_verified() {
    let (signer, record, _) = signer();
    let mail = signed(&signer);
    let text = String::from_utf8(mail).unwrap();
    for (from, to) in [
        ("one \t two", "one two three"),
        ("a@example.org>", "c@example.org>"),
        ("<https://example.org/u>", "<https://example.net/u>"),
        ("Subject:", "Subject: added\r\nSubject:"),
        ("Feedback-ID: a", "Feedback-ID: b"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(!verified(text.replacen(from, to, 1).as_bytes(), &record).await, "{from}");
    }
    // What relaxed forgives: blanks, and lines added at the end.
    let blanks = text.replacen("one \t two ", "one two", 1) + "\r\n";
    assert!(verified(blanks.as_bytes(), &record).await);
}

#[test]
fn the_same_message_signed_again_is_the_same() {
    let (signer, ..) = signer();
    assert_eq!(signed(&signer), signed(&signer));
}

#[test]
fn keys_are_read_or_refused() {
    let (signer, record, der) = signer();
    let domain: Domain = "example.org".parse().unwrap();
    let pem = pem(&der);
    assert_eq!(Key::read(Algorithm::Rsa, pem.as_bytes(), "s").unwrap().record(), record);
    assert!(matches!(Key::read(Algorithm::Ed25519, &der, "s"), Err(KeyError::NotEd25519(_))));
    let (ed25519, _) = generate(Algorithm::Ed25519).unwrap();
    assert!(matches!(Key::read(Algorithm::Rsa, &ed25519, "s"), Err(KeyError::NotAKey(_))));
    assert!(matches!(Signer::new(&domain, Vec::new()), Err(KeyError::None)));
    assert!(matches!("dsa".parse::<Algorithm>(), Err(KeyError::Algorithm(a)) if a == "dsa"));
    for bad in [&b"nonsense"[..], b"", &der[..100], b"-----BEGIN PRIVATE KEY-----\n!\n"] {
        assert!(matches!(Signer::rsa(bad, &domain, "s"), Err(KeyError::NotAKey(_))));
    }
    for bad in ["", "a b", "a;p=", "a\r\nb", "a..b"] {
        assert!(matches!(Signer::rsa(&der, &domain, bad), Err(KeyError::Selector(_))), "{bad:?}");
    }
    assert!(!format!("{signer:?}").contains("PRIVATE"));
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[test]
fn opendkim_verifies_too() {
    if Command::new("opendkim").arg("-V").output().is_err() {
        eprintln!("SKIPPED: opendkim is not installed (package opendkim)");
        return;
    }
    let (signer, record, _) = signer();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("keys"), format!("s2024._domainkey.example.org {record}\n")).unwrap();
    let settings = format!("Mode v\nTestDNSData file:{}\n", path("keys").display());
    std::fs::write(path("settings"), settings).unwrap();
    let mail = signed(&signer);
    for (name, replaced, verifies) in [("good", "one", true), ("bad", "none", false)] {
        let text = String::from_utf8(mail.clone()).unwrap();
        std::fs::write(path(name), text.replacen("one", replaced, 1)).unwrap();
        let output = Command::new("opendkim")
            .args(["-x".as_ref(), path("settings").as_os_str(), "-t".as_ref()])
            .arg(path(name))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said.contains("succeeded"), verifies, "{name}: {said}");
        println!("{said}");
    }
}
