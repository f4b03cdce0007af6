//! Suppressions as CSV (RFC 4180).

use std::io::{Read, Write};

use csv::StringRecord;
use mail::{Address, Category, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Suppression, SuppressionRecord};

use crate::commands::tame;

/// Characters of a reason or an evidence.
const TEXT_CHARS_MAX: usize = 1_000;

/// A line of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    address: String,
    reason: String,
    category: String,
    at: String,
    expires_at: String,
    evidence: String,
}

impl Row {
    pub(super) fn of(address: &str, record: &SuppressionRecord) -> Self {
        Self {
            address: address.to_owned(),
            reason: tame(&record.reason),
            category: record.category.map(|category| category.to_string()).unwrap_or_default(),
            at: record.at.to_string(),
            expires_at: record.expires_at.map(|end| end.to_string()).unwrap_or_default(),
            evidence: tame(&record.evidence),
        }
    }

    fn suppression(self, reason: &str, now: Timestamp) -> Result<Suppression, String> {
        let wrong = |key: &str, text: &str, why: String| format!("{key} {text:?} {why}");
        let address = self.address.trim().parse::<Address>();
        let address = address.map_err(|why| wrong("address", &self.address, why.to_string()))?;
        let moment = |key: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<Timestamp>().map(Some).map_err(|why| format!("{key}: {why}")),
        };
        let category = match self.category.trim() {
            "" => None,
            text => Some(Category::from_word(text).ok_or_else(|| {
                wrong("category", text, "is none of those in docs/BOUNCES.md".to_owned())
            })?),
        };
        let expires_at = moment("expires_at", &self.expires_at)?;
        if expires_at.is_some_and(|end| end <= now) {
            return Err(wrong("expires_at", &self.expires_at, "has passed".to_owned()));
        }
        let text = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
        let given = text(self.reason.trim());
        let record = SuppressionRecord {
            reason: if given.is_empty() { reason.to_owned() } else { given },
            category,
            at: moment("at", &self.at)?.unwrap_or(now),
            evidence: text(&self.evidence),
            delivery: None,
            expires_at,
        };
        Ok(Suppression { address: address.folded(), record })
    }
}

/// Writes rows, the header first.
pub(super) fn writer<W: Write>(out: W) -> csv::Result<csv::Writer<W>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    writer.write_record(["address", "reason", "category", "at", "expires_at", "evidence"])?;
    Ok(writer)
}

/// The rows of a file, each with its number.
pub(super) struct Rows<R> {
    reader: csv::Reader<R>,
    names: StringRecord,
    reason: String,
    now: Timestamp,
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When no column is called `address`.
    pub(super) fn read(from: R, reason: &str, now: Timestamp) -> anyhow::Result<Self> {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(from);
        let names = reader.headers()?;
        // What other systems call it.
        let address = ["address", "email", "e-mail", "recipient", "email address"];
        let is_address = |name: &str| address.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !names.iter().any(is_address) {
            let names: Vec<&str> = names.iter().take(10).collect();
            anyhow::bail!("the first line names no column `address`: it has {names:?}");
        }
        let renamed = names.iter().map(|name| match name {
            name if is_address(name) => "address".to_owned(),
            name => name.to_ascii_lowercase(),
        });
        let names = renamed.collect();
        Ok(Self { reader, names, reason: reason.to_owned(), now })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = (u64, Result<Suppression, String>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = StringRecord::new();
        let read = self.reader.read_record(&mut record);
        // The header is row 1, as in a spreadsheet.
        let number = record.position().map_or(0, csv::Position::record) + 1;
        // A row may be shorter than the header.
        for _ in record.len()..self.names.len() {
            record.push_field("");
        }
        let row = match read {
            Ok(false) => return None,
            Ok(true) => record.deserialize::<Row>(Some(&self.names)).map_err(|why| why.to_string()),
            Err(why) => Err(why.to_string()),
        };
        Some((number, row.and_then(|row| row.suppression(&self.reason, self.now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn read(text: &str) -> Vec<(u64, Result<Suppression, String>)> {
        Rows::read(text.as_bytes(), "imported", NOW).unwrap().collect()
    }

    #[test]
    fn what_is_exported_is_imported_again() {
        let record = SuppressionRecord {
            reason: "no-mailbox".into(),
            category: Some(Category::NoMailbox),
            at: Timestamp(1_600_000_000_000),
            evidence: "550 5.1.1 \"user, unknown\"".into(),
            delivery: None,
            expires_at: Some(Timestamp(1_900_000_000_000)),
        };
        let mut out = writer(Vec::new()).unwrap();
        out.serialize(Row::of("ann@example.org", &record)).unwrap();
        let text = String::from_utf8(out.into_inner().unwrap()).unwrap();
        let rows = read(&text);
        assert_eq!(rows.len(), 1);
        let row = rows[0].1.as_ref().unwrap();
        assert_eq!((row.address.as_str(), &row.record), ("ann@example.org", &record));
    }

    #[test]
    fn lists_of_other_systems_are_read_and_bad_rows_are_named() {
        let text = "Email,Status\r\nAnn@Example.org,bounced\r\nnobody,x\r\n\r\nbob@example.org\r\n";
        let rows = read(text);
        let address = |at: usize| rows[at].1.as_ref().map(|row| row.address.as_str());
        assert_eq!(address(0), Ok("ann@example.org"));
        assert_eq!(rows[0].1.as_ref().unwrap().record.reason, "imported");
        assert_eq!((rows[1].0, address(1).unwrap_err().contains("nobody")), (3, true));
        assert_eq!(address(2), Ok("bob@example.org"));
        for (row, word) in [
            ("a@b.example,,what", "category"),
            ("a@b.example,,,yesterday", "at: "),
            ("a@b.example,,,,2001-01-01T00:00:00Z", "has passed"),
        ] {
            let text = format!("address,reason,category,at,expires_at\n{row}\n");
            let fault = read(&text)[0].1.clone().unwrap_err();
            assert!(fault.contains(word), "{fault}");
        }
        assert!(Rows::read("a,b\n".as_bytes(), "x", NOW).is_err());
    }

    #[test]
    fn what_a_stranger_wrote_is_no_formula() {
        assert_eq!(tame("=cmd|'/c calc'!A1"), "'=cmd|'/c calc'!A1");
        assert_eq!(tame("550 no"), "550 no");
    }
}
