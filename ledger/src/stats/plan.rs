//! Which sums a question is answered from: the coarsest that say it exactly.

use mail::Timestamp;

use super::{GroupBy, StatsQuestion};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Where numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    FlowMinute,
    FlowHour,
    FlowDay,
    PlaceHour,
    PlaceDay,
    /// The events themselves.
    Events,
}

impl Source {
    /// How long one row's time is, in milliseconds.
    pub(super) const fn unit_ms(self) -> u64 {
        match self {
            Self::Events => 1,
            Self::FlowMinute => MINUTE_MS,
            Self::FlowHour | Self::PlaceHour => HOUR_MS,
            Self::FlowDay | Self::PlaceDay => DAY_MS,
        }
    }
}

/// A part of the period, and where its numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) source: Source,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// The whole period in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) spans: Vec<Span>,
    sources: Vec<Source>,
}

impl Plan {
    pub(super) fn of(question: &StatsQuestion) -> Self {
        let asks = |by| question.by.contains(&by);
        let finest = question.by.iter().filter_map(|by| by.unit_ms()).min().unwrap_or(DAY_MS);
        let by_domain = asks(GroupBy::Domain) || question.domain.is_some();
        let by_site = asks(GroupBy::Site) || question.site.is_some();
        let by_relay = asks(GroupBy::Relay) || question.relay.is_some();
        let by_minute = finest == MINUTE_MS;
        let sources: &[Source] = match (by_domain || by_site, by_relay) {
            (true, true) => &[Source::Events],
            // Minutes know the sites that are busy, and no domains.
            (true, false) if by_minute && by_domain => &[Source::Events],
            (true, false) if by_minute => &[Source::FlowMinute],
            (true, false) => &[Source::PlaceHour, Source::PlaceDay],
            (false, _) => &[Source::FlowMinute, Source::FlowHour, Source::FlowDay],
        };
        let fits = |source: &&Source| source.unit_ms() <= finest;
        Self::over(question.since, question.until, sources.iter().filter(fits).copied().collect())
    }

    fn over(since: Timestamp, until: Timestamp, sources: Vec<Source>) -> Self {
        let unit = sources.first().map_or(1, |source| source.unit_ms());
        let since = Timestamp(since.0 / unit * unit);
        let until = Timestamp(until.0.div_ceil(unit).saturating_mul(unit)).max(since);
        let mut spans = Vec::new();
        divide((since.0, until.0), &sources, &mut spans);
        Self { since, until, spans, sources }
    }

    /// The same of as long a time before.
    pub(super) fn earlier(&self, length: u64) -> Self {
        let since = Timestamp(self.since.0.saturating_sub(length));
        Self::over(since, self.since, self.sources.clone())
    }
}

/// Whole units of the coarsest source, and what is left at both ends of the finer ones.
fn divide((since, until): (u64, u64), sources: &[Source], spans: &mut Vec<Span>) {
    let Some((source, finer)) = sources.split_last() else { return };
    if since >= until {
        return;
    }
    let unit = source.unit_ms();
    let (first, last) = (since.div_ceil(unit) * unit, until / unit * unit);
    if first >= last {
        return divide((since, until), finer, spans);
    }
    divide((since, first), finer, spans);
    spans.push(Span { source: *source, since: Timestamp(first), until: Timestamp(last) });
    divide((last, until), finer, spans);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_divided_into_the_coarsest_sums_without_gap() {
        let at = |day: u64, hour: u64, minute: u64| {
            Timestamp(day * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS)
        };
        let question = StatsQuestion::between(Timestamp(at(3, 22, 58).0 + 1), at(6, 1, 3));
        let plan = Plan::of(&question);
        assert_eq!((plan.since, plan.until), (at(3, 22, 58), at(6, 1, 3)));
        let told: Vec<_> = plan.spans.iter().map(|s| (s.source, s.since, s.until)).collect();
        let expected = [
            (Source::FlowMinute, at(3, 22, 58), at(3, 23, 0)),
            (Source::FlowHour, at(3, 23, 0), at(4, 0, 0)),
            (Source::FlowDay, at(4, 0, 0), at(6, 0, 0)),
            (Source::FlowHour, at(6, 0, 0), at(6, 1, 0)),
            (Source::FlowMinute, at(6, 1, 0), at(6, 1, 3)),
        ];
        assert_eq!(told, expected);
        let before = plan.earlier(plan.until.0 - plan.since.0);
        assert_eq!(before.until, plan.since);
        assert_eq!(before.until.0 - before.since.0, plan.until.0 - plan.since.0);
        for by in [GroupBy::Hour, GroupBy::Minute] {
            let plan = Plan::of(&StatsQuestion { by: vec![by], ..question.clone() });
            let fine = |span: &Span| span.source.unit_ms() <= by.unit_ms().unwrap();
            assert!(plan.spans.iter().all(fine), "{plan:?}");
        }
    }

    #[test]
    fn what_no_sum_says_is_counted_one_by_one() {
        let day = StatsQuestion::between(Timestamp(0), Timestamp(DAY_MS));
        let source = |by: &[GroupBy]| {
            Plan::of(&StatsQuestion { by: by.to_vec(), ..day.clone() }).spans[0].source
        };
        assert_eq!(source(&[GroupBy::Domain]), Source::PlaceDay);
        assert_eq!(source(&[GroupBy::Site, GroupBy::Minute]), Source::FlowMinute);
        assert_eq!(source(&[GroupBy::Domain, GroupBy::Minute]), Source::Events);
        assert_eq!(source(&[GroupBy::Domain, GroupBy::Relay]), Source::Events);
    }
}
