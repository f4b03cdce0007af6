//! What the program makes of mail and replies that a person hands it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const REPORT: &[u8] = include_bytes!("../../mail/tests/returned/postfix/postfix-unknown-user.eml");
const REPLY: &[u8] = include_bytes!("../../mail/tests/returned/people/human-reply.eml");

/// Whether it ended well, what it printed, and what it complained of.
fn bounces(folder: &Path, words: &[&str], input: &[u8]) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_malleposte"))
        .arg("bounces")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_file_has_its_line_in_order_and_a_bad_one_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("mails/sub");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(below.join("b.eml"), REPORT).unwrap();
    std::fs::write(dir.path().join("mails/z.eml"), REPLY).unwrap();
    std::fs::write(dir.path().join("mails/a.eml"), b"\0\xff\xfe").unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("mails/circle")).unwrap();
    let (is_good, out, err) = bounces(dir.path(), &["parse", "--json", "mails", "gone.eml"], b"");
    let told = lines(&out);
    let names: Vec<&str> = told.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.eml", "sub/b.eml", "z.eml", "gone.eml"]);
    let kinds: Vec<&str> = told.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["other", "failure", "other", "other"]);
    let failure = &told[1]["failures"][0];
    assert_eq!(
        (&failure["category"], &failure["hygiene"]),
        (&json!("no-mailbox"), &json!("suppress"))
    );
    assert!(!is_good && err.contains("gone.eml: cannot be read"), "{err}");
    assert!(told[3]["error"].as_str().unwrap().contains("cannot be read"), "{}", told[3]);
    let (is_good, out, _) = bounces(dir.path(), &["parse", "--lang", "fr", "-"], REPORT);
    assert!(
        is_good && out.starts_with("-: failure\n") && out.contains("Utilisateur inconnu"),
        "{out}"
    );
}

#[test]
fn each_reply_is_answered_in_order_and_a_bad_line_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let asked = "{\"stage\": \"rcpt\", \"reply\": \"552 5.2.2 mailbox full\"}\n\nnonsense\n\
                 {\"reply\": \"421 4.7.28 unusual rate of mail, your DKIM domain\", \"at\": \"gmail.com\"}\n";
    let (is_good, out, _) = bounces(dir.path(), &["classify", "--json"], asked.as_bytes());
    let told = lines(&out);
    assert!(!is_good && told.len() == 3, "{out}");
    assert_eq!(
        (&told[0]["category"], &told[0]["permanence"]),
        (&json!("mailbox-full"), &json!("temporary"))
    );
    assert_eq!(told[1]["line"], "nonsense");
    assert!(told[2]["rule"].as_str().unwrap().starts_with("gmail/"), "{}", told[2]);
    let (is_good, out, _) =
        bounces(dir.path(), &["classify"], b"{\"reply\": \"550 5.1.1 no such user\"}");
    assert!(is_good && out.contains("no-mailbox (permanent)"), "{out}");
}

#[test]
fn what_is_particular_is_told_in_words_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let asked = b"{\"reply\": \"552 5.3.4 message size exceeds fixed limit 10485760\"}";
    let (is_good, out, _) = bounces(dir.path(), &["classify", "--json", "--lang", "fr"], asked);
    let told = &lines(&out)[0]["explanation"];
    assert!(is_good && told["what"].as_str().unwrap().contains("10 Mo"), "{out}");
    assert_eq!((&told["particular"], &told["meant"]), (&json!("size-limit"), &Value::Null));
    let (_, out, _) = bounces(dir.path(), &["classify"], asked);
    assert!(out.contains("larger than the 10 MB that"), "{out}");
    let (_, out, _) = bounces(dir.path(), &["parse", "--json", "-"], REPORT);
    let told = &lines(&out)[0]["failures"][0]["explanation"];
    assert!(told["todo"].as_str().unwrap().contains("no longer written to"), "{out}");
}

#[test]
fn the_guide_is_written_in_both_languages_and_forms() {
    let dir = tempfile::tempdir().unwrap();
    let (is_good, out, _) = bounces(dir.path(), &["guide"], b"");
    assert!(is_good && out == include_str!("../../docs/GUIDE.md"));
    let (is_good, out, _) =
        bounces(dir.path(), &["guide", "--lang", "fr", "--format", "html"], b"");
    assert!(is_good && out.starts_with("<!DOCTYPE html>\n<html lang=\"fr\">"), "{out}");
    let (is_good, _, err) = bounces(dir.path(), &["guide", "--format", "pdf"], b"");
    assert!(!is_good && err.contains("neither md nor html"), "{err}");
}

#[test]
fn where_no_bounce_processor_keeps_mail_nothing_is_said_to_be_well() {
    let dir = tempfile::tempdir().unwrap();
    let (is_good, out, err) = bounces(dir.path(), &["unmatched"], b"");
    assert!(
        !is_good && out.is_empty() && err.contains("the bounce processor's host"),
        "{out}{err}"
    );
}
