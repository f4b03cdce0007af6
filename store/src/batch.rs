//! A batch: up to 500 recipients of one campaign as columns, compressed. Version
//! byte, then zstd over a msgpack header and one run of text. Written once by the
//! API, read by whichever relay leases a range of it; nothing in it ever changes.

use mail::queue::{BATCH_RECIPIENTS_MAX, BatchId};
use mail::{Address, CampaignId, DeliveryId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

const VERSION: u8 = 1;
/// zstd level: 3 is a third smaller than 1 on addresses and still 200 MB/s.
const LEVEL: i32 = 3;
/// 500 recipients with 64 KiB each and some room: what intake lets through.
const UNPACKED_MAX: usize = 40 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    campaign: u64,
    shard: u16,
    first: u64,
    accepted_at: u64,
    count: u16,
    fields: u16,
    /// Lengths of all cells, column after column: addresses, names, then the fields.
    lengths: Vec<u32>,
}

/// Cells beside the merge fields: address and display name.
const FIXED_COLUMNS: usize = 2;

/// Collects rows of one batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    fields: usize,
    columns: Vec<Vec<String>>,
}

impl BatchBuilder {
    /// An empty batch of a campaign with so many merge fields.
    #[must_use]
    pub fn new(fields: usize) -> Self {
        Self { fields, columns: vec![Vec::new(); FIXED_COLUMNS + fields] }
    }

    /// Adds a recipient: address, display name (may be empty), one value per merge field.
    ///
    /// # Panics
    /// When the number of values is not the campaign's, or the batch is full.
    pub fn push<S: AsRef<str>>(&mut self, address: &Address, name: &str, values: &[S]) {
        assert_eq!(values.len(), self.fields, "one value per merge field");
        assert!(self.len() < usize::from(BATCH_RECIPIENTS_MAX), "the batch is full");
        self.columns[0].push(address.as_str().to_owned());
        self.columns[1].push(name.to_owned());
        for (column, value) in self.columns[FIXED_COLUMNS..].iter_mut().zip(values) {
            column.push(value.as_ref().to_owned());
        }
    }

    /// Recipients so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch as it is stored. `first` is the first recipient's sequence number.
    #[must_use]
    pub fn encode(
        &self,
        campaign: CampaignId,
        shard: ShardId,
        first: BatchId,
        at: Timestamp,
    ) -> Vec<u8> {
        let cells = || self.columns.iter().flatten();
        let header = Header {
            campaign: campaign.0,
            shard: shard.0,
            first: first.0,
            accepted_at: at.0,
            count: self.len() as u16,
            fields: self.fields as u16,
            lengths: cells().map(|c| c.len() as u32).collect(),
        };
        let mut plain = rmp_serde::to_vec(&header).expect("a header is plain values");
        for cell in cells() {
            plain.extend_from_slice(cell.as_bytes());
        }
        let mut out = vec![VERSION];
        out.extend(zstd::bulk::compress(&plain, LEVEL).expect("zstd compresses in memory"));
        out
    }
}

/// A batch as a relay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    campaign: CampaignId,
    shard: ShardId,
    first: u64,
    accepted_at: Timestamp,
    count: usize,
    fields: usize,
    text: String,
    /// Where each cell begins in `text`; one more than cells.
    starts: Vec<u32>,
}

impl Batch {
    /// Reads a stored batch.
    ///
    /// # Errors
    /// When it is of a newer version, or does not read.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |why: &dyn std::fmt::Display| StoreError::corrupt("a batch", why.to_string());
        let (version, packed) = blob.split_first().ok_or_else(|| corrupt(&"it is empty"))?;
        if *version != VERSION {
            return Err(StoreError::Newer { what: "a batch".into(), version: *version });
        }
        let plain =
            zstd::bulk::decompress(packed, unpacked_size(packed)).map_err(|e| corrupt(&e))?;
        let mut rest = plain.as_slice();
        let header: Header = rmp_serde::from_read(&mut rest).map_err(|e| corrupt(&e))?;
        let text = std::str::from_utf8(rest).map_err(|e| corrupt(&e))?.to_owned();
        Self::assemble(header, text).ok_or_else(|| corrupt(&"its columns do not fit its text"))
    }

    fn assemble(header: Header, text: String) -> Option<Self> {
        let (count, fields) = (usize::from(header.count), usize::from(header.fields));
        let cells = count.checked_mul(FIXED_COLUMNS + fields)?;
        if header.lengths.len() != cells || count == 0 || count > usize::from(BATCH_RECIPIENTS_MAX)
        {
            return None;
        }
        let mut starts = Vec::with_capacity(cells + 1);
        let mut at = 0u32;
        starts.push(0);
        for length in &header.lengths {
            at = at.checked_add(*length)?;
            if !text.is_char_boundary(at as usize) {
                return None;
            }
            starts.push(at);
        }
        (at as usize == text.len()).then_some(Self {
            campaign: CampaignId(header.campaign),
            shard: ShardId(header.shard),
            first: header.first,
            accepted_at: Timestamp(header.accepted_at),
            count,
            fields,
            text,
            starts,
        })
    }

    /// The campaign.
    #[must_use]
    pub fn campaign(&self) -> CampaignId {
        self.campaign
    }

    /// When its recipients were accepted.
    #[must_use]
    pub fn accepted_at(&self) -> Timestamp {
        self.accepted_at
    }

    /// Recipients in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true of a batch that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Octets that it takes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.text.len() + self.starts.len() * 4
    }

    /// The delivery of a row.
    #[must_use]
    pub fn delivery(&self, index: u16) -> DeliveryId {
        DeliveryId { shard: self.shard, seq: self.first + u64::from(index) }
    }

    /// The address of a row as it was accepted. Empty for a row that does not exist.
    #[must_use]
    pub fn address(&self, index: u16) -> &str {
        self.cell(0, index)
    }

    /// The display name of a row; often empty.
    #[must_use]
    pub fn name(&self, index: u16) -> &str {
        self.cell(1, index)
    }

    /// A merge value of a row, by the field's place in the campaign's list.
    #[must_use]
    pub fn value(&self, index: u16, field: usize) -> &str {
        if field < self.fields { self.cell(FIXED_COLUMNS + field, index) } else { "" }
    }

    /// Merge fields of each row.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    fn cell(&self, column: usize, index: u16) -> &str {
        if usize::from(index) >= self.count {
            return "";
        }
        let at = column * self.count + usize::from(index);
        &self.text[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// zstd writes the size of what it packed in front; trusted up to the maximum.
fn unpacked_size(packed: &[u8]) -> usize {
    let stated = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    stated.and_then(|n| usize::try_from(n).ok()).unwrap_or(UNPACKED_MAX).min(UNPACKED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(n: usize) -> BatchBuilder {
        let mut b = BatchBuilder::new(2);
        for i in 0..n {
            let address: Address = format!("jürgen.{i}@example.org").parse().unwrap();
            b.push(
                &address,
                if i % 2 == 0 { "Jürgen" } else { "" },
                &[format!("v{i}"), "é\n".repeat(i)],
            );
        }
        b
    }

    #[test]
    fn a_batch_reads_back_what_was_put_in() {
        let blob = build(7).encode(CampaignId(3), ShardId(5), BatchId(1000), Timestamp(42));
        let batch = Batch::decode(&blob).unwrap();
        assert_eq!(
            (batch.len(), batch.campaign(), batch.accepted_at()),
            (7, CampaignId(3), Timestamp(42))
        );
        assert_eq!(batch.address(6), "jürgen.6@example.org");
        assert_eq!((batch.name(0), batch.name(1)), ("Jürgen", ""));
        assert_eq!((batch.value(3, 0), batch.value(3, 1)), ("v3", "é\né\né\n"));
        assert_eq!(batch.delivery(6), DeliveryId { shard: ShardId(5), seq: 1006 });
        assert_eq!((batch.address(7), batch.value(0, 2)), ("", ""));
    }

    #[test]
    fn a_damaged_batch_is_refused_and_a_newer_one_named() {
        let blob = build(20).encode(CampaignId(3), ShardId(5), BatchId(1), Timestamp(42));
        for cut in 0..blob.len() {
            assert!(Batch::decode(&blob[..cut]).is_err(), "cut at {cut}");
        }
        let mut newer = blob.clone();
        newer[0] = 9;
        assert!(matches!(Batch::decode(&newer), Err(StoreError::Newer { version: 9, .. })));
    }
}
