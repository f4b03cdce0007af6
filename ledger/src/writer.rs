//! Writing history: frames of events into their months' files, each frame in one
//! transaction with the position that it leaves its shard at.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use mail::queue::{Counters, Judgement};
use mail::{CampaignId, ShardId, Timestamp};
use rusqlite::{CachedStatement, Connection, Transaction, params};
use store::{OutboxFrame, Position, Settled};

use crate::config::Config;
use crate::dictionary::{Dictionary, Scribe, judgement_word};
use crate::error::LedgerError;
use crate::month::Month;
use crate::sums::{book, kind_of};
use crate::{Ledger, schema};

/// Files held open: this month's, and last month's while a shard is still behind.
const OPEN_MAX: usize = 2;

/// A shard as far as history knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) position: Position,
    /// The month whose file holds the position and all accounts.
    home: Option<Month>,
    pub(crate) accounts: HashMap<CampaignId, Counters>,
}

/// Frames of one shard, in order.
pub(crate) struct ShardFrames {
    pub(crate) shard: ShardId,
    pub(crate) frames: Vec<OutboxFrame>,
}

struct MonthFile {
    path: PathBuf,
    conn: Connection,
    dictionary: Dictionary,
}

/// What was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) events: u64,
    pub(crate) set_aside: u64,
}

/// The one who may write. Holds the folder's lock for as long as it lives.
pub(crate) struct Writer {
    config: Config,
    files: HashMap<Month, MonthFile>,
    books: HashMap<ShardId, Book>,
    _lock: File,
}

impl Writer {
    /// Takes the folder, sets damaged files aside, and reads how far every shard had come.
    pub(crate) fn open(config: &Config) -> Result<Self, LedgerError> {
        let lock = lock(&config.folder)?;
        let mut writer = Self {
            config: config.clone(),
            files: HashMap::new(),
            books: HashMap::new(),
            _lock: lock,
        };
        for month in Month::list(&config.folder)? {
            let path = writer.path(month);
            match read_books(&path, month, &mut writer.books) {
                Err(e) if e.is_damage() => set_file_aside(&path, &e)?,
                other => other?,
            }
        }
        Ok(writer)
    }

    fn path(&self, month: Month) -> PathBuf {
        Ledger { config: self.config.clone() }.path(month)
    }

    pub(crate) fn position(&self, shard: ShardId) -> Position {
        self.books.get(&shard).map_or_else(Position::default, |b| b.position)
    }

    pub(crate) fn books(&self) -> &HashMap<ShardId, Book> {
        &self.books
    }

    /// Stores frames; all of a month's or none of them. What a failure leaves undone is
    /// done by the same call again.
    pub(crate) fn write(&mut self, parts: &[ShardFrames]) -> Result<Stored, LedgerError> {
        let mut months: BTreeMap<Month, Vec<(ShardId, &OutboxFrame)>> = BTreeMap::new();
        for part in parts {
            let known = self.position(part.shard);
            for frame in part.frames.iter().filter(|f| f.position > known) {
                let month = Month::of(Timestamp(frame.position.millis()));
                months.entry(month).or_default().push((part.shard, frame));
            }
        }
        let mut stored = Stored::default();
        for (month, frames) in months {
            let part = self.write_month(month, &frames)?;
            stored.events += part.events;
            stored.set_aside += part.set_aside;
        }
        Ok(stored)
    }

    fn write_month(
        &mut self,
        month: Month,
        frames: &[(ShardId, &OutboxFrame)],
    ) -> Result<Stored, LedgerError> {
        self.open_month(month)?;
        let Some(file) = self.files.get_mut(&month) else { return Ok(Stored::default()) };
        let wrong = LedgerError::file(&file.path);
        let tx = file.conn.transaction().map_err(&wrong)?;
        let result = Page::draft(&tx, &mut file.dictionary, &self.books, month, frames)
            .and_then(|page| tx.commit().map(|()| page));
        match result {
            Ok(page) => {
                page.turn(&mut self.books, month);
                Ok(page.stored)
            }
            Err(e) => {
                file.dictionary.clear();
                Err(wrong(e))
            }
        }
    }

    fn open_month(&mut self, month: Month) -> Result<(), LedgerError> {
        if self.files.contains_key(&month) {
            return Ok(());
        }
        let path = self.path(month);
        let is_new = !path.exists();
        let conn = schema::writable(&path)?;
        while self.files.len() >= OPEN_MAX {
            let oldest = self.files.keys().min().copied();
            oldest.and_then(|m| self.files.remove(&m));
        }
        let dictionary = Dictionary::default();
        self.files.insert(month, MonthFile { path, conn, dictionary });
        if is_new {
            self.retire(month);
        }
        Ok(())
    }

    /// Deletes the months that are too old, and no longer the home of a shard's books.
    fn retire(&self, newest: Month) {
        if self.config.keep_months == 0 {
            return;
        }
        let oldest_kept = newest.before(self.config.keep_months - 1);
        let is_home = |month: &Month| self.books.values().any(|b| b.home == Some(*month));
        let listed = Month::list(&self.config.folder).unwrap_or_default();
        for month in listed.into_iter().filter(|m| *m < oldest_kept && !is_home(m)) {
            let path = self.path(month);
            for suffix in ["-wal", "-shm", ""] {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                match std::fs::remove_file(&name) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        tracing::error!(file = ?name, "an old month cannot be deleted: {e}");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            tracing::info!(%month, "a month of history is past its keeping and was deleted");
        }
    }
}

/// A transaction's worth of writing, and what it makes of the books.
struct Page {
    books: HashMap<ShardId, (Position, HashMap<CampaignId, Counters>)>,
    stored: Stored,
}

type TallyKey = (i64, i64, i64, i64);

impl Page {
    fn draft(
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
    fn turn(&self, books: &mut HashMap<ShardId, Book>, month: Month) {
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

fn lock(folder: &Path) -> Result<File, LedgerError> {
    let open = File::create(folder.join("ledger.lock"));
    let file = open.map_err(|e| LedgerError::folder(folder, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::Busy(folder.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(LedgerError::folder(folder, e)),
    }
}

/// Adds to `books` what a month's file knows better than the ones before it.
pub(crate) fn read_books(
    path: &Path,
    month: Month,
    books: &mut HashMap<ShardId, Book>,
) -> Result<(), LedgerError> {
    let conn = schema::readable(path)?;
    let wrong = LedgerError::file(path);
    let read = || -> rusqlite::Result<Vec<(ShardId, Book)>> {
        // One transaction, so that positions and accounts belong together.
        let tx = conn.unchecked_transaction()?;
        let mut shards = tx.prepare("SELECT shard, position FROM shard")?;
        let rows =
            shards.query_map([], |row| Ok((ShardId(row.get(0)?), row.get::<_, String>(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (shard, position) = row?;
            let Ok(position) = position.parse::<Position>() else { continue };
            if books.get(&shard).is_none_or(|b| b.position < position) {
                let accounts = read_accounts(&tx, shard)?;
                found.push((shard, Book { position, home: Some(month), accounts }));
            }
        }
        Ok(found)
    };
    let found = read().map_err(wrong)?;
    books.extend(found);
    Ok(())
}

fn read_accounts(
    tx: &Transaction<'_>,
    shard: ShardId,
) -> rusqlite::Result<HashMap<CampaignId, Counters>> {
    let mut accounts = tx.prepare_cached(
        "SELECT campaign, accepted, delivered, failed, suppressed, expired, cancelled, set_aside,
         deferrals, late, duplicates, returned, complained FROM account WHERE shard = ?1",
    )?;
    let rows = accounts.query_map([shard.0], |row| {
        let n = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.max(0) as u64);
        let sums = Counters {
            accepted: n(1)?,
            delivered: n(2)?,
            failed: n(3)?,
            suppressed: n(4)?,
            expired: n(5)?,
            cancelled: n(6)?,
            set_aside: n(7)?,
            deferrals: n(8)?,
            late: n(9)?,
            duplicates: n(10)?,
            returned: n(11)?,
            complained: n(12)?,
            waiting: 0,
        };
        Ok((CampaignId(n(0)?), sums))
    })?;
    rows.collect()
}

/// A damaged file is kept beside the others under another name, and a new one begun.
fn set_file_aside(path: &Path, why: &LedgerError) -> Result<(), LedgerError> {
    let mut aside = path.to_owned();
    let mut n = 1;
    while aside.exists() {
        aside = path.with_extension(format!("damaged-{n}"));
        n += 1;
    }
    std::fs::rename(path, &aside).map_err(|e| LedgerError::folder(path, e))?;
    metrics::counter!("malleposte_ledger_files_set_aside_total").increment(1);
    tracing::error!(kept = ?aside, "a month of history does not read and was set aside: {why}");
    Ok(())
}
