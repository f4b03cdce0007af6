//! The guide as CommonMark.

use std::fmt::Write as _;

use super::labels::Labels;
use super::{Chapter, Entry};

pub(super) fn page(labels: &Labels, chapters: &[Chapter]) -> String {
    let mut text = format!("# {}\n\n{}\n", labels.title, escaped(labels.about));
    for chapter in chapters {
        let _infallible = write!(text, "\n## {}\n\n{}\n", chapter.title, escaped(chapter.about));
        for entry in &chapter.entries {
            push(&mut text, labels, entry);
        }
    }
    text
}

fn push(text: &mut String, labels: &Labels, entry: &Entry) {
    let title = match entry.title {
        "" => format!("`{}`", entry.word),
        title => format!("{title} (`{}`)", entry.word),
    };
    let _infallible = write!(text, "\n### {title}\n\n");
    let mut line = |label: &str, value: &str| {
        let _infallible = writeln!(text, "- **{label}**{}{}", labels.colon, escaped(value));
    };
    line(labels.what, entry.plain.what);
    line(labels.todo, entry.plain.todo);
    if let Some(address) = &entry.address {
        line(labels.address, address);
    }
    if let Some(again) = entry.again {
        line(labels.again, again);
    }
    if !entry.particulars.is_empty() {
        let _infallible = writeln!(text, "- **{}**{}", labels.particulars, labels.colon.trim_end());
        for particular in &entry.particulars {
            let _infallible = writeln!(text, "  - {}", escaped(particular));
        }
    }
    if let Some(example) = entry.example {
        let _infallible = writeln!(text, "- **{}**{}`{example}`", labels.example, labels.colon);
    }
}

/// What would be markup elsewhere.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '#' | '|') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}
