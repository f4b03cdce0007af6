//! Lengths of time: when to come back, and for how long something was tried. Read from folded text,
//! by words that say so; a time of day is none.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::text::pattern;
use crate::plain::Lang;

/// Longer than this nothing is said to last.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longer than this no server asks anybody to wait: a queue gives up after five days.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A number and a unit of time, in seven languages.
const SPAN: &str = r"(\d{1,7})[ -]?(s|sec|secs|seconds?|secondes?|sekunden?|segundos?|secondi|seconden|mins?|minutes?|minuten?|minutos?|minuti|minuto|hours?|hrs?|heures?|stunden?|horas?|ore|ora|uur|days?|jours?|tagen?|tage|dias?|giorni|giorno|dagen)\b";

/// What is read out of `300 seconds`.
fn read(number: &str, unit: &str) -> Option<Duration> {
    let seconds: u64 = match unit {
        "uur" | "ore" | "ora" => 3600,
        unit if unit.starts_with(['h']) || unit.starts_with("stunde") => 3600,
        unit if unit.starts_with(['d', 'j', 'g']) || unit.starts_with("tag") => 86_400,
        unit if unit.starts_with('m') => 60,
        _ => 1,
    };
    let span = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    (!span.is_zero() && span <= SPAN_MAX).then_some(span)
}

/// When to come back: `try again in 5 minutes`, `00:04:32`.
pub(super) fn wait(folded: &str) -> Option<Duration> {
    static WAIT: LazyLock<Regex> = LazyLock::new(|| {
        let again = "again|retry|retries|retrying|back|wait|resend|later|greylisted|graylisted|greylisting|deferred|postponed|blocked|blacklisted|reessay[a-z]*|revenir|revenez|renouvel[a-z]*|attend[a-z]*|patient[a-z]*|erneut|wieder|versuch[a-z]*|spater|intent[a-z]*|reintent[a-z]*|espere|riprov[a-z]*|ritent[a-z]*|attender[a-z]*|opnieuw|remaining|left|restant[a-z]*";
        Regex::new(&format!(r"\b(?:{again})\b[^0-9.;!?]{{0,48}}?\b{SPAN}"))
            .expect("a valid pattern")
    });
    if let Some(found) = WAIT.captures(folded) {
        return read(&found[1], &found[2]).filter(|span| *span <= WAIT_MAX);
    }
    let clock = pattern!(
        r"\b(?:again|back|retry|wait|greylisted|graylisted)\b[^0-9.;]{0,24}\b(?:in|for) (\d{1,2}):(\d{2}):(\d{2})\b"
    );
    let found = clock.captures(folded)?;
    let part = |at: usize| found[at].parse::<u64>().ok();
    let span = Duration::from_secs(part(1)? * 3600 + part(2)? * 60 + part(3)?);
    (!span.is_zero()).then_some(span)
}

/// For how long it was tried: `unable to deliver in 840 minutes`.
pub(super) fn lasted(folded: &str) -> Option<Duration> {
    static LASTED: LazyLock<Regex> = LazyLock::new(|| {
        let cue = "deliver|delivered|delivery|queue|tried|trying|retried|attempts|undelivered|for the last|expired after|timeout|pendant|depuis|apres|seit|nach|wahrend|durante|despues|dopo|zugestellt";
        Regex::new(&format!(r"\b(?:{cue})\b[^0-9.;!?]{{0,48}}?\b{SPAN}")).expect("a valid pattern")
    });
    let found = LASTED.captures(folded)?;
    read(&found[1], &found[2])
}

/// For how long a mailbox is full: `since 2026-03-01`, `for 35 days`.
pub(super) fn since(folded: &str) -> Option<super::Since> {
    static FOR: LazyLock<Regex> = LazyLock::new(|| {
        let cue = "full for|quota for|over quota for|since|depuis|seit|desde hace|da";
        Regex::new(&format!(
            r"\b(?:{cue}) (?:more than |over |plus de |mehr als |mas de |oltre )?{SPAN}"
        ))
        .expect("a valid pattern")
    });
    let day = pattern!(
        r"\b(?:since|depuis le|seit dem|seit|desde el|desde|dal) (20\d{2})-(\d{2})-(\d{2})\b"
    );
    if let Some(found) = day.captures(folded) {
        let (year, month, day) =
            (found[1].parse().ok()?, found[2].parse().ok()?, found[3].parse().ok()?);
        let is_day = (1..=12).contains(&month) && (1..=31).contains(&day);
        return is_day.then_some(super::Since::Day(year, month, day));
    }
    let found = FOR.captures(folded)?;
    read(&found[1], &found[2]).map(super::Since::For)
}

/// A length of time for people: in one unit, rounded up, so that nobody comes too early.
pub(crate) fn in_words(span: Duration, lang: Lang) -> String {
    let seconds = span.as_secs();
    let (count, one, many) = match seconds {
        0..120 => (seconds, lang.pick("second", "seconde"), lang.pick("seconds", "secondes")),
        120..7200 => (seconds.div_ceil(60), "minute", "minutes"),
        7200..172_800 => {
            (seconds.div_ceil(3600), lang.pick("hour", "heure"), lang.pick("hours", "heures"))
        }
        _ => (seconds.div_ceil(86_400), lang.pick("day", "jour"), lang.pick("days", "jours")),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}
