//! Time to delivery in classes: few enough to sum, many enough for a histogram.

use mail::event::EventKind;
use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use serde::Serialize;

/// Upper bounds of the classes, in seconds; the last class has none.
pub const SPEED_BOUNDS_S: [u64; 10] = [1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 259_200];

/// How many deliveries took how long: one number for each of [`SPEED_BOUNDS_S`], and one for
/// whatever took longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Speeds(pub [u64; SPEED_BOUNDS_S.len() + 1]);

impl Speeds {
    /// Those of an event: of none but deliveries.
    pub(crate) fn of(kind: EventKind, age_ms: u64, deliveries: u64) -> Self {
        let mut speeds = Self::default();
        if matches!(kind, EventKind::Delivered | EventKind::LateDelivered) {
            let class = SPEED_BOUNDS_S.partition_point(|bound| age_ms >= bound * 1000);
            speeds.0[class] = deliveries;
        }
        speeds
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, n) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(n);
        }
    }

    /// The classes that are not empty: the number of each, then how many, seven bits to an octet,
    /// the lowest first, the last without the eighth bit. `None` where all are empty.
    pub(crate) fn to_octets(self) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        for (class, n) in self.0.iter().enumerate().filter(|(_, n)| **n > 0) {
            octets.push(class as u8);
            let mut rest = *n;
            while rest >= 0x80 {
                octets.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            octets.push(rest as u8);
        }
        (!octets.is_empty()).then_some(octets)
    }

    /// As far as it reads.
    pub(crate) fn from_octets(octets: &[u8]) -> Self {
        let mut speeds = Self::default();
        let mut octets = octets.iter();
        while let Some(class) = octets.next() {
            let (mut n, mut shift) = (0_u64, 0);
            for octet in octets.by_ref() {
                n |= u64::from(octet & 0x7f).checked_shl(shift).unwrap_or(0);
                shift += 7;
                if octet & 0x80 == 0 {
                    break;
                }
            }
            if let Some(known) = speeds.0.get_mut(usize::from(*class)) {
                *known = known.saturating_add(n);
            }
        }
        speeds
    }

    /// The time in seconds within which this share (0 to 1) was delivered: the upper bound of its
    /// class, infinite past the last one. `None` where nothing was delivered.
    #[must_use]
    pub fn within(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        if all == 0 {
            return None;
        }
        let mut sum = 0;
        let class = self.0.iter().position(|n| {
            sum += n;
            sum as f64 >= share * all as f64
        });
        let bound = class.and_then(|class| SPEED_BOUNDS_S.get(class));
        Some(bound.map_or(f64::INFINITY, |bound| *bound as f64))
    }
}

/// Gives SQL `add_speeds(a, b)`, `sum_speeds(a)` and `speeds_of(age, deliveries)`.
pub(crate) fn teach(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("add_speeds", 2, flags, |ctx| {
        let mut sum = octets(ctx, 0)?;
        sum.add(&octets(ctx, 1)?);
        Ok(sum.to_octets())
    })?;
    conn.create_scalar_function("speeds_of", 2, flags, |ctx| {
        let (age, n) = (ctx.get::<i64>(0)?, ctx.get::<i64>(1)?);
        Ok(Speeds::of(EventKind::Delivered, age.unsigned_abs(), n.unsigned_abs()).to_octets())
    })?;
    conn.create_aggregate_function("sum_speeds", 1, flags, Sum)
}

fn octets(ctx: &Context<'_>, at: usize) -> rusqlite::Result<Speeds> {
    let octets = ctx.get_raw(at).as_blob_or_null()?;
    Ok(octets.map(Speeds::from_octets).unwrap_or_default())
}

struct Sum;

impl Aggregate<Speeds, Option<Vec<u8>>> for Sum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Speeds> {
        Ok(Speeds::default())
    }

    fn step(&self, ctx: &mut Context<'_>, sum: &mut Speeds) -> rusqlite::Result<()> {
        sum.add(&octets(ctx, 0)?);
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        sum: Option<Speeds>,
    ) -> rusqlite::Result<Option<Vec<u8>>> {
        Ok(sum.and_then(Speeds::to_octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_fall_into_classes_and_add_up_to_shares() {
        let of = |kind, ms| Speeds::of(kind, ms, 1).0;
        let class = |ms| of(EventKind::Delivered, ms).iter().position(|n| *n == 1);
        let classes = [class(0), class(999), class(1_000), class(u64::MAX)];
        assert_eq!(classes, [Some(0), Some(0), Some(1), Some(10)]);
        assert_eq!(Speeds(of(EventKind::Failed, 5)), Speeds::default());
        let mut speeds = Speeds::default();
        assert_eq!((speeds.within(0.5), speeds.to_octets()), (None, None));
        speeds.0 = [90, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(speeds.within(0.5), Some(1.0));
        assert_eq!(speeds.within(0.95), Some(60.0));
        assert_eq!(speeds.within(1.0), Some(f64::INFINITY));
    }

    #[test]
    fn they_read_as_they_were_written() {
        for n in [1, 127, 128, 16_383, 16_384, u64::MAX] {
            let speeds = Speeds([n, 0, 3, 0, 0, 0, n, 0, 0, 0, 1]);
            assert_eq!(Speeds::from_octets(&speeds.to_octets().unwrap()), speeds);
        }
        for hostile in [&[0xff; 40][..], &[0], &[0, 0x80], &[200, 1]] {
            let _ = Speeds::from_octets(hostile);
        }
    }
}
