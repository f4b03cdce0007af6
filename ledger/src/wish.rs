//! Questions in words, as people type them in a command or an address: both ask in the same ones.

use mail::event::EventKind;
use mail::{CampaignId, Category, Timestamp};
use serde::Deserialize;

use crate::stats::{GroupBy, Sort, StatsQuestion};
use crate::trace::TraceFilter;

const DAY_MS: u64 = 86_400_000;
/// What is asked for when nobody says since when.
const ORDINARY_MS: u64 = DAY_MS;
/// Rows of a statistic unless asked otherwise.
const ORDINARY_ROWS: usize = 50;

/// What is wrong with a question: which part, quoted, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {value:?} {why}")]
pub struct BadWish {
    /// The part of the question.
    pub name: &'static str,
    /// What was asked for.
    pub value: String,
    /// What may be.
    pub why: String,
}

impl BadWish {
    fn new(name: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self { name, value: value.chars().take(60).collect(), why: why.into() }
    }
}

/// A statistic as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsWish {
    /// What to group by, parted by commas.
    pub by: Option<String>,
    /// From when on: a moment, a date, `today`, or so long ago: `90m`, `24h`, `7d`, `4w`.
    pub since: Option<String>,
    /// Up to when; now unless it is said.
    pub until: Option<String>,
    /// One tenant.
    pub tenant: Option<String>,
    /// A part of the sender's address.
    pub sender: Option<String>,
    /// One campaign.
    pub campaign: Option<String>,
    /// One relay.
    pub relay: Option<String>,
    /// One source.
    pub source: Option<String>,
    /// One site.
    pub site: Option<String>,
    /// One recipient's domain.
    pub domain: Option<String>,
    /// One category.
    pub category: Option<String>,
    /// What the largest rows are the largest in.
    pub sort: Option<String>,
    /// So many rows.
    pub limit: Option<usize>,
    /// Beside each row the period before.
    pub compare: Option<bool>,
}

impl StatsWish {
    /// The question.
    ///
    /// # Errors
    /// The part that means nothing.
    pub fn question(self, now: Timestamp) -> Result<StatsQuestion, BadWish> {
        let (since, until) = period(self.since.as_deref(), self.until.as_deref(), now)?;
        let by = self.by.as_deref().unwrap_or_default();
        let names = by.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mut groups = Vec::new();
        for name in names {
            let group =
                one_of("by", name, GroupBy::from_word, GroupBy::ALL.iter().map(|g| g.as_str()))?;
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        if groups.iter().filter(|group| group.is_time()).count() > 1 {
            return Err(BadWish::new("by", by, "names two times: one of minute, hour and day"));
        }
        let sort = match self.sort.as_deref() {
            Some(word) => {
                one_of("sort", word, Sort::from_word, Sort::ALL.iter().map(|s| s.as_str()))?
            }
            None => Sort::Attempts,
        };
        Ok(StatsQuestion {
            by: groups,
            tenant: self.tenant,
            sender: self.sender,
            campaign: self.campaign.as_deref().map(campaign).transpose()?,
            relay: self.relay,
            source: self.source,
            site: self.site,
            domain: self.domain,
            category: self.category.as_deref().map(category).transpose()?,
            with_before: self.compare.unwrap_or(false),
            sort,
            limit: self.limit.unwrap_or(ORDINARY_ROWS),
            ..StatsQuestion::between(since, until)
        })
    }
}

/// A trace as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceWish {
    /// The recipient's address, or a part of it.
    pub address: Option<String>,
    /// The recipient's domain.
    pub domain: Option<String>,
    /// One tenant.
    pub tenant: Option<String>,
    /// A part of the sender's address.
    pub sender: Option<String>,
    /// One campaign.
    pub campaign: Option<String>,
    /// What happened.
    pub kind: Option<String>,
    /// Why.
    pub category: Option<String>,
    /// A part of the site's name.
    pub site: Option<String>,
    /// One source.
    pub source: Option<String>,
    /// One relay.
    pub relay: Option<String>,
    /// A part of a reply or a note.
    pub text: Option<String>,
    /// From when on.
    pub since: Option<String>,
    /// Up to when.
    pub until: Option<String>,
}

impl TraceWish {
    /// The filter.
    ///
    /// # Errors
    /// The part that means nothing.
    pub fn filter(self, now: Timestamp) -> Result<TraceFilter, BadWish> {
        let kinds = || EventKind::ALL.iter().map(|kind| kind.as_str());
        let at = |name, text: Option<String>| text.map(|text| moment(name, &text, now)).transpose();
        Ok(TraceFilter {
            address: self.address,
            domain: self.domain,
            tenant: self.tenant,
            sender: self.sender,
            campaign: self.campaign.as_deref().map(campaign).transpose()?,
            delivery: None,
            kind: self
                .kind
                .as_deref()
                .map(|word| one_of("kind", word, EventKind::from_word, kinds()))
                .transpose()?,
            category: self.category.as_deref().map(category).transpose()?,
            site: self.site,
            source: self.source,
            relay: self.relay,
            text: self.text,
            since: at("since", self.since)?,
            until: at("until", self.until)?,
        })
    }
}

fn period(
    since: Option<&str>,
    until: Option<&str>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), BadWish> {
    let until = until.map_or(Ok(now), |text| moment("until", text, now))?;
    let ordinary = Timestamp(until.0.saturating_sub(ORDINARY_MS));
    let begin = since.map_or(Ok(ordinary), |text| moment("since", text, now))?;
    if begin >= until {
        let why = format!("is not before {until}, where the period ends");
        return Err(BadWish::new("since", since.unwrap_or_default(), why));
    }
    Ok((begin, until))
}

/// A moment: RFC 3339, a date (its first moment, UTC), `now`, `today`, `yesterday`, or a time ago.
fn moment(name: &'static str, text: &str, now: Timestamp) -> Result<Timestamp, BadWish> {
    let today = now.0 / DAY_MS * DAY_MS;
    let read = || match text {
        "now" => Some(now),
        "today" => Some(Timestamp(today)),
        "yesterday" => Some(Timestamp(today.saturating_sub(DAY_MS))),
        text if text.len() == 10 => format!("{text}T00:00:00Z").parse().ok(),
        text => ago(text, now).or_else(|| text.parse().ok()),
    };
    read().ok_or_else(|| {
        let why = "is no time: write 2026-11-27T08:00:00Z, 2026-11-27, today, or so long ago: 90m, 24h, 7d, 4w";
        BadWish::new(name, text, why)
    })
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    Some(Timestamp(now.0.saturating_sub(ms)))
}

fn campaign(text: &str) -> Result<CampaignId, BadWish> {
    let why = "is no campaign: write its id, such as c12";
    text.parse().map_err(|_| BadWish::new("campaign", text, why))
}

fn category(word: &str) -> Result<Category, BadWish> {
    let words = Category::ALL.iter().map(|category| category.as_str());
    one_of("category", word, Category::from_word, words)
}

fn one_of<T>(
    name: &'static str,
    word: &str,
    read: impl Fn(&str) -> Option<T>,
    words: impl Iterator<Item = &'static str>,
) -> Result<T, BadWish> {
    read(word).ok_or_else(|| {
        let words: Vec<&str> = words.collect();
        BadWish::new(name, word, format!("is none of {}", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27, 15:30.
    const NOW: Timestamp = Timestamp(1_795_793_400_000);

    fn stats(wish: StatsWish) -> Result<StatsQuestion, String> {
        wish.question(NOW).map_err(|e| e.to_string())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let cases = [
            ("2026-11-27T08:00:00Z", "2026-11-27T08:00:00.000Z"),
            ("2026-11-27T08:00:00+01:00", "2026-11-27T07:00:00.000Z"),
            ("2026-11-01", "2026-11-01T00:00:00.000Z"),
            ("today", "2026-11-27T00:00:00.000Z"),
            ("yesterday", "2026-11-26T00:00:00.000Z"),
            ("90m", "2026-11-27T14:00:00.000Z"),
            ("24h", "2026-11-26T15:30:00.000Z"),
            ("1w", "2026-11-20T15:30:00.000Z"),
        ];
        for (written, meant) in cases {
            let question = stats(StatsWish { since: text(written), ..StatsWish::default() });
            assert_eq!(question.unwrap().since.to_string(), meant, "{written}");
        }
        for wrong in ["", "h", "5", "-5h", "5y", "2026-13-01", "soon", "99999999999999999999w", "é"]
        {
            let told = stats(StatsWish { since: text(wrong), ..StatsWish::default() }).unwrap_err();
            assert!(told.starts_with(&format!("since: {wrong:?} is no time")), "{told}");
        }
    }

    #[test]
    fn what_means_nothing_is_quoted_with_what_may_be() {
        let wrong = [
            (
                StatsWish { by: text("domain,planet"), ..StatsWish::default() },
                "by: \"planet\" is none of tenant, sender",
            ),
            (
                StatsWish { by: text("hour,day"), ..StatsWish::default() },
                "by: \"hour,day\" names two times",
            ),
            (
                StatsWish { campaign: text("spring"), ..StatsWish::default() },
                "campaign: \"spring\" is no campaign",
            ),
            (
                StatsWish { category: text("dead"), ..StatsWish::default() },
                "category: \"dead\" is none of no-mailbox",
            ),
            (
                StatsWish { sort: text("size"), ..StatsWish::default() },
                "sort: \"size\" is none of attempts",
            ),
            (
                StatsWish { since: text("now"), ..StatsWish::default() },
                "since: \"now\" is not before",
            ),
        ];
        for (wish, meant) in wrong {
            let told = stats(wish).unwrap_err();
            assert!(told.starts_with(meant), "{told}");
        }
        let told =
            TraceWish { kind: text("bounced"), ..TraceWish::default() }.filter(NOW).unwrap_err();
        assert!(
            told.to_string().starts_with("kind: \"bounced\" is none of accepted, delivered"),
            "{told}"
        );
        let question =
            stats(StatsWish { by: text("site, day,site"), ..StatsWish::default() }).unwrap();
        assert_eq!(question.by, [GroupBy::Site, GroupBy::Day]);
    }
}
