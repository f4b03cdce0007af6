//! What happened by any criterion, the newest first, a line or an object each.

use std::io::{self, Write as _};

use anyhow::Result;
use ledger::{Cursor, Entry, Ledger, TraceFilter};
use mail::plain::{Lang, explain_told, phrase};
use mail::reply::clean_text;
use serde_json::{Value, json};

/// Entries asked for at once.
const PAGE: usize = 200;

/// Prints up to `limit` entries, or all where that is 0, and how to go on.
pub(super) fn print(
    ledger: &Ledger,
    filter: &TraceFilter,
    (limit, mut cursor): (usize, Option<Cursor>),
    (is_json, lang): (bool, Lang),
) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut shown = 0;
    loop {
        let room = if limit == 0 { PAGE } else { PAGE.min(limit - shown) };
        let page = ledger.trace(filter, room, cursor)?;
        for entry in &page.entries {
            match is_json {
                true => writeln!(out, "{}", object(entry, lang))?,
                false => writeln!(out, "{}", line(entry, lang))?,
            }
        }
        out.flush()?;
        shown += page.entries.len();
        cursor = page.next;
        if cursor.is_none() || (limit > 0 && shown >= limit) {
            break;
        }
    }
    if shown == 0 {
        eprintln!("nothing fits");
    } else if let Some(cursor) = cursor {
        eprintln!("there is more: --after {cursor}");
    }
    Ok(())
}

fn object(entry: &Entry, lang: Lang) -> Value {
    let mut told = json!(entry);
    told["explanation"] = json!(explain_told(&entry.event, lang));
    told
}

fn line(entry: &Entry, lang: Lang) -> String {
    let event = &entry.event;
    let at = event.at.to_string().replace('T', " ");
    let why = event.category.map(|category| format!(" [{category}]")).unwrap_or_default();
    let campaign = event.campaign.map(|campaign| campaign.to_string()).unwrap_or_default();
    let reply = event.reply.as_ref().map(ToString::to_string).unwrap_or_default();
    let parts = [
        &event.recipient,
        &campaign,
        &event.service,
        &event.source,
        &event.site,
        &reply,
        &event.note,
    ];
    let parts = parts.iter().filter(|part| !part.is_empty()).map(|part| clean_text(part));
    let rest: Vec<String> = parts.collect();
    format!(
        "{}  {}{why}  {}",
        at.get(..19).unwrap_or(&at),
        phrase(event.kind, lang),
        rest.join("  ")
    )
}
