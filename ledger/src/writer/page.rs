//! One transaction of a month's file: the events of some frames, what they add up to,
//! and the positions that they leave their shards at.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use mail::event::EventKind;
use mail::queue::{Counters, Judgement};
use mail::{CampaignId, Event, ShardId};
use rusqlite::{CachedStatement, Transaction, params};
use store::{OutboxFrame, Position, Settled};

use super::recipients::{Place, Recipients};
use super::rollup::{Busy, Rollup};
use super::ways::Earlier;
use super::{Book, Stored};
use crate::campaigns::Facts;
use crate::dictionary::{Dictionary, Scribe};
use crate::month::Month;
use crate::sums::book;

/// A transaction's worth of writing, and what it makes of the books.
pub(super) struct Page {
    books: HashMap<ShardId, (Position, HashMap<CampaignId, Counters>)>,
    pub(super) stored: Stored,
}

type TallyKey = (i64, i64, i64, i64);

impl Page {
    pub(super) fn draft(
        tx: &Transaction<'_>,
        (dictionary, busy): (&mut Dictionary, &mut Busy),
        books: &HashMap<ShardId, Book>,
        (month, earlier): (Month, &Path),
        frames: &[(ShardId, &OutboxFrame)],
    ) -> rusqlite::Result<Self> {
        let mut page = Self { books: HashMap::new(), stored: Stored::default() };
        let addresses = frames.iter().filter_map(|(_, frame)| frame.events.as_ref().ok()).flatten();
        let addresses = addresses.map(|settled| settled.event.recipient.as_str());
        let mut scribe = Scribe::new(tx)?;
        let (recipients, places) =
            Recipients::find(tx, (&mut *dictionary, &mut scribe), addresses)?;
        let mut places = places.into_iter();
        let mut desk = Desk {
            insert: tx.prepare_cached(INSERT_EVENT)?,
            dictionary,
            scribe,
            recipients,
            earlier: Earlier::of(earlier),
            busy,
            tallies: HashMap::new(),
            rollup: Rollup::default(),
        };
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
                desk.write(settled, places.next().flatten())?;
                if let Some(campaign) = settled.event.campaign {
                    let before = || known.and_then(|b| b.accounts.get(&campaign)).copied();
                    let sums =
                        changed.entry(campaign).or_insert_with(|| before().unwrap_or_default());
                    book(sums, &settled.event, settled.judgement);
                }
            }
            page.stored.events += events.len() as u64;
        }
        debug_assert!(places.next().is_none(), "a place for each event");
        page.write_books(tx, books, month)?;
        write_tallies(tx, &desk.tallies)?;
        desk.recipients.write()?;
        desk.rollup.write(tx)?;
        Ok(page)
    }

    /// Notes whose the campaigns of the page are.
    pub(super) fn name(
        &self,
        tx: &Transaction<'_>,
        named: &mut HashSet<CampaignId>,
        known: &HashMap<CampaignId, Facts>,
    ) -> rusqlite::Result<()> {
        let mut put = tx.prepare_cached(
            "INSERT OR REPLACE INTO campaign (id, tenant, name, sender) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for campaign in self.books.values().flat_map(|(_, changed)| changed.keys()) {
            let Some(facts) = known.get(campaign).filter(|_| !named.contains(campaign)) else {
                continue;
            };
            put.execute(params![i64_of(campaign.0), facts.tenant, facts.name, facts.sender])?;
            named.insert(*campaign);
        }
        Ok(())
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
    bytes, elapsed, age, count, wait, reply, note, before)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

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

/// What events are written with, and what they add up to.
struct Desk<'d, 'c> {
    insert: CachedStatement<'c>,
    dictionary: &'d mut Dictionary,
    scribe: Scribe<'c>,
    recipients: Recipients<'c>,
    earlier: Earlier<'d>,
    busy: &'d mut Busy,
    tallies: HashMap<TallyKey, (i64, i64)>,
    rollup: Rollup,
}

impl Desk<'_, '_> {
    fn write(&mut self, settled: &Settled, place: Option<Place>) -> rusqlite::Result<()> {
        let event = &*self.with_its_way(&settled.event, place)?;
        let judgement = settled.judgement;
        let common = self.dictionary.common(&mut self.scribe, event, judgement)?;
        let known = |place| self.recipients.known(place);
        let (recipient, domain, before) = place.map_or((0, 0, None), known);
        let reply = event.reply.as_ref().filter(|r| r.code != 250).map(ToString::to_string);
        let reply = self.phrase(reply.as_deref().unwrap_or_default(), event)?;
        let note = self.phrase(&event.note, event)?;
        let campaign = event.campaign.map(|c| i64_of(c.0));
        let id = self.insert.insert(params![
            i64_of(event.at.0),
            common.shape,
            campaign,
            event.delivery.map(|d| d.shard.0),
            event.delivery.map(|d| i64_of(d.seq)),
            some(recipient),
            some(i64::from(event.attempt)),
            some(i64::from(event.bytes)),
            some(i64::from(event.elapsed_ms)),
            some(i64_of(event.age_ms)),
            (event.count != 1).then_some(event.count),
            event.next_at.map(|next| i64_of(next.0).saturating_sub(i64_of(event.at.0))),
            reply,
            note,
            before,
        ])?;
        if let Some(place) = place {
            self.recipients.happened(place, id);
        }
        if judgement != Judgement::Refused {
            let key = (campaign.unwrap_or(0), common.kind, common.judgement, common.category);
            let tally = self.tallies.entry(key).or_default();
            tally.0 += i64::from(event.count);
            tally.1 += i64::from(event.bytes);
        }
        self.rollup.add(self.busy, (event, judgement), &common, (id, domain));
        Ok(())
    }

    fn phrase(&mut self, text: &str, about: &Event) -> rusqlite::Result<Option<i64>> {
        self.dictionary.phrase(&mut self.scribe, text, &about.recipient).map(some)
    }

    /// What came back is put down to the source and the site that its mail went by.
    fn with_its_way<'e>(
        &mut self,
        event: &'e Event,
        place: Option<Place>,
    ) -> rusqlite::Result<Cow<'e, Event>> {
        let came_back = matches!(event.kind, EventKind::Returned | EventKind::Complained);
        let (true, "", Some(place), Some(delivery)) =
            (came_back, event.site.as_str(), place, event.delivery)
        else {
            return Ok(Cow::Borrowed(event));
        };
        let known = self.recipients.way(place, delivery)?;
        let earlier = || self.earlier.way(&event.recipient.to_lowercase(), delivery);
        Ok(match known.or_else(earlier) {
            Some((source, site)) => Cow::Owned(Event { source, site, ..event.clone() }),
            None => Cow::Borrowed(event),
        })
    }
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
pub(super) fn i64_of(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn some(n: i64) -> Option<i64> {
    (n != 0).then_some(n)
}
