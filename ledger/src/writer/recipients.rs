//! The recipients of a page. What happened to one is a chain: its row names the last event, and
//! each event the one before. An index over all events would be larger than the chain, and slower.

use mail::DeliveryId;
use rusqlite::{OptionalExtension, Transaction, params};

use super::ways::{Way, way};
use crate::dictionary::{Dictionary, Scribe, hash};

/// Each address in lower case, with its hash before and its place among the others behind it.
fn in_order_of_the_index<'a>(
    addresses: impl Iterator<Item = &'a str>,
) -> Vec<(i64, String, usize)> {
    let folded = addresses.map(str::to_lowercase).enumerate();
    let mut asked: Vec<_> = folded.map(|(at, folded)| (hash(&folded), folded, at)).collect();
    asked.sort_unstable();
    asked
}

/// The recipients that a page speaks of, written at its end, each once.
pub(super) struct Recipients<'c> {
    tx: &'c Transaction<'c>,
    touched: Vec<Touched>,
}

struct Touched {
    id: i64,
    domain: i64,
    last: Option<i64>,
    /// The hash and the local part of one that the file does not have yet.
    new: Option<(i64, Box<str>)>,
}

/// One of them, for the length of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(usize);

impl<'c> Recipients<'c> {
    /// The recipients of these addresses, and the place of each; no place for no address.
    ///
    /// They are looked up, and new ones numbered, in the order of the index: one after the other, what
    /// they need of it is mostly at hand.
    pub(super) fn find<'a>(
        tx: &'c Transaction<'c>,
        (dictionary, scribe): (&mut Dictionary, &mut Scribe<'_>),
        addresses: impl Iterator<Item = &'a str>,
    ) -> rusqlite::Result<(Self, Vec<Option<Place>>)> {
        let mut find = tx.prepare_cached(
            "SELECT id, last FROM recipient WHERE hash = ?1 AND local = ?2 AND domain = ?3",
        )?;
        let largest: Option<i64> =
            tx.prepare_cached("SELECT MAX(id) FROM recipient")?.query_row([], |row| row.get(0))?;
        let mut next_id = largest.unwrap_or(0) + 1;
        let mut recipients = Self { tx, touched: Vec::new() };
        let asked = in_order_of_the_index(addresses);
        let mut places = vec![None; asked.len()];
        for same in asked.chunk_by(|a, b| a.1 == b.1) {
            let (hash, address, _) = &same[0];
            if address.is_empty() {
                continue;
            }
            let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
            let domain = dictionary.word(scribe, domain)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = find.query_row(params![hash, local, domain], row).optional()?;
            let touched = match found {
                Some((id, last)) => Touched { id, domain, last, new: None },
                None => {
                    let id = next_id;
                    next_id += 1;
                    Touched { id, domain, last: None, new: Some((*hash, local.into())) }
                }
            };
            for (_, _, at) in same {
                places[*at] = Some(Place(recipients.touched.len()));
            }
            recipients.touched.push(touched);
        }
        Ok((recipients, places))
    }

    /// Its number, the word of its domain, and the last event about it.
    pub(super) fn known(&self, place: Place) -> (i64, i64, Option<i64>) {
        let Touched { id, domain, last, .. } = self.touched[place.0];
        (id, domain, last)
    }

    /// The way that a delivery to it went, as far as this month knows.
    pub(super) fn way(&self, place: Place, delivery: DeliveryId) -> rusqlite::Result<Option<Way>> {
        self.touched[place.0].last.map_or(Ok(None), |last| way(self.tx, last, delivery))
    }

    pub(super) fn happened(&mut self, place: Place, event: i64) {
        self.touched[place.0].last = Some(event);
    }

    /// In the order of their numbers, so that neighbours are written together.
    pub(super) fn write(mut self) -> rusqlite::Result<()> {
        let mut add = self.tx.prepare_cached(
            "INSERT INTO recipient (id, hash, local, domain, last) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut update = self.tx.prepare_cached("UPDATE recipient SET last = ?2 WHERE id = ?1")?;
        self.touched.sort_unstable_by_key(|touched| touched.id);
        for Touched { id, domain, last, new } in self.touched {
            match new {
                Some((hash, local)) => add.execute(params![id, hash, local, domain, last])?,
                None => update.execute(params![id, last])?,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn a_recipient_is_one_however_it_is_written_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut conn = schema::writable(&folder.path().join("2026-11.db")).unwrap();
        let addresses = ["b@x.example", "", "B@X.example", "b@y.example", "nobody", "b@x.example"];
        let mut page = |events: [i64; 6]| {
            let tx = conn.transaction().unwrap();
            let mut scribe = Scribe::new(&tx).unwrap();
            let memory = (&mut Dictionary::default(), &mut scribe);
            let (mut recipients, places) =
                Recipients::find(&tx, memory, addresses.into_iter()).unwrap();
            let known: Vec<_> = places.iter().map(|p| p.map(|p| recipients.known(p))).collect();
            for (place, event) in places.into_iter().zip(events) {
                place.into_iter().for_each(|place| recipients.happened(place, event));
            }
            recipients.write().unwrap();
            drop(scribe);
            tx.commit().unwrap();
            known
        };
        let [b, none, same, other, nobody, last] = page([1, 2, 3, 4, 5, 6])[..] else { panic!() };
        assert_eq!((none, same, last), (None, b, b));
        let number = |of: Option<(i64, i64, Option<i64>)>| of.map(|(id, _, _)| id);
        let mut numbers = [number(b), number(other), number(nobody)];
        numbers.sort_unstable();
        assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
        let domain = |of: Option<(i64, i64, Option<i64>)>| of.map(|(_, domain, _)| domain);
        assert!(domain(b) != domain(other) && domain(nobody) == Some(0));

        let again = page([7, 8, 9, 10, 11, 12]);
        let lasts: Vec<_> = again.iter().map(|of| of.and_then(|(_, _, last)| last)).collect();
        assert_eq!(lasts, [Some(6), None, Some(6), Some(4), Some(5), Some(6)]);
        assert_eq!([number(again[0]), number(again[3])], [number(b), number(other)]);
    }
}
