//! Cutting sorted, unique rows into chunks. A domain with enough recipients gets a lane
//! and batches of its own; the small ones of a shard share. Where a chunk ends depends on
//! the rows alone, never on time, memory or what was stored before.

use mail::queue::BATCH_RECIPIENTS_MAX;
use mail::{Domain, ShardId};

use super::rows::Row;

/// From so many recipients on a domain has a lane of its own: below it, the batch that it
/// shares costs less than one of its own, and fair share between domains hardly shows.
const OWN_LANE_MIN: usize = 100;
/// A batch ends early at so many octets of text, so that no relay unpacks more at a time.
const CHUNK_TEXT_MAX: usize = 1 << 20;
/// Chunks and text that go to the queue in one round trip.
const GROUP_CHUNKS: usize = 16;
const GROUP_TEXT_MAX: usize = 4 << 20;

/// A batch to be.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// From 0 in its campaign and shard.
    pub(super) number: u64,
    /// `None`: the lane that small domains share.
    pub(super) domain: Option<Domain>,
    rows: Vec<u8>,
    len: usize,
    text: usize,
}

impl Chunk {
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = self.rows.as_slice();
        std::iter::from_fn(move || {
            let row = (!rest.is_empty()).then(|| Row::first_of(rest))?;
            rest = &rest[row.bytes().len()..];
            Some(row)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, row: Row<'_>) {
        self.rows.extend_from_slice(row.bytes());
        self.len += 1;
        self.text += row.text_len();
    }

    fn is_full(&self) -> bool {
        self.len == usize::from(BATCH_RECIPIENTS_MAX) || self.text >= CHUNK_TEXT_MAX
    }
}

/// Chunks of one shard, in order.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) shard: ShardId,
    pub(super) chunks: Vec<Chunk>,
}

/// Takes rows, hands out groups; `send` answers whether anybody still takes them.
pub(super) struct Cutter<S> {
    send: S,
    /// The shard and domain of the rows in `domain`.
    place: Vec<u8>,
    /// Rows of the current domain.
    domain: Chunk,
    has_own_lane: bool,
    /// Rows of small domains.
    shared: Chunk,
    group: Group,
    group_text: usize,
    next_number: u64,
}

impl<S: FnMut(Group) -> bool> Cutter<S> {
    pub(super) fn new(send: S) -> Self {
        Self {
            send,
            place: Vec::new(),
            domain: Chunk::default(),
            has_own_lane: false,
            shared: Chunk::default(),
            group: Group { shard: ShardId(0), chunks: Vec::new() },
            group_text: 0,
            next_number: 0,
        }
    }

    /// The next row in order; `false` when nobody takes groups any more.
    pub(super) fn push(&mut self, row: Row<'_>) -> bool {
        let shard = ShardId(row.shard());
        let mut taken = true;
        if self.place != row.place() {
            taken &= self.end_domain();
            if self.group.shard != shard {
                taken &= self.end_shard(shard);
            }
            self.place.clear();
            self.place.extend_from_slice(row.place());
        }
        self.domain.push(row);
        if !self.has_own_lane && self.domain.len == OWN_LANE_MIN {
            self.has_own_lane = true;
        }
        if self.has_own_lane && self.domain.is_full() {
            taken &= self.end_own_chunk();
        }
        taken
    }

    /// Hands out what is left.
    pub(super) fn finish(mut self) -> bool {
        let shard = self.group.shard;
        self.end_domain() && self.end_shard(shard)
    }

    fn end_domain(&mut self) -> bool {
        if std::mem::replace(&mut self.has_own_lane, false) {
            return self.domain.len == 0 || self.end_own_chunk();
        }
        let small = std::mem::take(&mut self.domain);
        let mut taken = true;
        for row in small.rows() {
            self.shared.push(row);
            if self.shared.is_full() {
                let full = std::mem::take(&mut self.shared);
                taken &= self.emit(full);
            }
        }
        taken
    }

    fn end_own_chunk(&mut self) -> bool {
        let mut chunk = std::mem::take(&mut self.domain);
        let domain = chunk.rows().next().and_then(|row| row.domain().parse().ok());
        chunk.domain = domain;
        self.emit(chunk)
    }

    fn end_shard(&mut self, next: ShardId) -> bool {
        let shared = std::mem::take(&mut self.shared);
        let taken = (shared.len == 0 || self.emit(shared)) && self.send_group();
        self.group.shard = next;
        self.next_number = 0;
        taken
    }

    fn emit(&mut self, mut chunk: Chunk) -> bool {
        chunk.number = self.next_number;
        self.next_number += 1;
        self.group_text += chunk.text;
        self.group.chunks.push(chunk);
        let is_full = self.group.chunks.len() == GROUP_CHUNKS || self.group_text >= GROUP_TEXT_MAX;
        !is_full || self.send_group()
    }

    fn send_group(&mut self) -> bool {
        self.group_text = 0;
        let chunks = std::mem::take(&mut self.group.chunks);
        chunks.is_empty() || (self.send)(Group { shard: self.group.shard, chunks })
    }
}
