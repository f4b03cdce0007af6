//! A batch: up to 500 recipients of one campaign as columns, compressed. Version
//! byte, then zstd over a msgpack header and one run of text. Written by the API, read by
//! whichever relay leases a range of it; packed anew with fewer rows when few are left.
//! A row never changes, and neither does its index.

use mail::queue::{BATCH_RECIPIENTS_MAX, BatchId};
use mail::{Address, CampaignId, DeliveryId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// All rows, without time zones: what every relay reads.
const PLAIN: u8 = 1;
/// Some rows, or time zones; relays before it leave such a batch to newer ones.
const ROWS: u8 = 2;
/// In the same form, of a campaign with files: relays that would send it without them leave it.
const VERSION: u8 = 3;
/// zstd level: 3 is a third smaller than 1 on addresses and still 200 MB/s.
const LEVEL: i32 = 3;
/// 500 recipients with 64 KiB each and some room: what intake lets through.
const UNPACKED_MAX: usize = 40 << 20;

#[derive(Serialize, Deserialize)]
struct PlainHeader {
    campaign: u64,
    shard: u16,
    first: u64,
    accepted_at: u64,
    count: u16,
    fields: u16,
    /// Lengths of all cells, column after column: addresses, names, then the fields.
    lengths: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    campaign: u64,
    shard: u16,
    first: u64,
    accepted_at: u64,
    count: u16,
    fields: u16,
    /// Whether a column of time zones stands between the names and the fields.
    zones: bool,
    /// The indices of the rows that are there, ascending; empty: all.
    rows: Vec<u16>,
    /// See the plain one.
    lengths: Vec<u32>,
}

/// Columns beside the merge fields: address and display name.
const FIXED_COLUMNS: usize = 2;

/// Collects rows of one batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    fields: usize,
    zones: bool,
    files: bool,
    columns: Vec<Vec<String>>,
}

impl BatchBuilder {
    /// An empty batch of a campaign with so many merge fields.
    #[must_use]
    pub fn new(fields: usize) -> Self {
        Self {
            fields,
            zones: false,
            files: false,
            columns: vec![Vec::new(); FIXED_COLUMNS + fields],
        }
    }

    /// One whose recipients have a time zone each. Relays that know no send windows leave it alone.
    #[must_use]
    pub fn with_zones(fields: usize) -> Self {
        Self {
            fields,
            zones: true,
            files: false,
            columns: vec![Vec::new(); FIXED_COLUMNS + 1 + fields],
        }
    }

    /// One of a campaign with files. Relays that know none leave it alone.
    #[must_use]
    pub fn with_files(self) -> Self {
        Self { files: true, ..self }
    }

    /// Adds a recipient: address, display name (may be empty), time zone (empty where it is not
    /// known, and passed over where the batch has none), one value per merge field.
    ///
    /// # Panics
    /// When the number of values is not the campaign's, or the batch is full.
    pub fn push<S: AsRef<str>>(&mut self, address: &Address, name: &str, zone: &str, values: &[S]) {
        assert_eq!(values.len(), self.fields, "one value per merge field");
        assert!(self.len() < usize::from(BATCH_RECIPIENTS_MAX), "the batch is full");
        self.columns[0].push(address.as_str().to_owned());
        self.columns[1].push(name.to_owned());
        let mut fixed = FIXED_COLUMNS;
        if self.zones {
            self.columns[fixed].push(zone.to_owned());
            fixed += 1;
        }
        for (column, value) in self.columns[fixed..].iter_mut().zip(values) {
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
        let (campaign, shard, first, accepted_at) = (campaign.0, shard.0, first.0, at.0);
        let (count, fields) = (self.len() as u16, self.fields as u16);
        let cells = || self.columns.iter().flatten().map(String::as_str);
        let lengths = cells().map(|c| c.len() as u32).collect();
        if self.zones || self.files {
            let (zones, rows) = (self.zones, Vec::new());
            let header =
                Header { campaign, shard, first, accepted_at, count, fields, zones, rows, lengths };
            pack(version_of(self.files), &header, cells())
        } else {
            let header =
                PlainHeader { campaign, shard, first, accepted_at, count, fields, lengths };
            pack(PLAIN, &header, cells())
        }
    }
}

fn version_of(files: bool) -> u8 {
    if files { VERSION } else { ROWS }
}

fn pack<'a>(version: u8, header: &impl Serialize, cells: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut plain = rmp_serde::to_vec(header).expect("a header is plain values");
    for cell in cells {
        plain.extend_from_slice(cell.as_bytes());
    }
    let mut out = vec![version];
    out.extend(zstd::bulk::compress(&plain, LEVEL).expect("zstd compresses in memory"));
    out
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
    zones: bool,
    files: bool,
    /// The rows that are there; empty: all.
    rows: Vec<u16>,
    text: String,
    /// Where each cell begins in `text`; one more than cells.
    starts: Vec<u32>,
}

impl Batch {
    /// The newest version that this program reads.
    pub const VERSION: u8 = VERSION;

    /// Reads a stored batch.
    ///
    /// # Errors
    /// When it is of a newer version, or does not read.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |why: &dyn std::fmt::Display| StoreError::corrupt("a batch", why.to_string());
        let (version, packed) = blob.split_first().ok_or_else(|| corrupt(&"it is empty"))?;
        if *version > VERSION {
            return Err(StoreError::Newer { what: "a batch".into(), version: *version });
        }
        if *version < PLAIN {
            return Err(corrupt(&format!("it is of version {version}, which never was")));
        }
        let plain =
            zstd::bulk::decompress(packed, unpacked_size(packed)).map_err(|e| corrupt(&e))?;
        let mut rest = plain.as_slice();
        let header = if *version == PLAIN {
            let header: PlainHeader = rmp_serde::from_read(&mut rest).map_err(|e| corrupt(&e))?;
            header.into()
        } else {
            rmp_serde::from_read(&mut rest).map_err(|e| corrupt(&e))?
        };
        let text = std::str::from_utf8(rest).map_err(|e| corrupt(&e))?.to_owned();
        let files = *version == VERSION;
        Self::assemble(header, files, text)
            .ok_or_else(|| corrupt(&"its columns do not fit its text"))
    }

    fn assemble(header: Header, files: bool, text: String) -> Option<Self> {
        let (count, fields) = (usize::from(header.count), usize::from(header.fields));
        let rows_fit = header.rows.is_sorted_by(|a, b| a < b)
            && header.rows.last().is_none_or(|last| usize::from(*last) < count);
        let there = if header.rows.is_empty() { count } else { header.rows.len() };
        let columns = FIXED_COLUMNS + usize::from(header.zones) + fields;
        let cells = there.checked_mul(columns)?;
        if !rows_fit
            || header.lengths.len() != cells
            || count == 0
            || count > usize::from(BATCH_RECIPIENTS_MAX)
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
            zones: header.zones,
            files,
            rows: header.rows,
            text,
            starts,
        })
    }

    /// The same batch with only these of its rows, as it is stored; ascending. Rows that are not
    /// there are passed over.
    #[must_use]
    pub fn encode_only(&self, indices: &[u16]) -> Vec<u8> {
        let rows: Vec<u16> = indices.iter().copied().filter(|i| self.has(*i)).collect();
        let columns = FIXED_COLUMNS + usize::from(self.zones) + self.fields;
        let cells =
            || (0..columns).flat_map(|column| rows.iter().map(move |i| self.cell(column, *i)));
        let header = Header {
            campaign: self.campaign.0,
            shard: self.shard.0,
            first: self.first,
            accepted_at: self.accepted_at.0,
            count: self.count as u16,
            fields: self.fields as u16,
            zones: self.zones,
            lengths: cells().map(|c| c.len() as u32).collect(),
            rows: rows.clone(),
        };
        pack(version_of(self.files), &header, cells())
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

    /// Recipients that it was made with; rows of some may be gone.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true of a batch that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the row of an index is there.
    #[must_use]
    pub fn has(&self, index: u16) -> bool {
        self.place(index).is_some()
    }

    /// Octets that it takes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.text.len() + self.starts.len() * 4 + self.rows.len() * 2
    }

    /// The delivery of a row.
    #[must_use]
    pub fn delivery(&self, index: u16) -> DeliveryId {
        DeliveryId { shard: self.shard, seq: self.first + u64::from(index) }
    }

    /// The address of a row as it was accepted. Empty for a row that is not there.
    #[must_use]
    pub fn address(&self, index: u16) -> &str {
        self.cell(0, index)
    }

    /// The display name of a row; often empty.
    #[must_use]
    pub fn name(&self, index: u16) -> &str {
        self.cell(1, index)
    }

    /// The time zone of a row; empty where it is not known.
    #[must_use]
    pub fn zone(&self, index: u16) -> &str {
        if self.zones { self.cell(FIXED_COLUMNS, index) } else { "" }
    }

    /// A merge value of a row, by the field's place in the campaign's list.
    #[must_use]
    pub fn value(&self, index: u16, field: usize) -> &str {
        let fixed = FIXED_COLUMNS + usize::from(self.zones);
        if field < self.fields { self.cell(fixed + field, index) } else { "" }
    }

    /// Merge fields of each row.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Where a row stands among those that are there.
    fn place(&self, index: u16) -> Option<usize> {
        if self.rows.is_empty() {
            Some(usize::from(index)).filter(|at| *at < self.count)
        } else {
            self.rows.binary_search(&index).ok()
        }
    }

    fn cell(&self, column: usize, index: u16) -> &str {
        let Some(place) = self.place(index) else { return "" };
        let there = if self.rows.is_empty() { self.count } else { self.rows.len() };
        let at = column * there + place;
        &self.text[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

impl From<PlainHeader> for Header {
    fn from(plain: PlainHeader) -> Self {
        let PlainHeader { campaign, shard, first, accepted_at, count, fields, lengths } = plain;
        let (zones, rows) = (false, Vec::new());
        Self { campaign, shard, first, accepted_at, count, fields, zones, rows, lengths }
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
        fill(BatchBuilder::new(2), n)
    }

    fn fill(mut b: BatchBuilder, n: usize) -> BatchBuilder {
        for i in 0..n {
            let address: Address = format!("jürgen.{i}@example.org").parse().unwrap();
            b.push(
                &address,
                if i % 2 == 0 { "Jürgen" } else { "" },
                if i % 3 == 0 { "Europe/Paris" } else { "" },
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

    #[test]
    fn a_plain_batch_is_one_that_every_relay_reads() {
        let plain = build(3).encode(CampaignId(3), ShardId(5), BatchId(1), Timestamp(42));
        let zones = fill(BatchBuilder::with_zones(2), 3);
        let zones = zones.encode(CampaignId(3), ShardId(5), BatchId(1), Timestamp(42));
        assert_eq!((plain[0], zones[0]), (1, 2));
        assert_eq!(Batch::decode(&plain).unwrap().zone(0), "");
        let zones = Batch::decode(&zones).unwrap();
        assert_eq!((zones.zone(0), zones.zone(1)), ("Europe/Paris", ""));
        assert_eq!((zones.value(2, 0), zones.value(2, 1)), ("v2", "é\né\n"));
    }

    #[test]
    fn a_batch_of_a_campaign_with_files_stays_one_that_relays_from_before_leave_alone() {
        for builder in [BatchBuilder::new(2), BatchBuilder::with_zones(2)] {
            let built = fill(builder.with_files(), 3);
            let blob = built.encode(CampaignId(3), ShardId(5), BatchId(1), Timestamp(42));
            let batch = Batch::decode(&blob).unwrap();
            let less = batch.encode_only(&[1, 2]);
            assert_eq!((blob[0], less[0]), (3, 3));
            assert_eq!(Batch::decode(&less).unwrap().value(2, 0), "v2");
            assert_eq!(batch.zone(0).is_empty(), !built.zones);
        }
        let plain = build(3).encode(CampaignId(3), ShardId(5), BatchId(1), Timestamp(42));
        assert_eq!(Batch::decode(&plain).unwrap().encode_only(&[1])[0], 2);
    }

    #[test]
    fn what_is_packed_anew_keeps_its_rows_and_their_names() {
        let blob = build(20).encode(CampaignId(3), ShardId(5), BatchId(1000), Timestamp(42));
        let whole = Batch::decode(&blob).unwrap();
        let small = whole.encode_only(&[3, 7, 19]);
        assert!(small.len() < blob.len());
        let few = Batch::decode(&small).unwrap();
        for i in [3, 7, 19] {
            assert_eq!(few.address(i), whole.address(i));
            assert_eq!((few.name(i), few.value(i, 1)), (whole.name(i), whole.value(i, 1)));
            assert_eq!(few.delivery(i), whole.delivery(i));
        }
        assert!(!few.has(4) && few.address(4).is_empty() && few.len() == 20);
        let fewer = Batch::decode(&few.encode_only(&[4, 7])).unwrap();
        assert!(fewer.has(7) && !fewer.has(4) && !fewer.has(3));
        for cut in 0..small.len() {
            assert!(Batch::decode(&small[..cut]).is_err(), "cut at {cut}");
        }
    }
}
