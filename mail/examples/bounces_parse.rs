//! Prints what `mail::returned` makes of each file given, one JSON object a line,
//! in the order given. A folder stands for all files below it.

use std::path::{Path, PathBuf};

use mail::returned::{self, Returned};
use serde_json::{Value, json};

fn main() {
    for argument in std::env::args().skip(1) {
        let root = PathBuf::from(argument);
        let mut files = Vec::new();
        collect(&root, &mut files);
        files.sort();
        for file in files {
            let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
            match std::fs::read(&file) {
                Ok(raw) => println!("{}", line(&name, &returned::parse(&raw))),
                Err(error) => eprintln!("{name}: cannot read: {error}"),
            }
        }
    }
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|e| collect(&e.path(), into)),
        Err(_) => into.push(path.to_owned()),
    }
}

fn line(file: &str, returned: &Returned) -> Value {
    let failures: Vec<Value> = returned
        .failures
        .iter()
        .map(|f| {
            json!({
                "recipient": f.recipient,
                "status": f.status.map(|s| s.to_string()),
                "category": f.finding.category,
                "permanence": f.finding.permanence,
                "hygiene": f.finding.hygiene,
                "scope": f.finding.scope,
                "rule": f.finding.rule,
                "confidence": f.finding.confidence,
                "diagnostic": f.diagnostic,
            })
        })
        .collect();
    json!({ "file": file, "kind": returned.kind, "failures": failures })
}
