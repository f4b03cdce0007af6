//! Amazon SES tells of bounces and complaints in JSON, and people have it mailed to
//! them. Only the few strings that matter are picked out; this is no JSON parser.

use super::answer::{self, Prose};
use super::mime::Parts;
use super::{Action, FailedRecipient, fields};
use crate::category::{Phase, Report};
use crate::classify::cut;
use crate::reply::clean_text;

/// Recipients read of one notice.
const RECIPIENTS_MAX: usize = 100;

/// A notice in a text, if there is one.
pub(super) fn read(parts: &Parts) -> Option<(Report, Vec<FailedRecipient>)> {
    let is_notice = |t: &&String| t.contains("\"notificationType") || t.contains("\"eventType");
    let text = parts.texts.iter().find(is_notice)?;
    // A notice inside a notice has its quotes escaped; lines were folded on the way.
    let text = text.replace("\\\"", "\"").replace(['\r', '\n'], "");
    let kind = string(&text, "notificationType").or_else(|| string(&text, "eventType"))?;
    match kind {
        "Bounce" => Some((Report::Failure, recipients(&text))),
        "Complaint" => Some((Report::Complaint, Vec::new())),
        "Delivery" => Some((Report::Delivered, Vec::new())),
        "DeliveryDelay" => Some((Report::Delayed, Vec::new())),
        _ => None,
    }
}

fn recipients(text: &str) -> Vec<FailedRecipient> {
    let list = text.split("Recipients\"").nth(1).unwrap_or_default();
    let list = &list[..list.find(']').unwrap_or(list.len())];
    list.split('{').skip(1).take(RECIPIENTS_MAX).filter_map(recipient).collect()
}

fn recipient(object: &str) -> Option<FailedRecipient> {
    let address = fields::address(string(object, "emailAddress")?)?;
    let said = string(object, "diagnosticCode").unwrap_or_default();
    let said = said.strip_prefix("smtp;").unwrap_or(said).trim();
    let found = answer::find(said);
    let own = string(object, "status").and_then(|s| s.parse().ok());
    let status = found.status.or(own);
    Some(FailedRecipient {
        recipient: Some(address),
        final_recipient: None,
        status,
        code: found.code,
        action: Action::Failed,
        diagnostic: clean_text(said),
        finding: answer::meaning(Phase::Returned, found.code, status, said, Prose::NONE),
    })
}

/// The value of `"name" : "value"`.
fn string<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(cut(&rest[..rest.find('"')?], 2048))
}
