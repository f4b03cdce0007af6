//! The strict mode: what is refused, with which reason, and that a right message passes.

use loadtests::Internet;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use rustls::pki_types::PrivateKeyDer;

use crate::internet::client::{Client, start};

const FIELDS: [&str; 7] = [
    "From",
    "Subject",
    "Date",
    "Message-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
];

const MESSAGE: &str = "From: News <a@news.example>\r\nSubject: hello\r\n\
    Date: Thu, 29 Feb 2024 12:34:56 +0000\r\nMessage-ID: <1@news.example>\r\n\
    List-Unsubscribe: <https://u.news.example/1>\r\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:4\r\n\r\n\
    Good morning\r\n.hidden dot\r\n";

async fn strict(what: &str) -> Internet {
    start(&format!("strict = {{ {what} }}\n[manner.one]")).await
}

/// Hands in a body as it is on the wire, without the final dot.
async fn judged(internet: &Internet, wire: &str) -> (u16, String) {
    let mut client = Client::hello(internet).await;
    assert_eq!(client.envelope("ann@one.example").await.0, 250);
    client.body(format!("{wire}.\r\n").as_bytes()).await
}

/// A key for `news.example`, its public half in the zone.
fn key(internet: &Internet) -> RsaKey<Sha256> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let public: String = pair.public_key_pem().lines().filter(|l| !l.starts_with('-')).collect();
    let record = format!("v=DKIM1; k=rsa; p={public}");
    assert!(record.len() > 255, "a record of several strings");
    internet.zone().add_txt("s1._domainkey.news.example", &record);
    let secret = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
    RsaKey::from_key_der(secret).expect("a key")
}

fn signed(key: RsaKey<Sha256>, fields: &[&str], message: &str) -> String {
    let signer =
        DkimSigner::from_key(key).domain("news.example").selector("s1").headers(fields.to_vec());
    let signature = signer.sign(message.as_bytes()).expect("a signature").to_header();
    format!("{signature}{message}")
}

fn stuffed(message: &str) -> String {
    message.replace("\r\n.", "\r\n..")
}

#[tokio::test]
async fn bare_line_feeds_and_carriage_returns_are_refused() {
    let internet = strict("lines = true").await;
    for (wire, rule) in [
        ("Subject: a\r\n\r\none\ntwo\r\n", "bare-lf"),
        ("Subject: a\r\n\r\none\rtwo\r\n", "bare-cr"),
        ("Subject: a\r\n\r\n.one\r\n", "dot-stuffing"),
    ] {
        let (code, text) = judged(&internet, wire).await;
        assert_eq!(code, 550);
        assert!(text.contains(rule), "{text}");
        assert_eq!(internet.book().violations()[rule].count, 1);
    }
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.dots, ann.taken), (3, 0));
    assert_eq!(judged(&internet, &stuffed(MESSAGE)).await.0, 250);
}

#[tokio::test]
async fn a_signed_message_passes_every_check() {
    let internet = strict("lines = true, dkim = true, bulk = true, astray = true").await;
    let wire = stuffed(&signed(key(&internet), &FIELDS, MESSAGE));
    let (code, text) = judged(&internet, &wire).await;
    assert_eq!(code, 250, "{text}");
    assert!(internet.book().violations().is_empty());
}

#[tokio::test]
async fn a_changed_body_breaks_the_signature() {
    let internet = strict("dkim = true").await;
    let wire = stuffed(&signed(key(&internet), &FIELDS, MESSAGE)).replace("morning", "evening");
    let (code, text) = judged(&internet, &wire).await;
    assert_eq!(code, 550);
    assert!(text.contains("dkim"), "{text}");
}

#[tokio::test]
async fn no_signature_and_no_key_are_refused() {
    let internet = strict("dkim = true").await;
    assert!(judged(&internet, &stuffed(MESSAGE)).await.1.contains("no signature verifies"));
    let key = key(&internet);
    internet.zone().remove("s1._domainkey.news.example");
    let (_, text) = judged(&internet, &stuffed(&signed(key, &FIELDS, MESSAGE))).await;
    assert!(text.contains("no signature verifies"), "{text}");
}

#[tokio::test]
async fn a_key_is_seen_as_soon_as_it_is_published() {
    let internet = strict("dkim = true").await;
    let key = key(&internet);
    let record = internet.zone().txt("s1._domainkey.news.example").remove(0);
    internet.zone().remove("s1._domainkey.news.example");
    let wire = stuffed(&signed(key, &FIELDS, MESSAGE));
    assert_eq!(judged(&internet, &wire).await.0, 550);
    let record = String::from_utf8(record).expect("text");
    internet.zone().add_txt("s1._domainkey.news.example", &record);
    assert_eq!(judged(&internet, &wire).await.0, 250);
}

#[tokio::test]
async fn a_signature_must_cover_what_matters() {
    let internet = strict("dkim = true, bulk = true").await;
    let without = |name: &str| FIELDS.into_iter().filter(|f| *f != name).collect::<Vec<_>>();
    let wire = signed(key(&internet), &without("Feedback-ID"), MESSAGE);
    let (_, text) = judged(&internet, &stuffed(&wire)).await;
    assert!(text.contains("Feedback-ID is not in h="), "{text}");
}

#[tokio::test]
async fn a_strangers_signature_is_not_aligned() {
    let internet = strict("dkim = true").await;
    let message = MESSAGE.replace("a@news.example", "a@bank.example");
    let (_, text) = judged(&internet, &stuffed(&signed(key(&internet), &FIELDS, &message))).await;
    assert!(text.contains("alignment"), "{text}");
}

#[tokio::test]
async fn bulk_mail_without_one_click_unsubscription_is_refused() {
    let internet = strict("bulk = true").await;
    let message = MESSAGE.replace("List-Unsubscribe-Post", "X-Post");
    let (_, text) = judged(&internet, &stuffed(&message)).await;
    assert!(text.contains("no List-Unsubscribe-Post"), "{text}");
    let twice = format!("Message-ID: <2@news.example>\r\n{MESSAGE}");
    let (_, text) = judged(&internet, &stuffed(&twice)).await;
    assert!(text.contains("2 times Message-ID"), "{text}");
}

#[tokio::test]
async fn mail_for_another_hosts_domain_went_astray() {
    let internet = start(
        "strict = { astray = true }\n[manner.one]\n[[provider]]\nname = \"two\"\n\
         domains = [\"two.example\"]\nmx = [{ host = \"mx.two.example\", address = \"127.0.0.22\" }]\n\
         manner = \"one\"",
    )
    .await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("bob@two.example").await.0, 554);
    assert_eq!(internet.book().violations()["astray"].count, 1);
}
