//! Returned mail by example, a folder for each way to write: each `returned/DIALECT/NAME.eml` is read
//! and compared with `NAME.expected` beside it. A new case is two new files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use mail::returned::{self, Returned};

#[test]
fn each_example_is_understood_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/returned");
    let mut wrong = String::new();
    let mut seen = 0;
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder of examples");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let all = below(&folder).into_iter().flat_map(|dialect| below(&dialect));
    for path in all.filter(|path| path.extension().is_some_and(|e| e == "eml")) {
        seen += 1;
        let raw = std::fs::read(&path).expect("an example");
        let got = written(&returned::parse(&raw));
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        if got != expected {
            let _ = writeln!(wrong, "--- {}\nexpected:\n{expected}got:\n{got}", path.display());
        }
    }
    assert!(seen > 20, "only {seen} examples");
    assert!(wrong.is_empty(), "{wrong}");
}

fn written(returned: &Returned) -> String {
    let mut out = format!("kind: {}\n", returned.kind);
    for f in &returned.failures {
        let _ = writeln!(
            out,
            "recipient: {}, action {}, code {}, status {}\n  {}, {}, hygiene {}, scope {}, signal {}",
            f.recipient.as_deref().unwrap_or("-"),
            f.action,
            f.code.map_or("-".to_owned(), |c| c.to_string()),
            f.status.map_or("-".to_owned(), |s| s.to_string()),
            f.finding.category,
            f.finding.permanence,
            f.finding.hygiene,
            f.finding.scope,
            f.finding.signal,
        );
    }
    if let Some(feedback) = &returned.feedback {
        let _ = writeln!(out, "feedback: {} about {:?}", feedback.kind, feedback.recipients);
    }
    if let Some(id) = &returned.original.message_id {
        let _ = writeln!(out, "message-id: {id}");
    }
    for token in &returned.original.tokens {
        let _ = writeln!(out, "token: {token}");
    }
    out
}
