//! Messages with files: what is written, that it reads back, and that a message in pieces is
//! signed like the same message in one.
//!
//! `tests/files/NAME.eml` is what a message must be, with LF for CRLF.

// In tests an unwrap is an assertion, in their helper functions too.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{DeliveryId, Domain, ShardId, Timestamp};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use message::{
    Algorithm, Content, Envelope, FileHead, Files, Key, Mailbox, Message, Piece, Recipient, Signer,
    Template,
};
use proptest::prelude::*;

use crate::verifier::{Published, passes};

const ENVELOPE: Envelope<'static> = Envelope {
    delivery: DeliveryId { shard: ShardId(3), seq: 0x1f40 },
    message_id: "3-1f40.abc@example.org",
    date: Timestamp(1_709_210_096_007),
    unsubscribe_url: None,
    unsubscribe_mailto: None,
    feedback_id: None,
};

/// The smallest picture that PNG knows.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1f, 0x15, 0xc4,
    0x89, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x00, 0x01, 0x00, 0x00,
    0x05, 0x00, 0x01, 0x0d, 0x0a, 0x2d, 0xb4, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae,
    0x42, 0x60, 0x82,
];
const CSV: &[u8] = b"month;price\r\n.hidden;1\r\n\r\nMarch;2  \r\n\r\n";

fn template(text: Option<&str>, html: Option<&str>) -> Template {
    Template::compile(&Content {
        from: Mailbox { name: None, address: "news@example.org".parse().unwrap() },
        reply_to: None,
        subject: "Prices for {{ first }}".into(),
        text: text.map(str::to_owned),
        html: html.map(str::to_owned),
        derive_text: false,
        headers: vec![],
        fields: vec!["first".into()],
    })
    .unwrap()
}

fn file(name: &str, media_type: &str, content_id: Option<&str>) -> FileHead {
    FileHead::new(name, media_type, content_id).unwrap()
}

fn logo() -> FileHead {
    file("logo.png", "image/png", Some("logo@example.org"))
}

fn prices() -> FileHead {
    file("prices 2026.csv", "text/csv; charset=utf-8", None)
}

fn encode(template: &Template, files: &[(FileHead, &[u8])], cut: usize) -> Files {
    let lengths = files.iter().map(|(head, octets)| (head, octets.len() as u64));
    let mut builder = template.encode_files(lengths);
    for (head, octets) in files {
        builder.add(head, octets.chunks(cut).map(Ok::<_, ()>)).unwrap();
    }
    builder.finish().unwrap()
}

fn render(template: &Template, files: &Files, value: &str) -> Message {
    let address = "ann@example.com".parse().unwrap();
    let recipient = Recipient { address: &address, name: Some("Ann"), values: &[value] };
    let mut message = Message::default();
    template.render(&recipient, &ENVELOPE, Some(files), &mut message).unwrap();
    message
}

#[test]
fn messages_are_what_the_examples_show() {
    const TEXT: Option<&str> = Some("Dear {{ first }},\n.see below\n");
    const HTML: Option<&str> =
        Some("<p>Dear {{ first }}</p>\n<img src=\"cid:logo@example.org\">\n");
    let foreign = || file("Übersicht März – 漢字 \"neu\".pdf", "application/pdf", None);
    type Case = (&'static str, Template, Vec<(FileHead, &'static [u8])>);
    let cases: Vec<Case> = vec![
        ("attachment", template(TEXT, None), vec![(prices(), CSV)]),
        ("inline", template(None, HTML), vec![(logo(), PNG)]),
        ("inline-alternative", template(TEXT, HTML), vec![(logo(), PNG)]),
        (
            "both",
            template(TEXT, HTML),
            vec![(prices(), CSV), (logo(), PNG), (foreign(), b"%PDF-1.7\n")],
        ),
        ("inline-without-html", template(TEXT, None), vec![(logo(), PNG)]),
        ("alternative-attachment", template(TEXT, HTML), vec![(foreign(), b"%PDF-1.7\n")]),
    ];
    for (name, template, files) in cases {
        let message = render(&template, &encode(&template, &files, 7), "Ann").joined();
        let shown = String::from_utf8(message).unwrap().replace("\r\n", "\n");
        let path = format!("{}/tests/files/{name}.eml", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(shown == expected, "{path} differs from:\n{shown}");
    }
}

#[test]
fn files_cost_a_message_nothing_of_its_own() {
    let template = template(None, Some("<img src=\"cid:logo@example.org\">"));
    let large = vec![7; 3 << 20];
    let files = encode(&template, &[(logo(), PNG), (prices(), &large)], 1 << 18);
    let (one, other) = (render(&template, &files, "Ann"), render(&template, &files, "Bob"));
    let of = |message: &Message| -> (usize, Vec<*const u8>) {
        let mut own = 0;
        let shared = message.pieces().iter().filter_map(|piece| match piece {
            Piece::Own(octets) => {
                own += octets.len();
                None
            }
            Piece::Shared(shared) => Some(shared.octets().as_ptr()),
        });
        let shared = shared.collect();
        (own, shared)
    };
    let ((own, shared), (_, same)) = (of(&one), of(&other));
    assert!(own < 1500, "{own}");
    assert_eq!((shared.len(), &shared), (2, &same), "the same octets, not equal ones");
    assert_eq!(one.len(), own + files.octets());
    assert_eq!(one.len(), one.joined().len());
}

#[test]
fn a_value_cannot_end_a_part() {
    let template = template(Some("{{ first }}\n"), Some("<p>{{ first }}</p>\n"));
    let files = encode(&template, &[(prices(), CSV), (logo(), PNG)], 57);
    for evil in ["--=_mixed", "\n--=_related--\n", "--=_3-1f40\n", "--=_mixed--\n--=_3-1f40--"] {
        let mail = render(&template, &files, evil).joined();
        let parsed = MessageParser::default().parse(&mail).unwrap();
        assert_eq!((parsed.text_body_count(), parsed.html_body_count()), (1, 1), "{evil:?}");
        let text = parsed.body_text(0).unwrap().replace("\r\n", "\n");
        assert_eq!(text.trim_end(), evil.trim_end());
        assert_eq!(attached(&parsed).len(), 2, "{evil:?}");
    }
}

type Attached = (Option<String>, String, Option<String>, Vec<u8>);

/// Name, media type, Content-ID and octets of each part that is a file.
fn attached(parsed: &mail_parser::Message<'_>) -> Vec<Attached> {
    let files = parsed.parts.iter().filter(|part| part.content_disposition().is_some());
    let one = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().unwrap();
        let media_type = format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap());
        let octets = match &part.body {
            PartType::Text(_) | PartType::Html(_) => {
                // The parser reads text by its charset; the octets are what was sent.
                let raw = &parsed.raw_message
                    [part.raw_body_offset() as usize..part.raw_end_offset() as usize];
                let lines: Vec<u8> =
                    raw.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
                STANDARD.decode(lines).unwrap()
            }
            _ => part.contents().to_vec(),
        };
        (
            part.attachment_name().map(str::to_owned),
            media_type,
            part.content_id().map(str::to_owned),
            octets,
        )
    };
    files.map(one).collect()
}

fn name() -> impl Strategy<Value = String> {
    "([ -~]{1,40}|\\PC{1,40}|[a-zé漢😀 \"'%*;=.]{1,80}|x{200,255})"
}

fn files() -> impl Strategy<Value = Vec<(FileHead, Vec<u8>)>> {
    let media_type = prop_oneof![
        Just("image/png"),
        Just("application/octet-stream"),
        Just("text/calendar; method=REQUEST; charset=\"utf-8\""),
    ];
    let octets = proptest::collection::vec(any::<u8>(), 1..400);
    let file = (name(), media_type, any::<bool>(), octets);
    proptest::collection::vec(file, 1..6).prop_map(|files| {
        let head =
            |(n, (name, media_type, inline, octets)): (usize, (String, &str, bool, Vec<u8>))| {
                let id = inline.then(|| format!("i{n}"));
                let head = FileHead::new(&name, media_type, id.as_deref()).ok()?;
                Some((head, octets))
            };
        files.into_iter().enumerate().filter_map(head).collect()
    })
}

fn body() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("a {{ first }}\n\n\n")), Just(Some(".\n{{ first }}é"))]
}

/// A signer, and its record.
fn signer() -> &'static (Signer, Published) {
    static SIGNER: LazyLock<(Signer, Published)> = LazyLock::new(|| {
        let (key, record) = message::generate(Algorithm::Ed25519).unwrap();
        let domain: Domain = "example.org".parse().unwrap();
        let key = Key::read(Algorithm::Ed25519, &key, "s").unwrap();
        (Signer::new(&domain, vec![key]).unwrap(), Published(vec![("s".to_owned(), record)]))
    });
    &SIGNER
}

fn verifies(mail: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(passes(mail, &signer().1)) == [true]
}

proptest! {
    #[test]
    fn files_read_back_as_they_were(
        text in body(), html in body(), files in files(), value in "[ -~\\n]{0,40}", cut in 1usize..200
    ) {
        prop_assume!(text.is_some() || html.is_some());
        let template = template(text, html);
        let borrowed: Vec<(FileHead, &[u8])> =
            files.iter().map(|(head, octets)| (head.clone(), octets.as_slice())).collect();
        let encoded = encode(&template, &borrowed, cut);
        prop_assert_eq!(encoded.octets(), encode(&template, &borrowed, 57).octets());
        let mail = render(&template, &encoded, &value).joined();
        prop_assert!(mail.is_ascii() && mail.ends_with(b"\r\n"));
        let lines = mail.split(|b| *b == b'\n');
        prop_assert!(lines.clone().all(|line| line.len() < 998));
        let parsed = MessageParser::default().parse(&mail).expect("a message");
        let mut found = attached(&parsed);
        let mut sent: Vec<Attached> = files.iter().map(|(head, octets)| {
            let essence = head.media_type().split(';').next().unwrap().to_owned();
            let id = head.content_id().map(str::to_owned);
            (Some(head.name().to_owned()), essence, id, octets.clone())
        }).collect();
        // Inline files stand before the others.
        found.sort();
        sent.sort();
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn a_message_in_pieces_is_signed_like_one_in_one_piece(
        text in body(), html in body(), files in files(), value in "[ -~\\n\\t]{0,40}"
    ) {
        prop_assume!(text.is_some() || html.is_some());
        let template = template(text, html);
        let borrowed: Vec<(FileHead, &[u8])> =
            files.iter().map(|(head, octets)| (head.clone(), octets.as_slice())).collect();
        let mut pieces = render(&template, &encode(&template, &borrowed, 57), &value);
        let mut whole = Message::from(pieces.joined());
        signer().0.sign(ENVELOPE.date, &mut pieces).unwrap();
        signer().0.sign(ENVELOPE.date, &mut whole).unwrap();
        prop_assert_eq!(pieces.joined(), whole.joined());
        prop_assert!(verifies(&pieces.joined()));
    }
}
