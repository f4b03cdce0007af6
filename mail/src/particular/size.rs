//! Sizes: what a quota, a limit or a message has, as servers write it in several languages. A number
//! is a size only with its unit, or where the words before it leave no doubt.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;

use super::text::pattern;
use crate::plain::Lang;

/// A size in octets, at least one and at most [`SIZE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// More than any mailbox has: a pebibyte.
const SIZE_MAX: u64 = 1 << 50;
/// A whole number of a unit is shown up to here: one of five digits is no easier than tenths.
const WHOLE_MAX: u64 = 10_000;
/// Sizes looked at in one text: the quota, what is used, the message, and some more.
const FIGURES_MAX: usize = 6;
/// How far before a size its meaning may stand, in octets.
const CUE_OCTETS: usize = 48;

impl Size {
    /// A size of so many octets.
    #[must_use]
    pub fn new(octets: u64) -> Option<Self> {
        (1..=SIZE_MAX).contains(&octets).then_some(Self(octets))
    }

    /// With a unit for people. Cut, never rounded up: what is below a limit as it is shown is below
    /// it. Units of 1000 where the figure is whole in them, as a server wrote it, otherwise of 1024.
    #[must_use]
    pub fn in_words(self, lang: Lang) -> String {
        let octets = self.0;
        let base: u64 = if octets.is_multiple_of(1_000_000) { 1000 } else { 1024 };
        let units = lang.pick(["KB", "MB", "GB", "TB"], ["Ko", "Mo", "Go", "To"]);
        let Some(power) = (1..=4).rev().find(|power| octets >= base.pow(*power)) else {
            return format!("{octets} {}", lang.pick("bytes", "octets"));
        };
        let (unit, one) = (units[power as usize - 1], base.pow(power));
        let smaller = one / base;
        // 1030 MB rather than 1 GB, 1.5 GB rather than 1536 MB.
        let is_told_by_tenths = power == 1 || (octets * 10).is_multiple_of(one);
        let is_whole = octets.is_multiple_of(smaller) && octets / smaller < WHOLE_MAX;
        if !is_told_by_tenths && is_whole {
            return format!("{} {}", octets / smaller, units[power as usize - 2]);
        }
        match (octets / one, octets % one * 10 / one) {
            (whole, 0) => format!("{whole} {unit}"),
            (whole, tenth) => format!("{whole}{}{tenth} {unit}", lang.pick('.', ',')),
        }
    }
}

/// A size, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Figure {
    size: Size,
    start: usize,
    end: usize,
}

/// A number that has a unit. `Mo` and `Go` are so written, for `go` is an English word; a bare letter
/// stands at its number.
static FIGURE: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(\d{1,3}(?:[ ,.']\d{3})+|\d{1,13}(?:[.,]\d{1,2})?)";
    let unit = r"(?:[ -]?((?i:bytes?|octets?|oktetts?|[kmg]i?b|[kmg]bytes?|kilobytes?|megabytes?|megas?|gigabytes?|kilo-?octets?|m[eé]ga-?octets?|giga-?octets?|tb)|[kK]o|Mo|Go|To)|([KMG]))";
    Regex::new(&format!(r#"(?:^|[\s(\[<>=:"'/（])(?:{number}){unit}\b"#)).expect("a valid pattern")
});

fn figures(said: &str) -> Vec<Figure> {
    let all = FIGURE.captures_iter(said).filter_map(|found| {
        let number = found.get(1)?;
        let unit = found.get(2).or_else(|| found.get(3))?;
        let size = scaled(number.as_str(), unit.as_str())?;
        Some(Figure { size, start: number.start(), end: unit.end() })
    });
    all.take(FIGURES_MAX).collect()
}

/// `10,485,760` `bytes`, `1.5` `GB`.
fn scaled(number: &str, unit: &str) -> Option<Size> {
    let power = match unit.as_bytes().first()?.to_ascii_lowercase() {
        b'b' | b'o' => 0,
        b'k' => 1,
        b'm' => 2,
        b'g' => 3,
        _ => 4,
    };
    // `552 100 MB` is a code and a size; only octets are written in groups with blanks.
    if power > 0 && number.contains(' ') {
        return None;
    }
    let (whole, hundredths) = match number.rfind(['.', ',']) {
        Some(at) if number.len() - at <= 3 => (&number[..at], &number[at + 1..]),
        _ => (number, ""),
    };
    let digits: String = whole.chars().filter(char::is_ascii_digit).collect();
    let hundredths: u64 = format!("{hundredths:0<2}").parse().ok()?;
    let number = digits.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    Size::new(number.checked_mul(1u64 << (10 * power))? / 100)
}

/// What stands before a figure, as far as the figure before it, in lower case.
fn before<'a>(lower: &'a str, figures: &[Figure], at: usize) -> &'a str {
    let least = at.checked_sub(1).map_or(0, |previous| figures[previous].end);
    let mut from = figures[at].start.saturating_sub(CUE_OCTETS).max(least);
    while !lower.is_char_boundary(from) {
        from += 1;
    }
    &lower[from..figures[at].start]
}

/// The last of the cues, and how far its end is.
fn last(text: &str, cues: &[&str]) -> Option<usize> {
    cues.iter().filter_map(|cue| text.rfind(cue).map(|at| at + cue.len())).max()
}

const LIMIT: &[&str] = &[
    "limit",
    "max",
    "máx",
    "exceed",
    "larger than",
    "bigger than",
    "more than",
    "greater than",
    "over ",
    "up to",
    "allowed",
    "takes",
    "accept",
    "autoris",
    "dépass",
    "depass",
    "supérieur",
    "superieur",
    "grenze",
    "erlaubt",
    "höchst",
    "hoechst",
    "überschreit",
    "größer als",
    "groesser als",
    "permit",
    "上限",
    "supera",
    "excede",
    "superiore",
    "consentit",
    ">",
    "toegestaan",
];

/// The limit that a message of this size is over: the smaller of two figures, or the only one where
/// the words say that it is one.
pub(super) fn limit(said: &str, folded: &str) -> Option<(Size, Option<Size>)> {
    let (lower, all) = (said.to_ascii_lowercase(), figures(said));
    let is_limit = |at: usize| {
        let after: String = lower[all[at].end..].chars().take(12).collect();
        let follows = ["limit", "max", "máx"].iter().any(|cue| after.contains(cue));
        follows || last(before(&lower, &all, at), LIMIT).is_some()
    };
    match all[..] {
        [] => bare(folded),
        [one] => match (is_limit(0), bare(folded)) {
            // `it has 12345678 octets, the server takes 10485760`
            (_, Some((limit, _))) if limit < one.size => Some((limit, Some(one.size))),
            (true, _) => Some((one.size, None)),
            (false, _) => None,
        },
        [one, other] if is_limit(0) || is_limit(1) => {
            let (limit, message) = (one.size.min(other.size), one.size.max(other.size));
            Some((limit, (message > limit).then_some(message)))
        }
        _ => None,
    }
}

/// Octets without a unit, where the words leave no doubt. Five digits at least: a year has four.
fn bare(folded: &str) -> Option<(Size, Option<Size>)> {
    let number = |found: Option<regex::Match<'_>>| Size::new(found?.as_str().parse().ok()?);
    let pair = pattern!(r"\b(\d{5,13}) ?> ?(\d{5,13})(?:[^\d.:/_-]|$)");
    if let Some(found) = pair.captures(folded) {
        let (message, limit) = (number(found.get(1))?, number(found.get(2))?);
        return (message > limit).then_some((limit, Some(message)));
    }
    let limit = pattern!(
        r"(?:exceeds (?:the )?(?:fixed )?(?:maximum |max )?(?:message )?(?:size )?(?:limit )?(?:of )?|(?:maximum|max) (?:allowed )?(?:message )?size (?:allowed )?(?:is |of )?|size limit (?:is |of )?|limit (?:is |of |: ?)?|the server takes |size=)[:=]? ?[(\[]?(\d{5,13})(?:[\s)\];,]|\.?\s|$)"
    );
    let limit = number(limit.captures(folded)?.get(1))?;
    let message = pattern!(
        r"(?:message size|size of|message of|message has) ?[:=(]? ?(\d{5,13})(?:[\s)\];,]|$)"
    );
    let message = message.captures(folded).and_then(|found| number(found.get(1)));
    Some((limit, message.filter(|message| *message > limit)))
}

const USED: &[&str] = &[
    "used", "using", "usage", "current", "size", "holds", "contains", "stored", "has ", "occup",
    "utilis", "belegt", "ocupad", "usad", "usat", "gebruikt",
];
const QUOTA: &[&str] = &[
    "quota",
    "limit",
    "max",
    "máx",
    "capacity",
    "allowed",
    "allocat",
    "exceed",
    " of ",
    " sur ",
    " von ",
    " de ",
    " di ",
    "/",
    "available",
    "cuota",
    "storage space of",
];
const MESSAGE: &[&str] = &["message", "mail of", "courriel", "nachricht", "mensaje"];

/// What lies in a mailbox and what may, as far as it is said which is which.
pub(super) fn quota(said: &str) -> Option<(Option<Size>, Option<Size>)> {
    let (lower, all) = (said.to_ascii_lowercase(), figures(said));
    if let [first, second] = all[..] {
        // `1024M/1000M`, `1.2 GB of 1 GB`: the first is what lies there.
        let between = lower[first.end..second.start].trim();
        if matches!(between, "/" | "of" | "out of" | "sur" | "von" | "de" | "di") {
            return Some((Some(first.size), Some(second.size)));
        }
    }
    let (mut used, mut quota) = (None, None);
    for at in 0..all.len() {
        let words = before(&lower, &all, at);
        let into = match meaning(words) {
            Some(Meaning::Quota) => &mut quota,
            Some(Meaning::Used) => &mut used,
            None => continue,
        };
        if into.replace(all[at].size).is_some() {
            return None;
        }
    }
    (used.is_some() || quota.is_some()).then_some((used, quota))
}

enum Meaning {
    Used,
    Quota,
}

/// What the nearest cue before a figure says that it is.
fn meaning(words: &str) -> Option<Meaning> {
    let (is_quota, is_used) = (last(words, QUOTA), last(words, USED));
    // The message that found no room.
    if last(words, MESSAGE).is_some_and(|message| is_quota.is_none_or(|quota| quota < message)) {
        return None;
    }
    match is_quota.cmp(&is_used) {
        Ordering::Greater => Some(Meaning::Quota),
        Ordering::Less => Some(Meaning::Used),
        Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_people_write_them() {
        let cases = [
            (10_485_760, "10 MB", "10 Mo"),
            (20_000_000, "20 MB", "20 Mo"),
            (10_240_000, "9.7 MB", "9,7 Mo"),
            (1_610_612_736, "1.5 GB", "1,5 Go"),
            (524_288, "512 KB", "512 Ko"),
            (900, "900 bytes", "900 octets"),
            (1 << 40, "1 TB", "1 To"),
            (1030 << 20, "1030 MB", "1030 Mo"),
            (50_000 << 10, "48.8 MB", "48,8 Mo"),
        ];
        for (octets, en, fr) in cases {
            let size = Size::new(octets).expect("a size");
            assert_eq!(
                (size.in_words(Lang::En).as_str(), size.in_words(Lang::Fr).as_str()),
                (en, fr)
            );
        }
        assert_eq!((Size::new(0), Size::new(u64::MAX)), (None, None));
    }

    #[test]
    fn a_number_is_a_size_by_its_unit() {
        let found = |said: &str| figures(said).iter().map(|f| f.size.0).collect::<Vec<_>>();
        let cases: &[(&str, &[u64])] = &[
            ("10,485,760 bytes and 1.5 GB", &[10_485_760, 1_610_612_736]),
            ("10 485 760 octets, 25 Mo, 25Mo", &[10_485_760, 25 << 20, 25 << 20]),
            ("1024M/1000M (512 KiB)", &[1 << 30, 1000 << 20, 512 << 10]),
            ("552 100 MB", &[]),
            ("192.0.2.1 port 25 in 2024, +33 1 42 68 53 00", &[]),
            ("5 minutes, 25 go away, 10 m, version 4.2B-rc", &[]),
            ("99999999999999999999 GB", &[]),
        ];
        for (said, expected) in cases {
            assert_eq!(found(said), *expected, "{said}");
        }
    }
}
