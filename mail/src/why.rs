//! Why a recipient has not got its message yet, and when it will: what binds, put in order and in
//! words. Finding out what binds is done elsewhere; here it becomes an answer.

mod words;

use std::time::Duration;

use serde::Serialize;

use crate::time::Timestamp;

pub use words::render;

crate::words! {
    /// Where a recipient stands.
    Stands {
        /// It waits in the queue.
        Waits = "waits",
        /// A relay has it in hand.
        InHand = "in-hand",
        /// The destination took the message.
        Delivered = "delivered",
        /// It failed for good.
        Failed = "failed",
        /// The address is on a suppression list.
        Suppressed = "suppressed",
        /// It was not sent in time.
        Expired = "expired",
        /// Its campaign was cancelled.
        Cancelled = "cancelled",
        /// Nobody could send it: an operator is to look at it.
        SetAside = "set-aside",
        /// Nothing is known of it.
        Unknown = "unknown",
    }
}

/// One thing that a recipient waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
pub enum Reason {
    /// The campaign was not started.
    NotStarted {
        /// It.
        campaign: String,
    },
    /// The campaign was paused.
    Paused {
        /// It.
        campaign: String,
        /// Who or which gate did it, and why, as far as is known.
        by: String,
    },
    /// The campaign starts by itself at that time.
    Scheduled {
        /// Then.
        at: Timestamp,
    },
    /// An operator suspended it.
    Suspended {
        /// The order's number.
        order: u64,
        /// The order, who gave it and why.
        words: String,
        /// It ends by itself then.
        until: Option<Timestamp>,
    },
    /// No relay runs.
    NoRelay,
    /// The relays that run lease nothing.
    Drained,
    /// The site has its sender, its campaign or what it links to wait.
    Held {
        /// The hold's number.
        order: u64,
        /// What is held.
        words: String,
        /// The site tries again then.
        until: Timestamp,
    },
    /// The hours in which it may go.
    Window {
        /// It opens then.
        opens: Timestamp,
    },
    /// The site blocks every source that it could go from.
    Blocked {
        /// The source, or the first of them.
        source: String,
        /// The site.
        site: String,
        /// The source is tried there again then; before that probes alone go.
        until: Timestamp,
    },
    /// What its source may send to the site's provider in an hour or a day is used up.
    UsedUp {
        /// The source, or the first of them.
        source: String,
        /// The site.
        site: String,
        /// There is more then.
        until: Timestamp,
    },
    /// The next attempt.
    Attempt {
        /// Then.
        at: Timestamp,
        /// Attempts that were made.
        made: u16,
        /// What was answered to the last one.
        reply: String,
    },
    /// Relays hold back because their hosts are under pressure.
    Pressure {
        /// What the freest of them takes of what it could, in hundredths.
        percent: u8,
        /// Why.
        because: String,
    },
    /// The pace of its site.
    Pace {
        /// The source.
        source: String,
        /// The site.
        site: String,
        /// Messages a second.
        rate: f64,
        /// Recipients that relays hold for the site: they may go before it.
        before: u64,
        /// Recipients that wait in running campaigns: they may, if all go to this site.
        before_max: u64,
    },
}

/// When it will go.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum When {
    /// It does not wait.
    Over,
    /// Now.
    Now,
    /// Between these, if nothing new happens.
    Between {
        /// Not before.
        from: Timestamp,
        /// Probably not after.
        to: Timestamp,
    },
    /// Not before somebody does this.
    Somebody {
        /// A command.
        command: String,
    },
}

impl Reason {
    /// What an operator types to end it, where it does not end by itself.
    fn command(&self) -> Option<String> {
        match self {
            Self::NotStarted { campaign } => Some(format!("POST /v1/campaigns/{campaign}/start")),
            Self::Paused { campaign, .. } => {
                Some(format!("malleposte queue resume campaign {campaign} --why …"))
            }
            Self::Suspended { order, until: None, .. } => {
                Some(format!("malleposte queue undo {order} --why …"))
            }
            Self::NoRelay => Some("malleposte relay".to_owned()),
            Self::Drained => Some("malleposte queue undo … (the drain)".to_owned()),
            Self::Suspended { .. }
            | Self::Scheduled { .. }
            | Self::Held { .. }
            | Self::Window { .. }
            | Self::Blocked { .. }
            | Self::UsedUp { .. }
            | Self::Attempt { .. }
            | Self::Pressure { .. }
            | Self::Pace { .. } => None,
        }
    }

    /// Not before this, where it ends by itself.
    fn not_before(&self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { at } | Self::Attempt { at, .. } => Some(*at),
            Self::Held { until, .. } | Self::Blocked { until, .. } | Self::UsedUp { until, .. } => {
                Some(*until)
            }
            Self::Suspended { until, .. } => *until,
            Self::Window { opens } => Some(*opens),
            Self::NotStarted { .. }
            | Self::Paused { .. }
            | Self::NoRelay
            | Self::Drained
            | Self::Pressure { .. }
            | Self::Pace { .. } => None,
        }
    }

    /// How long those before it take, at least and at most.
    fn line(&self) -> (Duration, Duration) {
        let Self::Pace { rate, before, before_max, .. } = self else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let lasts = |n: u64| {
            let seconds = n as f64 / rate.max(1e-6);
            Duration::from_secs_f64(seconds.clamp(0.0, 365.0 * 86_400.0))
        };
        (Duration::ZERO, lasts(*before.max(before_max)))
    }
}

/// The strongest first: what only somebody ends, then what lasts longest.
pub fn put_in_order(reasons: &mut [Reason]) {
    reasons.sort_by_key(|reason| {
        let by_hand = reason.command().is_some();
        (!by_hand, std::cmp::Reverse(reason.not_before()))
    });
}

/// When it will go, seeing what it waits for.
#[must_use]
pub fn when(stands: Stands, reasons: &[Reason], now: Timestamp) -> When {
    match stands {
        Stands::Waits | Stands::InHand => {}
        Stands::Delivered
        | Stands::Failed
        | Stands::Suppressed
        | Stands::Expired
        | Stands::Cancelled
        | Stands::SetAside
        | Stands::Unknown => return When::Over,
    }
    if let Some(command) = reasons.iter().find_map(Reason::command) {
        return When::Somebody { command };
    }
    let from = reasons.iter().filter_map(Reason::not_before).max().unwrap_or(now).max(now);
    let lines = reasons.iter().map(Reason::line);
    let (least, most) = lines.fold((Duration::ZERO, Duration::ZERO), |(least, most), line| {
        (least.max(line.0), most.max(line.1))
    });
    let (from, to) = (from + least, from + most);
    if to.since(now) < Duration::from_secs(2) { When::Now } else { When::Between { from, to } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::Lang;

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn in_s(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    fn pace(rate: f64, before: u64) -> Reason {
        let (source, site) = ("eu-1".to_owned(), "mx.example.org".to_owned());
        Reason::Pace { source, site, rate, before, before_max: before * 2 }
    }

    #[test]
    fn what_only_somebody_ends_comes_first_and_then_what_lasts_longest() {
        let window = Reason::Window { opens: in_s(50) };
        let attempt = Reason::Attempt { at: in_s(600), made: 2, reply: "451 later".into() };
        let paused = Reason::Paused { campaign: "c7".into(), by: "gate bounces".into() };
        let mut all = vec![pace(2.0, 10), window.clone(), attempt.clone()];
        put_in_order(&mut all);
        assert_eq!(all, [attempt.clone(), window.clone(), pace(2.0, 10)]);
        assert_eq!(
            when(Stands::Waits, &all, NOW),
            When::Between { from: in_s(600), to: in_s(610) }
        );
        all.push(paused.clone());
        put_in_order(&mut all);
        assert_eq!(all[0], paused);
        let command = "malleposte queue resume campaign c7 --why …".to_owned();
        assert_eq!(when(Stands::Waits, &all, NOW), When::Somebody { command });
        assert_eq!(when(Stands::Delivered, &all, NOW), When::Over);
    }

    #[test]
    fn nothing_in_the_way_is_now_and_a_slow_pace_is_a_range() {
        assert_eq!(when(Stands::Waits, &[], NOW), When::Now);
        assert_eq!(when(Stands::InHand, &[pace(100.0, 20)], NOW), When::Now);
        let past = Reason::Attempt { at: Timestamp(1), made: 1, reply: String::new() };
        assert_eq!(when(Stands::Waits, &[past], NOW), When::Now);
        assert_eq!(
            when(Stands::Waits, &[pace(0.5, 30)], NOW),
            When::Between { from: NOW, to: in_s(120) }
        );
    }

    #[test]
    fn the_answer_reads_in_both_languages() {
        let reasons = [
            Reason::Attempt { at: in_s(60), made: 1, reply: "451 4.7.1 come back".into() },
            pace(2.0, 10),
        ];
        let when = when(Stands::Waits, &reasons, NOW);
        assert_eq!(
            render(Stands::Waits, &reasons, &when, Lang::En),
            "It waits.\n  \
             for the next attempt at 2026-11-18 11:07:40 UTC, after 1 that got \"451 4.7.1 come back\"\n  \
             for its turn: 2.0 a second from eu-1 to mx.example.org, where relays hold 10 and 20 wait in running campaigns\n\
             It goes between 2026-11-18 11:07:40 UTC and 2026-11-18 11:07:50 UTC, if nothing new happens.\n"
        );
        assert_eq!(
            render(Stands::Waits, &reasons[..1], &When::Now, Lang::Fr),
            "Il attend.\n  \
             pour le prochain essai à 2026-11-18 11:07:40 UTC, après 1 qui ont reçu \"451 4.7.1 come back\"\n\
             Il part maintenant.\n"
        );
        for stands in Stands::ALL {
            for lang in [Lang::En, Lang::Fr] {
                assert!(stands.phrase(lang).ends_with('.'), "{stands}");
            }
        }
    }
}
