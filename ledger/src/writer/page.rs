//! One transaction of a month's file: the events of some frames, what they add up to,
//! and the positions that they leave their shards at.

use std::collections::HashMap;

use mail::queue::{Counters, Judgement};
use mail::{CampaignId, ShardId};
use rusqlite::{CachedStatement, Transaction, params};
use store::{OutboxFrame, Position, Settled};

use super::{Book, Stored};
use crate::dictionary::{Dictionary, Scribe, judgement_word};
use crate::month::Month;
use crate::sums::{book, kind_of};

/// A transaction's worth of writing, and what it makes of the books.
pub(super) struct Page {
    books: HashMap<ShardId, (Position, HashMap<CampaignId, Counters>)>,
    pub(super) stored: Stored,
}

type TallyKey = (i64, i64, i64, i64);

impl Page {
    pub(super) fn draft(
        tx: &Transaction<'_>,
        dictionary: &mut Dictionary,
        books: &HashMap<ShardId, Book>,
        month: Month,
        frames: &[(ShardId, &OutboxFrame)],
    ) -> rusqlite::Result<Self> {
        let mut page = Self { books: HashMap::new(), stored: Stored::default() };
        let mut tallies: HashMap<TallyKey, (i64, i64)> = HashMap::new();
        let mut scribe = Scribe::new(tx)?;
        let mut insert = tx.prepare_cached(INSERT_EVENT)?;
        for (shard, frame) in frames {
            let known = books.get(shard);
            let (position, changed) = page.books.entry(*shard).or_default();
            *position = frame.position;
            let events = match &frame.events {
                Ok(events) => events,
                Err(why) => {
                    keep_aside(tx, *shard, frame, &why.to_string())?;
                    page.stored.set_aside += 1;
                    continue;
                }
            };
            for settled in events {
                insert_event(&mut insert, dictionary, &mut scribe, settled, &mut tallies)?;
                if let Some(campaign) = settled.event.campaign {
                    let before = || known.and_then(|b| b.accounts.get(&campaign)).copied();
                    let sums =
                        changed.entry(campaign).or_insert_with(|| before().unwrap_or_default());
                    book(sums, &settled.event, settled.judgement);
                }
            }
            page.stored.events += events.len() as u64;
        }
        page.write_books(tx, books, month)?;
        write_tallies(tx, &tallies)?;
        Ok(page)
    }

    fn write_books(
        &self,
        tx: &Transaction<'_>,
        books: &HashMap<ShardId, Book>,
        month: Month,
    ) -> rusqlite::Result<()> {
        let mut put_account = tx.prepare_cached(PUT_ACCOUNT)?;
        let mut put_shard =
            tx.prepare_cached("INSERT OR REPLACE INTO shard (shard, position) VALUES (?1, ?2)")?;
        for (shard, (position, changed)) in &self.books {
            // A shard that comes into this month from another brings all its accounts along.
            let moved = books.get(shard).filter(|b| b.home != Some(month));
            let carried = moved.iter().flat_map(|b| &b.accounts);
            for (campaign, sums) in carried.filter(|(c, _)| !changed.contains_key(c)).chain(changed)
            {
                put_account.execute(account_row(*shard, *campaign, sums))?;
            }
            put_shard.execute(params![shard.0, position.to_string()])?;
        }
        Ok(())
    }

    /// The books as they are once the page is committed.
    pub(super) fn turn(&self, books: &mut HashMap<ShardId, Book>, month: Month) {
        for (shard, (position, changed)) in &self.books {
            let book = books.entry(*shard).or_default();
            book.position = *position;
            book.home = Some(month);
            book.accounts.extend(changed.iter().map(|(c, sums)| (*c, *sums)));
        }
    }
}

const INSERT_EVENT: &str = "INSERT INTO event (at, shape, campaign, shard, seq, recipient, attempt,
    bytes, elapsed, age, count, wait, reply, note)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

const PUT_ACCOUNT: &str = "INSERT OR REPLACE INTO account (shard, campaign, accepted, delivered,
    failed, suppressed, expired, cancelled, set_aside, deferrals, late, duplicates, returned,
    complained) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

fn account_row(shard: ShardId, campaign: CampaignId, sums: &Counters) -> [i64; 14] {
    let n = i64_of;
    [
        i64::from(shard.0),
        n(campaign.0),
        n(sums.accepted),
        n(sums.delivered),
        n(sums.failed),
        n(sums.suppressed),
        n(sums.expired),
        n(sums.cancelled),
        n(sums.set_aside),
        n(sums.deferrals),
        n(sums.late),
        n(sums.duplicates),
        n(sums.returned),
        n(sums.complained),
    ]
}

fn insert_event(
    insert: &mut CachedStatement<'_>,
    dictionary: &mut Dictionary,
    scribe: &mut Scribe<'_>,
    settled: &Settled,
    tallies: &mut HashMap<TallyKey, (i64, i64)>,
) -> rusqlite::Result<()> {
    let (event, judgement) = (&settled.event, settled.judgement);
    let kind = kind_of(event, judgement).as_str();
    let shape = dictionary.shape(scribe, event, kind, judgement)?;
    let recipient = some(dictionary.recipient(scribe, &event.recipient)?);
    let reply = event.reply.as_ref().filter(|r| r.code != 250).map(ToString::to_string);
    let reply = some(dictionary.phrase(scribe, reply.as_deref().unwrap_or_default())?);
    let note = some(dictionary.phrase(scribe, &event.note)?);
    let campaign = event.campaign.map(|c| i64_of(c.0));
    insert.execute(params![
        i64_of(event.at.0),
        shape,
        campaign,
        event.delivery.map(|d| d.shard.0),
        event.delivery.map(|d| i64_of(d.seq)),
        recipient,
        some(i64::from(event.attempt)),
        some(i64::from(event.bytes)),
        some(i64::from(event.elapsed_ms)),
        some(i64_of(event.age_ms)),
        (event.count != 1).then_some(event.count),
        event.next_at.map(|next| i64_of(next.0).saturating_sub(i64_of(event.at.0))),
        reply,
        note,
    ])?;
    if judgement != Judgement::Refused {
        let key = (
            campaign.unwrap_or(0),
            dictionary.word(scribe, kind)?,
            dictionary.word(scribe, judgement_word(judgement))?,
            dictionary.word(scribe, event.category.map_or("", |c| c.as_str()))?,
        );
        let tally = tallies.entry(key).or_default();
        tally.0 += i64::from(event.count);
        tally.1 += i64::from(event.bytes);
    }
    Ok(())
}

fn write_tallies(
    tx: &Transaction<'_>,
    tallies: &HashMap<TallyKey, (i64, i64)>,
) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached(
        "INSERT INTO tally (campaign, kind, judgement, category, events, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET events = events + ?5, bytes = bytes + ?6",
    )?;
    for ((campaign, kind, judgement, category), (events, bytes)) in tallies {
        add.execute(params![campaign, kind, judgement, category, events, bytes])?;
    }
    Ok(())
}

fn keep_aside(
    tx: &Transaction<'_>,
    shard: ShardId,
    frame: &OutboxFrame,
    why: &str,
) -> rusqlite::Result<()> {
    let mut keep = tx.prepare_cached(
        "INSERT OR REPLACE INTO set_aside (shard, position, field, octets, why)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let position = frame.position.to_string();
    // A frame without any field is kept too: by its name.
    let nothing = [(String::new(), Vec::new())];
    let fields = if frame.raw.is_empty() { &nothing[..] } else { &frame.raw[..] };
    for (field, octets) in fields {
        keep.execute(params![shard.0, position, field, octets, why])?;
    }
    Ok(())
}

/// Numbers past 2^63 do not occur; a forged one is kept as the largest there is.
fn i64_of(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn some(n: i64) -> Option<i64> {
    (n != 0).then_some(n)
}
