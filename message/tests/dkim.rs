//! Signatures are checked by people who did not write them: mail-auth's verifier,
//! and Debian's opendkim where it is installed.

// In tests an unwrap is an assertion, in their helper functions too.

use std::path::Path;
use std::process::Command;

use mail::{DeliveryId, Domain, ShardId, Timestamp};
use message::{
    Algorithm, Content, Envelope, Key, KeyError, Mailbox, Message, Recipient, Signer, Template,
    generate, generate_rsa_2048,
};

use crate::others;
use crate::verifier::{Published, passes};

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

/// What a relay sends: all of its header fields, two parts, words that are not English.
fn rendered() -> Message {
    let content = Content {
        from: Mailbox {
            name: Some("Société Générale des Eaux".into()),
            address: "news@example.org".parse().unwrap(),
        },
        reply_to: None,
        subject: "Été {{ first }} : tout à moitié prix, et bien plus encore pour les premiers"
            .into(),
        text: Some("Bonjour {{ first }},\n\n.dot \t\n\n\n".into()),
        html: Some(
            "<p>Bonjour <b>{{ first }}</b>, voilà <a href=\"{{ url }}\">ici</a></p>\n".into(),
        ),
        derive_text: false,
        headers: vec![("X-Campaign".into(), "spring  {{ first }}".into())],
        fields: vec!["first".into(), "url".into()],
    };
    let envelope = Envelope {
        delivery: DeliveryId { shard: ShardId(3), seq: 0x1f40 },
        message_id: "3-1f40.abc@example.org",
        date: AT,
        unsubscribe_url: Some("https://example.org/u/abcdefg"),
        unsubscribe_mailto: Some("u-abcdefg@example.org"),
        feedback_id: Some("c1:t1:bulk:example"),
    };
    let address = "ann@example.com".parse().unwrap();
    let values = ["Zoë", "https://x.example/?a=1&b=2"];
    let recipient = Recipient { address: &address, name: Some("Zoë"), values: &values };
    let mut message = Message::default();
    let template = Template::compile(&content).unwrap();
    template.render(&recipient, &envelope, None, &mut message).unwrap();
    message
}

/// Whether Debian's opendkim verifies a message, and what it says.
fn opendkim(program: &Path, mail: &[u8], keys: &Published) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let line = |(selector, record): &(String, String)| {
        format!("{selector}._domainkey.example.org {record}\n")
    };
    std::fs::write(path("keys"), keys.0.iter().map(line).collect::<String>()).unwrap();
    let settings = format!("Mode v\nTestDNSData file:{}\n", path("keys").display());
    std::fs::write(path("settings"), settings).unwrap();
    std::fs::write(path("mail"), mail).unwrap();
    let mut command = Command::new(program);
    let command = command.arg("-x").arg(path("settings")).arg("-t").arg(path("mail"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (said.contains("succeeded"), said)
}

fn opendkim_verifies(algorithm: Algorithm) {
    let Some(program) = others::program_or_skip("opendkim") else { return };
    let known = Command::new(&program).arg("-V").output().unwrap();
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let word = format!("{algorithm}-sha256");
    if !others::is_here(known.contains(&word), &format!("opendkim that knows {word}")) {
        return;
    }
    let (signer, published) = signer_of(&[algorithm]);
    for mut message in [Message::from(MESSAGE.to_vec()), rendered()] {
        signer.sign(AT, &mut message).unwrap();
        let mail = message.joined();
        let (verifies, said) = opendkim(&program, &mail, &published);
        assert!(verifies, "{said}");
        let text = String::from_utf8(mail.clone()).unwrap();
        let subject = text.replacen("\r\nSubject:", "\r\nSubject: not", 1);
        for changed in [subject.into_bytes(), [&mail[..], b"more\r\n"].concat()] {
            assert_ne!(changed, mail);
            let (verifies, said) = opendkim(&program, &changed, &published);
            assert!(!verifies, "{said}");
        }
    }
}

#[test]
fn opendkim_verifies_rsa() {
    opendkim_verifies(Algorithm::Rsa);
}

#[test]
fn opendkim_verifies_ed25519() {
    opendkim_verifies(Algorithm::Ed25519);
}
