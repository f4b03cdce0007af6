//! Content in, message out: what is refused, what is written, and that the two ways
//! of rendering cannot be told apart.

// In tests an unwrap is an assertion, in their helper functions too.
use mail::{DeliveryId, ShardId, Timestamp};
use mail_parser::{MessageParser, MimeHeaders};
use message::{
    Content, ContentError, Envelope, Mailbox, Message, Recipient, RenderError, Template,
};
use proptest::prelude::*;

fn content() -> Content {
    Content {
        from: Mailbox {
            name: Some("Société Générale des Eaux".into()),
            address: "news@example.org".parse().unwrap(),
        },
        reply_to: None,
        subject: "Bonjour {{ first }}".into(),
        text: Some("Hello {{ first }},\nyour code is {{code}}.\n".into()),
        html: Some("<p>Hello <b>{{ first }}</b>,\n<a href=\"{{ url }}\">here</a></p>\n".into()),
        derive_text: false,
        headers: vec![("X-Campaign".into(), "spring {{ code }}".into())],
        fields: vec!["first".into(), "code".into(), "url".into()],
    }
}

const ENVELOPE: Envelope<'static> = Envelope {
    delivery: DeliveryId { shard: ShardId(3), seq: 0x1f40 },
    message_id: "3-1f40.abc@example.org",
    date: Timestamp(1_709_210_096_007),
    unsubscribe_url: Some("https://example.org/u/abcdefg"),
    unsubscribe_mailto: Some("u-abcdefg@example.org"),
    feedback_id: Some("c1:t1:bulk:example"),
};

fn render(content: &Content, values: &[&str]) -> Result<String, RenderError> {
    let template = Template::compile(content).expect("valid content");
    let address = "ann@example.com".parse().unwrap();
    let recipient = Recipient { address: &address, name: Some("Ann"), values };
    let mut out = Message::default();
    template.render(&recipient, &ENVELOPE, None, &mut out)?;
    Ok(String::from_utf8(out.joined()).expect("utf-8"))
}

/// The same content, made such that only the template language can render it.
fn with_logic(content: &Content) -> Content {
    let logic = |t: &String| format!("{t}{{% if false %}}x{{% endif %}}");
    Content {
        subject: logic(&content.subject),
        text: content.text.as_ref().map(logic),
        html: content.html.as_ref().map(logic),
        headers: content.headers.iter().map(|(n, v)| (n.clone(), logic(v))).collect(),
        ..content.clone()
    }
}

#[test]
fn a_message_has_all_its_parts() {
    let mail = render(&content(), &["Ann", "K7", "https://x.example/?a=1&b=2"]).unwrap();
    let expected = "From: =?utf-8?B?U29jacOpdMOpIEfDqW7DqXJhbGUgZGVzIEVhdXg=?=\r\n \
        <news@example.org>\r\n\
        To: Ann <ann@example.com>\r\n\
        Subject: Bonjour Ann\r\n\
        X-Campaign: spring K7\r\n\
        Date: Thu, 29 Feb 2024 12:34:56 +0000\r\n\
        Message-ID: <3-1f40.abc@example.org>\r\n\
        List-Unsubscribe: <https://example.org/u/abcdefg>,\r\n <mailto:u-abcdefg@example.org>\r\n\
        List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
        Feedback-ID: c1:t1:bulk:example\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: multipart/alternative;\r\n boundary=\"=_3-1f40\"\r\n\
        \r\n\
        --=_3-1f40\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        Hello Ann,\r\nyour code is K7.\r\n\
        --=_3-1f40\r\n\
        Content-Type: text/html; charset=utf-8\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        <p>Hello <b>Ann</b>,\r\n\
        <a href=\"https:&#x2f;&#x2f;x.example&#x2f;?a=1&amp;b=2\">here</a></p>\r\n\
        --=_3-1f40--\r\n";
    assert_eq!(mail, expected);
}

#[test]
fn merge_values_cannot_break_out() {
    let evil = "A\r\nBcc: x@example.net\r\n\r\n<script>\0--=_3-1f40--";
    let mail = render(&content(), &[evil, "K7", ""]).unwrap();
    let parsed = MessageParser::default().parse(&mail).expect("a message");
    assert!(parsed.bcc().is_none());
    assert_eq!(parsed.text_body_count() + parsed.html_body_count(), 2);
    assert_eq!(parsed.attachment_count(), 0);
    assert!(parsed.body_html(0).unwrap().contains("&lt;script&gt;"));
    assert!(!mail.contains('\0'));
    assert!(mail.contains("quoted-printable"), "a boundary in the text forbids 7bit");
}

#[test]
fn what_a_value_may_link_to_is_filtered_where_the_template_asks_for_it() {
    let content = Content {
        html: Some("<a href=\"{{ url|link }}\">{{ first }}</a>".into()),
        text: Some("{{ url | link }}".into()),
        ..content()
    };
    let shown = |url: &str| {
        let mail = render(&content, &["Ann", "K7", url]).unwrap();
        let parsed = MessageParser::default().parse(&mail).expect("a message");
        let html = parsed.body_html(0).unwrap().replace("&#x2f;", "/");
        let href = html.strip_prefix("<a href=\"").unwrap().split_once('"').unwrap();
        assert_eq!(href.1, ">Ann</a>", "{html}");
        assert_eq!(parsed.body_text(0).unwrap(), href.0.replace("&quot;", "\""));
        href.0.to_owned()
    };
    for good in ["https://x.example/?a", "HTTP://x.example", "mailto:a@example.org", "tel:+331"] {
        assert_eq!(shown(good), good);
    }
    assert_eq!(
        shown(" https://x.example/\" onclick=\"x"),
        "https://x.example/&quot; onclick=&quot;x"
    );
    for bad in [
        "javascript:alert(1)",
        " JaVaScRiPt:x",
        "java\tscript:x",
        "data:text/html,x",
        "//x.example",
        "x",
        "",
        "é",
        "httpsé:",
    ] {
        assert_eq!(shown(bad), "", "{bad:?}");
    }
}

#[test]
fn other_scripts_read_back() {
    let mail = render(&content(), &["漢字 😀 é", "عربى", "u"]).unwrap();
    assert!(mail.is_ascii());
    let parsed = MessageParser::default().parse(&mail).expect("a message");
    assert_eq!(parsed.subject(), Some("Bonjour 漢字 😀 é"));
    assert_eq!(parsed.body_text(0).unwrap(), "Hello 漢字 😀 é,\r\nyour code is عربى.");
    assert!(parsed.part(1).unwrap().content_type().unwrap().subtype() == Some("plain"));
}

#[test]
fn templates_may_have_logic() {
    let mut with = content();
    with.html = None;
    with.text = Some("{% if code %}{{ code|upper }}{% else %}none{% endif %}".into());
    assert!(render(&with, &["A", "k7", ""]).unwrap().ends_with("\r\n\r\nK7\r\n"));
    assert!(render(&with, &["A"]).unwrap().ends_with("\r\n\r\nnone\r\n"));
}

#[test]
fn faulty_content_is_refused_with_its_place() {
    type Change = fn(&mut Content);
    let cases: &[(Change, &str)] = &[
        (|c| (c.text, c.html) = (None, None), "has neither text nor html: give at least one"),
        (
            |c| c.text = Some("a\rb".into()),
            "text: a lone CR at offset 1: end lines with LF or CRLF",
        ),
        (|c| c.html = Some("a\0".into()), "html: control character '\\0' at offset 1: remove it"),
        (
            |c| c.subject = "a\r\nBcc: b".into(),
            "subject: control character '\\r' at offset 1: remove it",
        ),
        (
            |c| c.text = Some("{{ frist }}".into()),
            "text: unknown merge field \"frist\", did you mean \"first\"?",
        ),
        (|c| c.html = Some("{{ zzz }}".into()), "html: unknown merge field \"zzz\""),
        (
            |c| c.text = Some("a\n{{ first".into()),
            "text: line 2: syntax error: unexpected end of input, expected end of variable block",
        ),
        (
            |c| c.text = Some("a\n{{ first|uper }}".into()),
            "text: line 2: unknown filter: filter uper is unknown",
        ),
        (
            |c| c.headers = vec![("X Y".into(), String::new())],
            "header \"X Y\": a name is printable ASCII without spaces and colons",
        ),
        (
            |c| c.headers = vec![("DKIM-Signature".into(), String::new())],
            "header \"DKIM-Signature\" is written by the relay and cannot be given",
        ),
        (
            |c| c.headers = vec![("content-Type".into(), String::new())],
            "header \"content-Type\" is written by the relay and cannot be given",
        ),
        (
            |c| c.headers = vec![("X-A".into(), "b\nc".into())],
            "X-A: control character '\\n' at offset 1: remove it",
        ),
        (
            |c| c.fields.push("e-mail".into()),
            "field \"e-mail\": a name is a letter or _, then letters, digits and _",
        ),
        (
            |c| c.fields.push("code".into()),
            "field \"code\" is declared twice or reserved by the template language",
        ),
        (
            |c| c.from.name = Some("x".repeat(300)),
            "display name: 300 octets are too many, at most 250 are taken",
        ),
        (
            |c| c.text = Some("x".repeat(6 << 20)),
            "text: 6291456 octets are too many, at most 5242880 are taken",
        ),
    ];
    for (change, expected) in cases {
        let mut faulty = content();
        change(&mut faulty);
        let error = Template::compile(&faulty).map(|_| ()).expect_err(expected);
        assert_eq!(error.to_string().replace("\"?", "\""), expected.replace("\"?", "\""));
    }
}

#[test]
fn what_has_no_end_is_stopped() {
    let mut endless = content();
    endless.html = None;
    endless.text = Some(
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}".into(),
    );
    let error = Template::compile(&endless).map(|_| ()).expect_err("out of fuel");
    assert!(matches!(error, ContentError::Syntax { .. }), "{error}");

    let mut large = content();
    large.html = None;
    large.text = Some("{{ code }}".repeat(100));
    let value = "x".repeat(900_000);
    assert_eq!(render(&large, &["", &value, ""]), Err(RenderError::TooLarge));
}

/// Each of them would take gigabytes or minutes.
#[test]
fn no_template_loops_or_explodes() {
    let doubled = format!("{{% set x = code %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(40));
    let value = "x".repeat(20_000);
    for template in [
        "{% for a in range(9999) %}{{ code }}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 90000000 }}",
        "{{ code|indent(900000000, true) }}",
        "{{ code|replace('x', code) }}",
        "{{ range(99999)|join(code) }}",
        doubled.as_str(),
    ] {
        let began = std::time::Instant::now();
        let content = Content { text: Some(template.into()), html: None, ..content() };
        let rendered = Template::compile(&content)
            .map_err(|error| error.to_string())
            .and_then(|_| render(&content, &["", &value, ""]).map_err(|error| error.to_string()));
        assert!(rendered.is_err(), "{template}: {} octets", rendered.unwrap().len());
        assert!(began.elapsed().as_secs() < 20, "{template}: {:?}", began.elapsed());
    }
}

#[test]
fn text_is_made_from_html_unless_somebody_says_no() {
    let derive = Content { text: None, derive_text: true, ..content() };
    let values = ["Ann & Bob", "K7", "https://x.example/?a=1&b=2"];
    let mail = render(&derive, &values).unwrap();
    let parsed = MessageParser::default().parse(&mail).expect("a message");
    let text = parsed.body_text(0).unwrap();
    assert_eq!(text, "Hello Ann & Bob, here (https://x.example/?a=1&b=2)");
    let html = parsed.body_html(0).unwrap();
    assert!(html.contains("Hello <b>Ann &amp; Bob</b>"), "values are escaped there: {html}");
    let alone = render(&Content { derive_text: false, ..derive.clone() }, &values).unwrap();
    assert!(!alone.contains("text/plain"), "{alone}");
    let pictures = Content { html: Some("<img src='x.png'>".into()), ..derive };
    assert!(!render(&pictures, &values).unwrap().contains("text/plain"), "no words, no part");
}

#[test]
fn an_envelope_cannot_carry_headers() {
    let template = Template::compile(&content()).unwrap();
    let address = "ann@example.com".parse().unwrap();
    let recipient = Recipient { address: &address, name: None, values: &[] };
    let envelope = Envelope { feedback_id: Some("a\r\nBcc: b"), ..ENVELOPE };
    let mut out = Message::from(b"before".to_vec());
    assert!(template.render(&recipient, &envelope, None, &mut out).is_err());
    assert!(out.is_empty());
}

fn value() -> impl Strategy<Value = String> {
    "([ -~]{0,30}|.{0,20}|[\\n\\r\\t <>&\"'/=.]{0,12}|x{990,1010})"
}

fn template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -z|}~\\n\\t=é漢]{0,60}",
        "\\{[a-z ][a-z ]{0,5}",
        Just("{{ first }}".to_owned()),
        Just("{{code}}".to_owned()),
        Just("{{\nurl }}".to_owned()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn both_ways_of_rendering_give_the_same_octets(
        text in template(), html in template(), values in proptest::collection::vec(value(), 0..4)
    ) {
        let content = Content { text: Some(text), html: Some(html), ..content() };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let merged = render(&content, &values);
        prop_assert_eq!(&merged, &render(&with_logic(&content), &values));
        prop_assert_eq!(&merged, &render(&content, &values));
    }

    #[test]
    fn any_script_reads_back_and_adds_no_header(
        subject in "(.{0,60}|[\\r\\n:a-z \\t=?\"<>@,é]{0,200})", name in "\\PC{0,40}"
    ) {
        let mut content = content();
        content.subject = "{{ first }}".into();
        content.from.name = Some(name.clone());
        content.headers = vec![("X-Note".into(), "{{ first }}".into())];
        let mail = render(&content, &[&subject]).unwrap();
        prop_assert!(mail.is_ascii());
        let parsed = MessageParser::default().parse(&mail).expect("a message");
        let words = |text: &str| {
            let plain = text.replace(char::is_control, " ");
            plain.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        prop_assert_eq!(words(parsed.subject().unwrap_or_default()), words(&subject));
        let from = parsed.from().and_then(|from| from.first()).expect("a sender");
        prop_assert_eq!(from.address(), Some("news@example.org"));
        prop_assert_eq!(words(from.name().unwrap_or_default()), words(&name));
        let names: Vec<&str> = parsed.headers().iter().map(|h| h.name()).collect();
        prop_assert_eq!(names, [
            "From", "To", "Subject", "X-Note", "Date", "Message-ID", "List-Unsubscribe",
            "List-Unsubscribe-Post", "Feedback-ID", "MIME-Version", "Content-Type",
        ]);
    }

    #[test]
    fn lines_end_in_crlf_and_are_short(
        text in template(), values in proptest::collection::vec(value(), 0..4)
    ) {
        let content = Content { text: Some(text), html: None, ..content() };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let mail = render(&content, &values).unwrap();
        prop_assert!(mail.ends_with("\r\n"));
        for line in mail.split("\r\n") {
            prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n', '\0']), "{:?}", line);
        }
    }
}
