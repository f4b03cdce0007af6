//! The story of one recipient: everything that happened to the address, in order, with
//! what the other side said and what it means in plain words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mail::plain::{Lang, explain_told, phrase};
use mail::queue::BATCH_RECIPIENTS_MAX;
use mail::reply::clean_text;
use mail::{CampaignId, DeliveryId, Timestamp};
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::Ledger;
use crate::chain::events_of;
use crate::entry::{COLUMNS, Entry};
use crate::error::LedgerError;
use crate::month::Month;

/// Entries of a story, the newest: more than a person reads.
const ENTRIES_MAX: usize = 2_000;

/// Everything that happened to one address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    /// The address, in lower case.
    pub address: String,
    /// Delivery by delivery, in the order in which they began.
    pub chapters: Vec<Chapter>,
    /// Whether older entries were left out.
    pub is_cut: bool,
}

/// One delivery, or what happened to the address outside any.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chapter {
    /// The campaign.
    pub campaign: Option<CampaignId>,
    /// The delivery.
    pub delivery: Option<DeliveryId>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

impl Ledger {
    /// A recipient's story. An address that nothing is known of has no chapters.
    ///
    /// # Errors
    /// When the history does not read. A damaged month is left out and named in the log.
    pub fn story(&self, address: &str) -> Result<Story, LedgerError> {
        let address = folded(address);
        let months = Month::list(self.folder())?;
        let mut entries: Vec<Entry> = Vec::new();
        for month in months.iter().rev() {
            let room = (ENTRIES_MAX + 1).saturating_sub(entries.len());
            let found = self.ask(*month, |conn| named(conn, *month, &address, room))?;
            entries.extend(found.unwrap_or_default());
        }
        let is_cut = entries.len() > ENTRIES_MAX;
        entries.truncate(ENTRIES_MAX);
        let deliveries: BTreeSet<DeliveryId> =
            entries.iter().filter_map(|e| e.event.delivery).collect();
        for month in &months {
            let found = self.ask(*month, |conn| unnamed(conn, *month, &deliveries))?;
            entries.extend(found.unwrap_or_default());
        }
        entries.sort_by_key(|e| (e.event.at, e.cursor));
        Ok(Story { address, chapters: chapters(entries), is_cut })
    }
}

/// As the dictionary has it: lower case, the domain as A-labels where it is one.
fn folded(address: &str) -> String {
    let parsed = address.trim().parse::<mail::Address>();
    parsed.map_or_else(|_| address.trim().to_lowercase(), |a| a.folded())
}

fn named(
    conn: &Connection,
    month: Month,
    address: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    Entry::read_all(conn, month, &events_of(conn, address, limit)?)
}

/// What concerns these deliveries without naming the address: the acceptance of their
/// batch, and mail that came back without saying about whom.
fn unnamed(
    conn: &Connection,
    month: Month,
    deliveries: &BTreeSet<DeliveryId>,
) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = conn.prepare(&format!(
        "SELECT {COLUMNS} FROM history WHERE recipient_id IS NULL AND shard = ?1
         AND seq > ?2 - {BATCH_RECIPIENTS_MAX} AND seq <= ?2"
    ))?;
    let mut found = Vec::new();
    for delivery in deliveries {
        let seq = i64::try_from(delivery.seq).unwrap_or(i64::MAX);
        let rows =
            statement.query_map(params![delivery.shard.0, seq], |row| Entry::read(month, row))?;
        for entry in rows {
            let mut entry = entry?;
            let first = entry.event.delivery.map_or(0, |d| d.seq);
            let covers = first + u64::from(entry.event.count) > delivery.seq;
            if covers && entry.event.recipient.is_empty() {
                entry.event.delivery = Some(*delivery);
                found.push(entry);
            }
        }
    }
    Ok(found)
}

fn chapters(entries: Vec<Entry>) -> Vec<Chapter> {
    let mut chapters: Vec<Chapter> = Vec::new();
    for entry in entries {
        let delivery = entry.event.delivery;
        let at = match delivery {
            Some(_) => chapters.iter().position(|c| c.delivery == delivery),
            None => chapters
                .iter()
                .rposition(|c| c.delivery.is_none())
                .filter(|at| at + 1 == chapters.len()),
        };
        match at {
            Some(at) => {
                let chapter = &mut chapters[at];
                chapter.campaign = chapter.campaign.or(entry.event.campaign);
                chapter.entries.push(entry);
            }
            None => {
                let campaign = entry.event.campaign;
                chapters.push(Chapter { campaign, delivery, entries: vec![entry] });
            }
        }
    }
    chapters
}

/// The story as text for a terminal.
#[must_use]
pub fn render_story(story: &Story, lang: Lang) -> String {
    let say = |en, fr| lang.pick(en, fr);
    let mut text = format!("{}\n", clean_text(&story.address));
    if story.chapters.is_empty() {
        let nothing = say("Nothing is known of this address.", "Rien sur cette adresse.");
        let _infallible = writeln!(text, "\n{nothing}");
    }
    if story.is_cut {
        let cut = say("(older entries are left out)", "(les entrées plus anciennes manquent)");
        let _infallible = writeln!(text, "{cut}");
    }
    for chapter in &story.chapters {
        text.push('\n');
        let title = match (chapter.campaign, chapter.delivery) {
            (Some(campaign), Some(delivery)) => {
                let (c, d) = (say("campaign", "campagne"), say("delivery", "envoi"));
                format!("{c} {campaign}, {d} {delivery}")
            }
            (None, Some(delivery)) => format!("{} {delivery}", say("delivery", "envoi")),
            (Some(campaign), None) => format!("{} {campaign}", say("campaign", "campagne")),
            (None, None) => say("the address itself", "l'adresse elle-même").to_owned(),
        };
        let _infallible = writeln!(text, "{title}");
        for entry in &chapter.entries {
            render_entry(&mut text, entry, lang);
        }
    }
    text
}

fn render_entry(text: &mut String, entry: &Entry, lang: Lang) {
    let event = &entry.event;
    let what = phrase(event.kind, lang);
    let why = event.category.map(|c| format!(" [{c}]")).unwrap_or_default();
    let counted = match (entry.judgement.as_str(), lang) {
        ("twice", Lang::En) => "  (sent twice)",
        ("twice", Lang::Fr) => "  (envoyé deux fois)",
        ("refused", Lang::En) => "  (does not count: another relay had taken over)",
        ("refused", Lang::Fr) => "  (ne compte pas : un autre relais avait repris l'envoi)",
        _ => "",
    };
    let _infallible = writeln!(text, "  {}  {what}{why}{counted}", clock(event.at));
    let mut line = |content: &str| {
        if !content.is_empty() {
            let _infallible = writeln!(text, "      {content}");
        }
    };
    if let Some(reply) = &event.reply {
        line(&clean_text(&reply.to_string()));
    }
    line(&clean_text(&event.note));
    line(&circumstances(entry, lang));
    if let Some(plain) = explain_told(event, lang) {
        line(&plain.what);
        line(&plain.todo);
    }
}

/// Attempt, way, duration, what comes next.
fn circumstances(entry: &Entry, lang: Lang) -> String {
    let event = &entry.event;
    let say = |en, fr| lang.pick(en, fr);
    let mut parts = Vec::new();
    if event.attempt > 0 {
        parts.push(format!("{} {}", say("attempt", "essai"), event.attempt));
    }
    let way = [&event.service, &event.source, &event.mx];
    // What came back names the source of what went, and did not take that way itself.
    let way = way[..if event.attempt > 0 { 3 } else { 1 }]
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| clean_text(part))
        .collect::<Vec<_>>()
        .join(" > ");
    match (way.is_empty(), event.attempt) {
        (true, _) => {}
        (false, 0) => parts.push(format!("{} {way}", say("by", "par"))),
        (false, _) => parts.push(way),
    }
    parts.extend(encryption(&event.tls, lang));
    if event.bytes > 0 {
        parts.push(format!("{} {}", event.bytes, say("octets", "octets")));
    }
    if event.elapsed_ms > 0 {
        parts.push(format!("{} ms", event.elapsed_ms));
    }
    if let Some(next) = event.next_at {
        parts.push(format!("{} {}", say("again at", "nouvel essai à"), clock(next)));
    }
    parts.join(", ")
}

/// What an event says of it, in words.
fn encryption(tls: &str, lang: Lang) -> Option<String> {
    let say = |en, fr| lang.pick(en, fr);
    let certificate = match tls.rsplit_once(' ') {
        Some((tls, "verified")) => (tls, say("certificate verified", "certificat vérifié")),
        Some((tls, "unverified")) => {
            (tls, say("certificate not verified", "certificat non vérifié"))
        }
        Some((tls, "mta-sts")) => (
            tls,
            say(
                "certificate verified, as the domain's MTA-STS policy wants it",
                "certificat vérifié, comme le veut la politique MTA-STS du domaine",
            ),
        ),
        Some((tls, "dane")) => {
            (tls, say("certificate authenticated by DANE", "certificat authentifié par DANE"))
        }
        None if tls == "plain" => {
            return Some(say("in plain text: TLS failed", "en clair : TLS a échoué").to_owned());
        }
        None if tls == "failed" => return Some(say("TLS failed", "TLS a échoué").to_owned()),
        Some(_) | None => return (!tls.is_empty()).then(|| clean_text(tls)),
    };
    Some(format!("{} ({})", clean_text(certificate.0), certificate.1))
}

fn clock(at: Timestamp) -> String {
    let c = at.civil();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}
