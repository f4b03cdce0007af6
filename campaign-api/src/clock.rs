//! The API's clock, and times as clients write them (RFC 3339).

use std::time::{SystemTime, UNIX_EPOCH};

use mail::Timestamp;

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A moment from RFC 3339: `2026-11-22T14:00:00Z`, with a fraction and an offset if need be.
/// `None` when it is not one, or before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 || bytes.len() > 40 {
        return None;
    }
    let part = |at: usize, len: usize, min: i64, max: i64| {
        let digits = text.get(at..at + len).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok().filter(|n| (min..=max).contains(n))
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes[*at] != *mark)
        || !matches!(bytes[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let (year, month) = (part(0, 4, 1970, 9999)?, part(5, 2, 1, 12)?);
    let day = part(8, 2, 1, days_in(year, month))?;
    let (hour, minute) = (part(11, 2, 0, 23)?, part(14, 2, 0, 59)?);
    // A leap second counts as the one before it.
    let second = part(17, 2, 0, 60)?.min(59);
    let (millis, rest) = fraction(&text[19..])?;
    let local = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from((local - offset(rest)?) * 1000 + millis).ok().map(Timestamp)
}

fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let digits = &rest[..end.min(3)];
    let scale = 10_i64.pow(3 - u32::try_from(digits.len()).ok()?);
    Some((digits.parse::<i64>().ok()? * scale, &rest[end..]))
}

/// Seconds east of Greenwich.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || text[1..].contains(['+', '-']) {
        return None;
    }
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339_are_read_and_nothing_else() {
        let cases = [
            ("2024-02-29T12:34:56.007Z", Some(1_709_210_096_007)),
            ("2024-02-29T13:34:56.0079+01:00", Some(1_709_210_096_007)),
            ("2024-02-29t07:04:56-05:30", Some(1_709_210_096_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-02-29T12:34:56Z", None),
            ("2024-02-29T12:34:56", None),
            ("2024-02-29T24:00:00Z", None),
            ("2024-02-29 12:34", None),
            ("2024-02-29T12:34:56+1:00", None),
            ("2024-02-29T12:34:56.Z", None),
            ("tomorrow", None),
            ("1969-12-31T23:59:59Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("２024-02-29T12:34:56Z", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_rfc3339(text).map(|t| t.0), millis, "{text}");
        }
        let now = now();
        assert_eq!(parse_rfc3339(&now.to_string()), Some(now));
    }
}
