//! Which domains the pretend recipients live at: five large ones and a long tail.
//! A tail domain's name can be read back to its number, so that the pretend DNS
//! answers for 50,000 of them without keeping one.

use super::names::{LAST, TRADES, ZONES};
use crate::mix;

/// The five domains that half of all recipients live at.
pub const LARGE_DOMAINS: [&str; 5] = [
    "gmail.pretend.example",
    "outlook.pretend.example",
    "orange.pretend.example",
    "yahoo.pretend.example",
    "free.pretend.example",
];

/// How the half is shared among [`LARGE_DOMAINS`], in hundredths.
pub(super) const LARGE_SHARES: [u64; 5] = [42, 20, 16, 13, 9];

/// How many domains the other half is spread over, most popular first.
pub const TAIL_DOMAINS: u32 = 50_000;

/// Domains of the tail that exist at all; nobody lives in those beyond [`TAIL_DOMAINS`] unless
/// everybody is to live alone.
pub const TAIL_RANKS: u32 = 1_000_000;

/// Names do not depend on the seed of a campaign: every campaign meets the same internet.
const NAMING_SEED: u64 = 0x706f_7374;

/// The name of the tail domain of a rank (0 is the most popular).
#[must_use]
pub fn tail_domain(rank: u32) -> String {
    let mut name = Vec::with_capacity(40);
    write_tail_domain(rank, &mut name);
    String::from_utf8_lossy(&name).into_owned()
}

pub(super) fn write_tail_domain(rank: u32, out: &mut Vec<u8>) {
    let hash = mix::of_number(NAMING_SEED, 1, u64::from(rank));
    out.extend_from_slice(TRADES[hash as usize % TRADES.len()].as_bytes());
    out.push(b'-');
    out.extend_from_slice(LAST[(hash >> 8) as usize % LAST.len()].as_bytes());
    write_decimal(rank, out);
    out.push(b'.');
    out.extend_from_slice(ZONES[(hash >> 16) as usize % ZONES.len()].as_bytes());
}

/// The rank of a tail domain, or `None` when the name is not one of them.
#[must_use]
pub fn tail_rank(domain: &str) -> Option<u32> {
    let label = domain.split('.').next()?;
    let digits = label.trim_start_matches(|c: char| !c.is_ascii_digit());
    let rank: u32 = digits.parse().ok().filter(|rank| *rank < TAIL_RANKS)?;
    let mut name = Vec::with_capacity(40);
    write_tail_domain(rank, &mut name);
    (name == domain.as_bytes()).then_some(rank)
}

pub(super) fn write_decimal(value: u32, out: &mut Vec<u8>) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Draws ranks by Zipf's law with exponent 1, in constant time (Walker's alias method).
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Zipf {
    pub(super) fn new(n: u32) -> Self {
        let total: f64 = (1..=n).map(|k| 1.0 / f64::from(k)).sum();
        let mut keep: Vec<f64> = (1..=n).map(|k| f64::from(n) / f64::from(k) / total).collect();
        let mut alias: Vec<u32> = (0..n).collect();
        let (mut poor, mut rich): (Vec<u32>, Vec<u32>) =
            (0..n).partition(|k| keep[*k as usize] < 1.0);
        while let (Some(low), Some(high)) = (poor.pop(), rich.pop()) {
            alias[low as usize] = high;
            keep[high as usize] -= 1.0 - keep[low as usize];
            if keep[high as usize] < 1.0 {
                poor.push(high);
            } else {
                rich.push(high);
            }
        }
        Self { keep, alias }
    }

    /// The rank for a number of 64 random bits.
    pub(super) fn rank(&self, bits: u64) -> u32 {
        let n = self.keep.len() as u64;
        let product = u128::from(bits) * u128::from(n);
        let slot = (product >> 64) as usize;
        if mix::share(product as u64) < self.keep[slot] { slot as u32 } else { self.alias[slot] }
    }
}
