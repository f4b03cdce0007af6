//! `malleposte providers` as people type it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn malleposte(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleposte"));
    let output = command.current_dir(dir).env_remove("RUST_LOG").args(words).output();
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// What is asked, the exit status, and what it says.
const ASKED: &[(&[&str], i32, &str)] = &[
    (
        &[],
        0,
        "gmail                     4–50       50     10/s    12  *.google.com, *.googlemail.com\n",
    ),
    (
        &["list"],
        0,
        "orange                    2–50      100     10/s     9  *.orange.fr, *.wanadoo.fr\n",
    ),
    (&["show", "wanadoo.fr"], 0, "connections_start                2  C egressif.io"),
    (&["show", "smtp-in.sfr.fr"], 0, "after a block it rests for 2 h, and for 4 h at most"),
    (&["show", "qq"], 0, "the recipient goes again, not before 1 h"),
    (&["show", "nobody.example"], 1, "no provider is known by \"nobody.example\""),
    (&["check"], 0, "21 providers, "),
    (&["check", "/nowhere/at/all"], 1, "/nowhere/at/all: cannot be read"),
    (
        &["classify", "--at", "gmail.com", "421 4.7.28 unusual rate of mail from your DKIM domain"],
        0,
        "rule      gmail/sender-quota, its own",
    ),
    (
        &["classify", "--mx", "mx1.qq.com", "--phase", "mail", "550 Ip frequency limited"],
        0,
        "the recipient goes again, not before 1 h",
    ),
    (
        &["classify", "--site", "(mx1|mx2).example.org", "550 5.1.1 user unknown"],
        0,
        "provider  none is known; the general rules decide",
    ),
    (&["classify", "--at", "gmail", "over quota"], 1, "\"over quota\" is no reply"),
    (&["classify", "--at", "gmail", "--phase", "lunch", "421 x"], 2, "is none of dns, connect"),
    (&["export", "out", "gmial"], 1, "\"gmial\" is not built in; built in are apple"),
];

#[test]
fn people_ask_about_providers() {
    let dir = tempfile::tempdir().expect("a folder");
    for (words, status, says) in ASKED {
        let words: Vec<&str> = ["providers"].iter().chain(*words).copied().collect();
        let (code, out, err) = malleposte(dir.path(), &words);
        assert_eq!(code, *status, "{words:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(says), "{words:?}: {out}{err}");
    }
}

#[test]
fn what_is_exported_can_be_edited_and_a_mistake_is_told_by_file_and_rule() {
    let dir = tempfile::tempdir().expect("a folder");
    let ask = |words: &[&str]| malleposte(dir.path(), words);
    let (code, out, err) = ask(&["providers", "export", "own", "gmail", "orange"]);
    assert!(code == 0 && out.starts_with("2 written to own, 0 left as they are"), "{out}{err}");
    let (_, out, _) = ask(&["providers", "check", "own"]);
    assert!(out.starts_with("own: 2 files over the built-in ones; 21 providers, "), "{out}");

    std::fs::write(dir.path().join("malleposte.toml"), "relay.providers = 'own'").expect("written");
    let gmail = dir.path().join("own/gmail.toml");
    let text = std::fs::read_to_string(&gmail).expect("exported");
    let edited = text.replace("connections_start = 5", "connections_start = 1");
    std::fs::write(&gmail, &edited).expect("written");
    let (_, out, _) = ask(&["providers"]);
    assert!(out.contains("gmail                     1–50 "), "{out}");
    let (code, out, err) = ask(&["providers", "export", "own"]);
    assert!(code == 0 && out.starts_with("19 written to own, 2 left as they are"), "{out}{err}");
    assert_eq!(std::fs::read_to_string(&gmail).expect("there"), edited);

    std::fs::write(&gmail, edited.replacen("over quota", "over kwota", 1)).expect("written");
    for words in [&["check"][..], &["providers", "check"], &["providers"]] {
        let (code, out, err) = ask(words);
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}: {err}");
        let told = "gmail.toml: rule \"full\": does not claim its example \"452 4.2.2 The email";
        assert!(err.contains(told), "{words:?}: {err}");
    }
    let (code, out, _) = ask(&["providers", "check", "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["ok"], &told["faults"][0]["rule"]), (1, &false.into(), &"full".into()));
}

#[test]
fn programs_ask_about_providers() {
    let dir = tempfile::tempdir().expect("a folder");
    let ask = |words: &[&str]| -> Value {
        let (code, out, err) = malleposte(dir.path(), words);
        assert_eq!(code, 0, "{words:?}: {err}");
        serde_json::from_str(&out).expect("JSON")
    };
    let list = ask(&["providers", "--json"]);
    assert_eq!(list["providers"].as_array().map(Vec::len), Some(21));
    let comcast = ask(&["providers", "show", "comcast", "--json"]);
    assert_eq!(comcast["pace"]["connections_max"], 25);
    assert_eq!(comcast["rules"][0]["finding"]["hold_s"], 300);
    let line = "550 Mailbox unavailable or access denied";
    let heard = ask(&["providers", "classify", "--json", "--at", "qq.com", line]);
    assert_eq!(heard["provider"], "qq");
    assert_eq!(heard["finding"]["hygiene"], "none");
    assert_eq!(heard["finding"]["retry_s"], 3600);
}
