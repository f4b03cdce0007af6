//! What DNS shows at the name of a DKIM key, compared with the record that must stand
//! there. Asking DNS is the caller's.

/// Records read at a name: a key is one of a few.
const RECORDS_MAX: usize = 20;

/// How the TXT records at a key's name compare with ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The key is there.
    Right,
    /// No TXT record is there.
    Missing,
    /// The record of a key that was taken back: `p=` is empty (RFC 6376, 3.6.1).
    Revoked,
    /// The key is there and other key records beside it: which one a receiver takes is its
    /// own choice (RFC 6376, 3.6.2.2).
    Several(usize),
    /// Ours, in so many records instead of one of several strings.
    InRecords(usize),
    /// Ours, with quotation marks or backslashes in the text.
    Quoted,
    /// Ours, up to so many octets.
    Cut(usize),
    /// Something else.
    Other,
}

/// Compares the TXT records found, each with its strings joined, with ours.
#[must_use]
pub fn compare(found: &[String], ours: &str) -> Shown {
    let found = &found[..found.len().min(RECORDS_MAX)];
    let keys = found.iter().filter(|record| tag(&tags(record), "p").is_some()).count();
    if found.iter().any(|record| is_same_key(record, ours)) {
        return if keys > 1 { Shown::Several(keys) } else { Shown::Right };
    }
    if found.is_empty() {
        return Shown::Missing;
    }
    broken(found, ours)
}

/// What went wrong on the way into the zone.
fn broken(found: &[String], ours: &str) -> Shown {
    let ours = plain(ours);
    let pieces: Vec<String> = found.iter().map(|record| plain(record)).collect();
    if pieces.contains(&ours) {
        return Shown::Quoted;
    }
    let parts: Vec<&String> =
        pieces.iter().filter(|p| !p.is_empty() && ours.contains(p.as_str())).collect();
    if parts.len() > 1 && parts.iter().map(|p| p.len()).sum::<usize>() == ours.len() {
        return Shown::InRecords(parts.len());
    }
    // Long enough that it is no other key of the same kind.
    let start = ours.find("p=").map_or(0, |at| at + 20);
    match pieces.iter().find(|p| p.len() > start && ours.starts_with(p.as_str())) {
        Some(cut) => Shown::Cut(cut.len()),
        None if found.iter().any(|r| tag(&tags(r), "p").is_some_and(str::is_empty)) => {
            Shown::Revoked
        }
        None => Shown::Other,
    }
}

fn plain(record: &str) -> String {
    record.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\\')).collect()
}

/// Whether two DKIM key records (RFC 6376, 3.6.1) hold the same key: spaces, the order of
/// tags and tags that do not concern the key may differ.
fn is_same_key(found: &str, ours: &str) -> bool {
    let (found, ours) = (tags(found), tags(ours));
    let kind = |tags: &[(String, String)]| tag(tags, "k").unwrap_or("rsa").to_ascii_lowercase();
    let version = tag(&found, "v").is_none_or(|v| v == "DKIM1");
    let key = tag(&found, "p").filter(|p| !p.is_empty());
    version && key.is_some() && key == tag(&ours, "p") && kind(&found) == kind(&ours)
}

fn tags(record: &str) -> Vec<(String, String)> {
    let bare = |text: &str| text.split_ascii_whitespace().collect::<String>();
    record.split(';').filter_map(|t| t.split_once('=')).map(|(n, v)| (bare(n), bare(v))).collect()
}

fn tag<'a>(tags: &'a [(String, String)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "v=DKIM1; k=rsa; p=MIIB+abcdefghijklmnopqrstuvwxyz/==";

    fn shown(found: &[&str]) -> Shown {
        compare(&found.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>(), OURS)
    }

    #[test]
    fn the_key_counts_and_not_how_it_is_written() {
        for same in [
            "v=DKIM1;k=rsa;p=MIIB+abcdefghijklmnopqrstuvwxyz/==",
            "p=MIIB+abcdefghij klmnopqrstuvwxyz/==",
            "v=DKIM1; p=MIIB+abcdefghijklmnopqrstuvwxyz/==; t=s",
        ] {
            assert_eq!(shown(&[same]), Shown::Right, "{same}");
            assert_eq!(shown(&["v=spf1 -all", same]), Shown::Right, "{same}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let quoted = format!("\"{}\" \"{}\"", &OURS[..30], &OURS[30..]);
        let cases: [(&[&str], Shown); 9] = [
            (&[], Shown::Missing),
            (&[OURS, "v=DKIM1; p=MIIBother"], Shown::Several(2)),
            (&[&OURS[30..], &OURS[..30]], Shown::InRecords(2)),
            (&[&quoted], Shown::Quoted),
            (&[&OURS[..44]], Shown::Cut(42)),
            (&["v=DKIM1; p="], Shown::Revoked),
            (&["v=DKIM1; p=MIIBother"], Shown::Other),
            (&["v=DKIM1; k=ed25519; p=MIIB+abcdefghijklmnopqrstuvwxyz/=="], Shown::Other),
            (&["v=spf1 -all", ""], Shown::Other),
        ];
        for (found, expected) in cases {
            assert_eq!(shown(found), expected, "{found:?}");
        }
    }
}
