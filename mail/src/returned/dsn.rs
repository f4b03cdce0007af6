//! Delivery status notifications (RFC 3464, RFC 6533): the machine's part of a
//! report, also where it stands in a plain text or lacks its blank lines.

use std::borrow::Cow;
use std::collections::HashSet;

use super::answer::{self, Answer, Prose};
use super::fields::{self, Field};
use super::mime::Parts;
use super::original::OriginalRefs;
use super::section::{self, Section};
use super::text;
use super::{Action, FailedRecipient};
use crate::category::{Phase, Report};
use crate::classify::fold;
use crate::reply::{EnhancedStatus, clean_text};

/// Recipients for whom the prose of a report is looked through too.
const PROSE_FOR_MAX: usize = 20;

/// Reads the recipients of a report. `None` when it has no block about a recipient.
pub(super) fn read(
    parts: &Parts,
    status: &[Field],
    refs: &OriginalRefs,
) -> Option<(Report, Vec<FailedRecipient>)> {
    let fields: Cow<'_, [Field]> = match parts.delivery_status.is_empty() {
        true => status_in_text(parts).into(),
        false => status.into(),
    };
    let blocks = recipients(&fields);
    if blocks.is_empty() {
        return None;
    }
    let prose = Section::of(parts);
    let late = prose.says_delayed(parts);
    let single = blocks.len() == 1;
    let mut seen = HashSet::new();
    let mut all: Vec<FailedRecipient> = Vec::new();
    for block in &blocks {
        let who = (value(block, "original-recipient"), value(block, "final-recipient"));
        if seen.insert((who, value(block, "action"))) && all.len() < super::RECIPIENTS_MAX {
            // The prose rarely says more, and looking through it costs more than the block.
            let about = match single {
                true => About::All(&prose),
                false if all.len() < PROSE_FOR_MAX => About::Some(&prose),
                false => About::Nothing,
            };
            all.push(recipient(block, about, late));
        }
    }
    if let [one] = all.as_mut_slice()
        && one.recipient.is_none()
    {
        one.recipient = text::only_recipient(parts, refs, &prose.text);
    }
    let kind = kind_of(&all)?;
    let kept = if kind == Report::Failure { Action::Failed } else { Action::Delayed };
    all.retain(|r| r.action == kept);
    Some((kind, all))
}

/// The fields of a text that is a status part.
fn status_in_text<'a>(parts: &'a Parts) -> Vec<Field<'a>> {
    let is_status = |text: &&String| {
        contains_line(text, "final-recipient:")
            && (contains_line(text, "action:") || contains_line(text, "status:"))
    };
    // A person who quotes a report in an answer is no mail system.
    match text::is_of_a_person(parts) {
        true => Vec::new(),
        false => parts.texts.iter().filter(is_status).flat_map(|t| fields::parse(t)).collect(),
    }
}

fn contains_line(text: &str, start: &str) -> bool {
    text.lines().any(|l| l.get(..start.len()).is_some_and(|l| l.eq_ignore_ascii_case(start)))
}

/// The fields, recipient by recipient. A blank line parts two recipients, and so
/// does a field that a recipient has once and that comes again.
fn recipients<'a>(fields: &'a [Field<'a>]) -> Vec<Vec<&'a Field<'a>>> {
    const ONCE: &[&str] = &["final-recipient", "original-recipient", "action", "status"];
    let mut blocks: Vec<Vec<&Field>> = Vec::new();
    let mut block: Vec<&Field> = Vec::new();
    for field in fields {
        let again = ONCE.iter().any(|name| field.is(name)) && has(&block, &field.name);
        if field.after_blank || again {
            keep(&mut blocks, std::mem::take(&mut block));
        }
        block.push(field);
    }
    keep(&mut blocks, block);
    blocks
}

fn keep<'a>(blocks: &mut Vec<Vec<&'a Field<'a>>>, block: Vec<&'a Field<'a>>) {
    let about_one = has(&block, "final-recipient") || has(&block, "original-recipient");
    if about_one {
        blocks.push(block);
    } else if let Some(last) = blocks.last_mut()
        && has(&block, "diagnostic-code")
        && !has(last, "diagnostic-code")
    {
        // A blank line too many, in the middle of a recipient.
        last.extend(block);
    }
}

fn has(block: &[&Field], name: &str) -> bool {
    block.iter().any(|f| f.is(name))
}

fn value<'a>(block: &[&'a Field<'a>], name: &str) -> Option<&'a str> {
    block.iter().find(|f| f.is(name)).map(|f| &*f.value)
}

/// What the prose of a report says about a recipient.
enum About<'a> {
    /// It is the only one.
    All(&'a Section),
    /// The lines that name it.
    Some(&'a Section),
    /// It is not looked through.
    Nothing,
}

impl About<'_> {
    /// The text, its folded form, and at which step it says that the answer came.
    fn told(&self, address: Option<&str>) -> (Cow<'_, str>, Cow<'_, str>, Phase) {
        match self {
            Self::All(section) => {
                (section.text.as_str().into(), section.folded.as_str().into(), section.phase())
            }
            Self::Some(section) => {
                let text = section::about(&section.text, address.unwrap_or("\0"));
                let folded = fold(&text);
                let phase = answer::phase(&folded);
                (text.into(), folded.into(), phase)
            }
            Self::Nothing => ("".into(), " ".into(), Phase::Returned),
        }
    }
}

fn recipient(block: &[&Field], prose: About<'_>, late: bool) -> FailedRecipient {
    let original = value(block, "original-recipient").and_then(fields::address);
    let last = value(block, "final-recipient").and_then(fields::address);
    let said = diagnosis(block);
    let field = answer::status_field(block);
    let found = answer::find(said);
    let status = clearest(found.status, field.status);
    let code = found.code.or(field.code);
    let action = action_of(block, field.status.or(status), late);
    let about = last.as_deref().or(original.as_deref());
    let (more, folded, phase) = prose.told(about);
    let spoken = if said.is_empty() { &more } else { said };
    let (status, code) = if said.is_empty() && code.is_none() {
        let found: Answer<'_> = answer::find(spoken);
        (clearest(found.status, status), found.code)
    } else {
        (status, code)
    };
    let phase = match phase {
        Phase::Returned => answer::phase(&fold(said)),
        told => told,
    };
    let wrapped = found.text.len() < said.len() && said.contains("error 550-'");
    let heard = if wrapped { found.text } else { spoken };
    let prose = Prose { text: &more, folded: &folded };
    let finding = answer::meaning(phase, code, status, heard, prose);
    FailedRecipient {
        final_recipient: last.clone().filter(|l| original.as_ref().is_some_and(|o| o != l)),
        recipient: original.or(last),
        status,
        code,
        action,
        diagnostic: clean_text(spoken),
        finding,
    }
}

/// The diagnosis without its type; where there is none, the comment in `Status`.
fn diagnosis<'a>(block: &[&'a Field<'a>]) -> &'a str {
    let own = value(block, "diagnostic-code").or_else(|| value(block, "x-supplementary-info"));
    if let Some(own) = own.filter(|v| !v.trim().is_empty()) {
        return match own.split_once(';') {
            Some((kind, rest)) if !kind.contains(' ') && !rest.trim().is_empty() => rest.trim(),
            _ => own,
        };
    }
    let status = value(block, "status").unwrap_or_default();
    status.split_once(' ').map_or("", |(_, rest)| rest.trim())
}

/// `5.0.0` says nothing; the status in the answer is the refusing server's own.
fn clearest(said: Option<EnhancedStatus>, field: Option<EnhancedStatus>) -> Option<EnhancedStatus> {
    let vague = |s: &EnhancedStatus| s.1 == 0 && s.2 == 0;
    said.filter(|s| !vague(s)).or(field.filter(|s| !vague(s))).or(said).or(field)
}

fn action_of(block: &[&Field], status: Option<EnhancedStatus>, late: bool) -> Action {
    let word = value(block, "action").unwrap_or_default().to_ascii_lowercase();
    let word = word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    match (word, status) {
        ("delayed" | "delay" | "deferred", _) => Action::Delayed,
        ("delivered" | "deliverable", _) => Action::Delivered,
        ("relayed", _) => Action::Relayed,
        ("expanded", _) => Action::Expanded,
        ("failed" | "failure" | "expired" | "rejected", _) => Action::Failed,
        _ if late => Action::Delayed,
        (_, Some(EnhancedStatus(2, _, _))) => Action::Delivered,
        _ => Action::Failed,
    }
}

fn kind_of(all: &[FailedRecipient]) -> Option<Report> {
    let any = |action: Action| all.iter().any(|r| r.action == action);
    if all.is_empty() {
        None
    } else if any(Action::Failed) {
        Some(Report::Failure)
    } else if any(Action::Delayed) {
        Some(Report::Delayed)
    } else {
        Some(Report::Delivered)
    }
}
