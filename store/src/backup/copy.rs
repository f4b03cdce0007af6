//! Out of a store.

use std::collections::{BTreeSet, HashMap, HashSet};

use mail::ShardId;
use redis::Value;
use redis::aio::ConnectionLike;
use serde::Serialize;

use super::{Blob, DumpedKey, OutboxHold, ShardPart, Verb, held};
use crate::error::StoreError;
use crate::nodes::Conn;
use crate::queue::parse;
use crate::{Store, scripts};

/// Names that a SCAN or HSCAN looks at in one round trip; a millisecond of the server's time.
const SCAN_COUNT: usize = 1000;
/// Keys outside of the shards that are asked for in one round trip: a template may have 2 MB.
const KEYS_A_PAGE: usize = 20;
/// Frames that are read in one round trip; some 2 KB each.
const FRAMES_A_PAGE: usize = 500;
/// Pieces are cut when they have so many octets.
const PIECE_BYTES: usize = 4 << 20;

type Fields = Vec<(Blob, Blob)>;

/// What the script saw of a shard, at one moment.
struct Moment {
    keys: Vec<DumpedKey>,
    /// Every batch that there was.
    batches: Vec<Blob>,
    /// Those that were not known before.
    news: Fields,
    /// The end of the outbox; empty when it never had a frame.
    last: String,
}

impl Store {
    /// Copies a shard, piece by piece in the order in which they are put back, and lets its
    /// outbox go. `take` is given each piece; memory holds the shard's batches, some 50 octets
    /// a waiting recipient.
    ///
    /// # Errors
    /// When the hold has run out, Redis does not answer, or `take` fails.
    pub async fn copy_shard<E: From<StoreError>>(
        &self,
        shard: ShardId,
        hold: &OutboxHold,
        mut take: impl FnMut(ShardPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let meta = [self.shard_key(shard, "meta")];
        self.change_hold(hold, Verb::Extend, &meta).await?;
        let mut batches = HashMap::new();
        self.hash(shard, "batch", |page| {
            batches.extend(page.into_iter().map(|(batch, blob)| (batch.0, blob)));
            Ok::<_, StoreError>(())
        })
        .await?;
        let moment = self.moment(shard, hold, &batches).await?;
        take(ShardPart::Keys(moment.keys))?;
        // A batch that was packed anew since it was read had more rows then, and all that are
        // needed; one that is gone is not needed at all.
        batches.extend(moment.news.into_iter().map(|(batch, blob)| (batch.0, blob)));
        let fields = moment.batches.into_iter().filter_map(|batch| {
            let blob = batches.remove(&batch.0)?;
            Some((batch, blob))
        });
        let mut piece = Pieces::new("batch");
        for field in fields {
            piece.put(field, &mut take)?;
        }
        piece.end(&mut take)?;
        self.frames(shard, &moment.last, &mut take).await?;
        // Whatever was there at that moment is in the copy only if it was held until now.
        self.change_hold(hold, Verb::Extend, &meta).await?;
        self.change_hold(hold, Verb::Release, &meta).await?;
        self.lists(shard, &mut take).await
    }

    async fn moment(
        &self,
        shard: ShardId,
        hold: &OutboxHold,
        known: &HashMap<Vec<u8>, Blob>,
    ) -> Result<Moment, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            token: &'a str,
            known: Vec<&'a str>,
        }
        let known = known.keys().filter_map(|batch| std::str::from_utf8(batch).ok()).collect();
        let args = Args { now: 1, token: &hold.token, known };
        let value = self.queue_call(&scripts::DUMP, shard, &args, &[]).await?;
        let mut parts = parse::<Vec<Value>>(value)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        held(&parse::<String>(next())?)?;
        let rows: Vec<(String, i64, Blob)> = parse(next())?;
        let (batches, news, last) = (parse(next())?, parse(next())?, parse(next())?);
        Ok(Moment { keys: rows.into_iter().map(DumpedKey::new).collect(), batches, news, last })
    }

    /// Every field of a hash, in pages; what changes meanwhile may be there or not.
    async fn hash<E: From<StoreError>>(
        &self,
        shard: ShardId,
        name: &str,
        mut take: impl FnMut(Fields) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = self.shard_key(shard, name);
        let mut conn = self.conn_for(&key).await?;
        let mut cursor = "0".to_owned();
        loop {
            let mut cmd = redis::cmd("HSCAN");
            cmd.arg(&key).arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, page): (String, Fields) = query(&cmd, &mut conn).await?;
            take(page)?;
            cursor = next;
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    async fn frames<E: From<StoreError>>(
        &self,
        shard: ShardId,
        last: &str,
        take: &mut impl FnMut(ShardPart) -> Result<(), E>,
    ) -> Result<(), E> {
        if last.is_empty() {
            return Ok(());
        }
        let key = self.shard_key(shard, "out");
        let mut conn = self.conn_for(&key).await?;
        let mut from = "-".to_owned();
        loop {
            let mut cmd = redis::cmd("XRANGE");
            cmd.arg(&key).arg(&from).arg(last).arg("COUNT").arg(FRAMES_A_PAGE);
            let frames: Vec<(String, Fields)> = query(&cmd, &mut conn).await?;
            let Some((id, _)) = frames.last() else { break };
            from = format!("({id}");
            take(ShardPart::Frames(frames))?;
        }
        take(ShardPart::OutboxEnd(last.to_owned()))
    }

    /// Suppressions and the histories of addresses, as they are by now: each stands for itself.
    async fn lists<E: From<StoreError>>(
        &self,
        shard: ShardId,
        take: &mut impl FnMut(ShardPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let base = self.shard_key(shard, "");
        let mut conn = self.conn_for(&base).await?;
        let mut names = BTreeSet::new();
        for list in ["sup:", "hist:"] {
            names.extend(scan(&mut conn, &format!("{base}{list}*")).await?);
        }
        drop(conn);
        for name in names.iter().filter_map(|name| name.strip_prefix(&base)) {
            let mut piece = Pieces::new(name);
            self.hash(shard, name, |page| {
                page.into_iter().try_for_each(|field| piece.put(field, take))
            })
            .await?;
            piece.end(take)?;
        }
        Ok(())
    }

    /// Every key outside of the shards: campaigns, senders, API keys, requests, the pace. Not
    /// at one moment; after the shards, so that whatever they speak of is here. The record of
    /// the store itself is not among them.
    ///
    /// # Errors
    /// When Redis does not answer, or `take` fails.
    pub async fn copy_rest<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Vec<DumpedKey>) -> Result<(), E>,
    ) -> Result<(), E> {
        let own = self.key("store");
        let mut names: Vec<String> = self.all_keys().await?.into_iter().collect();
        names.retain(|name| *name != own && !self.is_in_shard(name));
        names.sort_unstable();
        for page in names.chunks(KEYS_A_PAGE) {
            // Twice each: how long it has left, and what it is.
            let twice: Vec<String> = page.iter().flat_map(|n| [n.clone(), n.clone()]).collect();
            let ask = |at: usize| {
                let mut cmd = redis::cmd(if at.is_multiple_of(2) { "PTTL" } else { "DUMP" });
                cmd.arg(&twice[at]);
                cmd
            };
            let answers = self.spread(&twice, ask).await;
            let answers = answers.into_iter().collect::<Result<Vec<Value>, _>>()?;
            let mut keys = Vec::new();
            for (name, pair) in page.iter().zip(answers.chunks_exact(2)) {
                // Gone since: its time was over.
                let Some(dump) = parse::<Option<Blob>>(pair[1].clone())? else { continue };
                keys.push(DumpedKey::new((name.clone(), parse(pair[0].clone())?, dump)));
            }
            take(keys)?;
        }
        Ok(())
    }

    fn is_in_shard(&self, name: &str) -> bool {
        let number = name.strip_prefix(&format!("{{{}:", self.prefix));
        let number = number.and_then(|rest| rest.split_once("}:"));
        number.is_some_and(|(n, _)| n.parse::<u16>().is_ok())
    }

    /// The names that begin with this store's prefix, on all servers.
    pub(super) async fn all_keys(&self) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        for node in self.topology.primaries().await? {
            let mut link = node.link().await?;
            for pattern in [format!("{}:*", self.prefix), format!("{{{}:*", self.prefix)] {
                names.extend(scan(&mut *link, &pattern).await?);
            }
        }
        Ok(names)
    }
}

async fn query<T: redis::FromRedisValue>(
    cmd: &redis::Cmd,
    conn: &mut Conn,
) -> Result<T, StoreError> {
    Ok(cmd.query_async(conn).await?)
}

async fn scan(
    conn: &mut impl ConnectionLike,
    pattern: &str,
) -> Result<HashSet<String>, StoreError> {
    let mut names = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, page): (String, Vec<String>) = cmd.query_async(conn).await?;
        names.extend(page);
        cursor = next;
        if cursor == "0" {
            return Ok(names);
        }
    }
}

/// Fields of one hash, gathered into pieces.
struct Pieces {
    name: String,
    fields: Fields,
    bytes: usize,
}

impl Pieces {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), fields: Vec::new(), bytes: 0 }
    }

    fn put<E>(
        &mut self,
        field: (Blob, Blob),
        take: &mut impl FnMut(ShardPart) -> Result<(), E>,
    ) -> Result<(), E> {
        self.bytes += field.0.0.len() + field.1.0.len();
        self.fields.push(field);
        if self.bytes >= PIECE_BYTES { self.end(take) } else { Ok(()) }
    }

    fn end<E>(&mut self, take: &mut impl FnMut(ShardPart) -> Result<(), E>) -> Result<(), E> {
        self.bytes = 0;
        if self.fields.is_empty() {
            return Ok(());
        }
        let fields = std::mem::take(&mut self.fields);
        take(ShardPart::Fields { name: self.name.clone(), fields })
    }
}
