//! Lines and what is said about them.

use super::*;

fn form() -> Form {
    Form {
        fields: vec!["first".into(), "points".into()],
        defaults: vec![None, Some("0".into())],
        zones: false,
        files: false,
        line_max: 1000,
        shards: 4,
    }
}

/// Whom a good line is about, and its values.
type Good = (String, Vec<Option<String>>);

/// Reason and detail of a bad line.
fn read(line: &str) -> Result<Good, (Reason, String)> {
    let mut scratch = Scratch::default();
    let form = form();
    match scratch.read(line.as_bytes(), &form) {
        Ok(line) => {
            let values = line.values().map(|v| v.map(str::to_owned)).collect();
            Ok((format!("{} <{}> {}", line.name, line.address, line.folded), values))
        }
        Err(fault) => Err((fault.reason, fault.detail)),
    }
}

#[test]
fn good_lines_are_read() {
    let some = |s: &str| Some(s.to_owned());
    let cases = [
        (
            r#"{"email":"Ann@Example.org","merge":{"first":"Ann"}}"#,
            " <Ann@example.org> ann@example.org",
            vec![some("Ann"), None],
        ),
        (
            r#"{"merge":{"points":12.5,"first":true},"name":"Ann \"A\"","email":"a@b.example"}"#,
            "Ann \"A\" <a@b.example> a@b.example",
            vec![some("true"), some("12.5")],
        ),
        (
            r#"{"email":"a@b.example","merge":{"first":"","points":null}}"#,
            " <a@b.example> a@b.example",
            vec![some(""), None],
        ),
        (
            "{\"email\":\"\\u00c9@b.example\",\"merge\":{\"first\":\"a\\n\\tb\",\"points\":-3}}\r",
            " <É@b.example> é@b.example",
            vec![some("a\n\tb"), some("-3")],
        ),
    ];
    for (line, whom, values) in cases {
        assert_eq!(read(line), Ok((whom.to_owned(), values)), "{line}");
    }
}

#[test]
fn bad_lines_are_refused_with_their_reason() {
    let cases = [
        ("{", Reason::MalformedJson, "EOF"),
        ("\"ann@example.org\"", Reason::MalformedJson, "expected an object"),
        (r#"{"email":"a@b.example","merge":{"first":"x"}} {}"#, Reason::MalformedJson, "trailing"),
        (
            "{\"email\":\"a@b.example\",\"merge\":{\"first\":\"a\tb\"}}",
            Reason::MalformedJson,
            "control character",
        ),
        (r#"{"merge":{"first":"x"}}"#, Reason::NoAddress, "email"),
        (
            r#"{"email":"ana@@example.org","merge":{"first":"x"}}"#,
            Reason::BadAddress,
            "\"ana@@example.org\" has a character",
        ),
        (r#"{"email":7,"merge":{"first":"x"}}"#, Reason::BadValue, "must be text"),
        (
            r#"{"email":"a@b.example","merge":{"frist":"x"}}"#,
            Reason::UnknownField,
            "\"frist\": this campaign has first, points",
        ),
        (r#"{"email":"a@b.example","merge":{"points":1}}"#, Reason::MissingField, "\"first\""),
        (r#"{"email":"a@b.example"}"#, Reason::MissingField, "\"first\""),
        (
            r#"{"email":"a@b.example","mail":1,"merge":{"first":"x"}}"#,
            Reason::UnknownKey,
            "\"mail\"",
        ),
        (
            r#"{"email":"a@b.example","email":"c@b.example","merge":{"first":"x"}}"#,
            Reason::UnknownKey,
            "twice",
        ),
        (
            r#"{"email":"a@b.example","merge":{"first":"x","first":"y"}}"#,
            Reason::UnknownKey,
            "twice",
        ),
        (r#"{"email":"a@b.example","merge":{"first":"a\r\nb"}}"#, Reason::BadValue, "control"),
        (r#"{"email":"a@b.example","merge":{"first":"a\u0085b"}}"#, Reason::BadValue, "control"),
        (
            r#"{"email":"a@b.example","name":"a\nBcc: x","merge":{"first":"x"}}"#,
            Reason::BadValue,
            "name",
        ),
        (r#"{"email":"a@b.example","merge":{"first":["x"]}}"#, Reason::BadValue, "a list"),
        (r#"{"email":"a@b.example","merge":{"first":{"x":[1]}}}"#, Reason::BadValue, "an object"),
        (
            r#"{"email":"a@b.example","merge":{"first":4111111111111111111111}}"#,
            Reason::BadValue,
            "quote it",
        ),
    ];
    for (line, reason, detail) in cases {
        let (got, text) = read(line).expect_err(line);
        assert_eq!(got, reason, "{line}: {text}");
        assert!(text.contains(detail), "{line}: {text}");
    }
    assert_eq!(read("\u{1}").unwrap_err().0, Reason::MalformedJson);
    let deep = format!("{{\"email\":{}", "[".repeat(5000));
    assert_eq!(read(&deep).unwrap_err().0, Reason::MalformedJson);
}
