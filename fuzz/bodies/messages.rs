//! The writer of messages: whatever stands in a template's values, what is rendered has its
//! header fields and no others, no line end but CRLF, no line over 998 octets; and whatever
//! octets are given to the wire, a server reads exactly those, or nothing is written.

use std::sync::LazyLock;

use mail::{Address, DeliveryId, ShardId, Timestamp};
use message::{Content, Envelope, Mailbox, Message, Recipient, Template};
use relay::smtp::stuff_dots;

/// The fields of the message's header and of its parts' headers.
const FIELDS_MAX: usize = 40;

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let content = Content {
        from: Mailbox { name: Some("Société".into()), address: address("news@example.org") },
        reply_to: None,
        subject: "{{ a }} for {{ b }}".into(),
        text: Some("{{ a }}\n.{{ b }}\n".into()),
        html: Some("<p title=\"{{ a }}\">{{ b }}</p>".into()),
        derive_text: false,
        headers: vec![("X-Campaign".into(), "{{ a }}, {{ b }}".into())],
        fields: vec!["a".into(), "b".into()],
    };
    Template::compile(&content).expect("content")
});

static ANN: LazyLock<Address> = LazyLock::new(|| address("ann@example.com"));

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn render(octets: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(octets);
    let (a, b) = text.split_once('|').unwrap_or((&text, ""));
    let envelope = Envelope {
        delivery: DeliveryId { shard: ShardId(3), seq: 8000 },
        message_id: "3-1f40@example.org",
        date: Timestamp(1_709_210_096_007),
        unsubscribe_url: Some("https://example.org/u/abcdefg"),
        unsubscribe_mailto: None,
        feedback_id: Some("c1:t1:bulk:example"),
    };
    let recipient = Recipient { address: &ANN, name: Some(b), values: &[a, b] };
    let mut message = Message::default();
    TEMPLATE.render(&recipient, &envelope, None, &mut message).ok().map(|()| message.joined())
}

/// As a server reads it (RFC 5321, 4.5.2); the rest is what comes after the final dot.
fn read(wire: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut message, mut rest) = (Vec::new(), wire);
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line's end") + 2;
        let (line, after) = rest.split_at(end);
        rest = after;
        if line == b".\r\n" {
            return (message, rest);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
}

fn check_wire(message: &[u8]) -> bool {
    let mut wire = Vec::new();
    let Ok(()) = stuff_dots(message, &mut wire) else {
        assert!(wire.is_empty());
        return false;
    };
    let (read, after) = read(&wire);
    assert_eq!((read.as_slice(), after), (message, &b""[..]));
    // No end that anybody else might see: each CR has its LF, each LF its CR.
    for (at, octet) in wire.iter().enumerate() {
        assert!(*octet != b'\r' || wire.get(at + 1) == Some(&b'\n'));
        assert!(*octet != b'\n' || (at > 0 && wire[at - 1] == b'\r'));
    }
    true
}

/// Panics where a promise is broken.
pub(crate) fn run(octets: &[u8]) {
    check_wire(octets);
    let Some(message) = render(octets) else { return };
    assert!(check_wire(&message));
    let text = String::from_utf8(message).expect("UTF-8");
    assert!(text.split("\r\n").all(|line| line.len() <= 998));
    let (header, _) = text.split_once("\r\n\r\n").expect("a header");
    let fields = header.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    let names: Vec<&str> = fields.map(|f| f.split_once(':').expect("a field").0).collect();
    assert!(names.len() <= FIELDS_MAX);
    for once in ["From", "To", "Subject", "Date", "Message-ID", "X-Campaign", "MIME-Version"] {
        assert_eq!(
            names.iter().filter(|name| name.eq_ignore_ascii_case(once)).count(),
            1,
            "{once}"
        );
    }
}
