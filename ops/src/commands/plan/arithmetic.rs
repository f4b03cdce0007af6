//! How much of everything a number of messages takes, each with its arithmetic. Nothing is measured
//! here: figures, history and wishes are arguments.

use loadtests::Figures;
use mail::plain::Lang;
use serde::Serialize;

/// What is wished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wish {
    /// Messages a day.
    pub(super) per_day: f64,
    /// Messages in the busiest hour.
    pub(super) per_hour: f64,
    /// Whether that was said, or made up from the day.
    pub(super) is_hour_given: bool,
    /// Octets of a message.
    pub(super) octets: f64,
    /// Processors of each relay's host.
    pub(super) cores: f64,
    /// Months of history that are kept.
    pub(super) months: f64,
}

/// What one's own history tells, or what is assumed without one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Habits {
    /// Where it comes from: `history` or `assumed`.
    pub(super) from: &'static str,
    /// Attempts that are put off, for each message.
    pub(super) deferrals: f64,
    /// Reports, complaints and other mail that comes back, for each message.
    pub(super) returns: f64,
    /// The part of the largest site, and its name.
    pub(super) largest: (f64, String),
    /// Messages a second that it takes from one address.
    pub(super) largest_rate: f64,
    /// Whether that was found, or is assumed.
    pub(super) is_rate_found: bool,
    /// Seconds that a message holds a connection: always assumed.
    pub(super) seconds: f64,
}

impl Habits {
    /// Without a history: a third of the recipients at one provider which takes 20 messages a second
    /// from one address, a second a message, one in ten put off once, one in fifty comes back.
    pub(super) fn assumed() -> Self {
        Self {
            from: "assumed",
            deferrals: 0.1,
            returns: 0.02,
            largest: (1.0 / 3.0, "the largest provider".into()),
            largest_rate: 20.0,
            is_rate_found: false,
            seconds: 1.0,
        }
    }
}

/// A processor that is planned to be busier than this has no room for a bad hour.
const BUSY: f64 = 0.6;
/// Without a burst a day's mail is taken to go in so many hours.
pub(super) const HOURS: f64 = 8.0;
/// Redis forks to write: it may need as much again; and what is not recipients.
const REDIS_ROOM: f64 = 2.0;
const REDIS_MIB: f64 = 64.0;
/// Names in real lists repeat less than those that were measured with.
const REAL_NAMES: f64 = 2.5;
/// Octets of the append-only file for a recipient: in, and out with its events.
const AOF_BYTES: f64 = 310.0;
/// Headers of TCP and IP, TLS records, commands and replies, above the message.
const WIRE: f64 = 1.06;
/// Events of a message that is delivered at once: accepted in bulk, delivered.
const EVENTS: f64 = 1.1;
/// Memory of a connection in a relay, in octets.
const CONNECTION_BYTES: f64 = 60_000.0;
/// Connections of a relay, as it comes.
const CONNECTIONS_A_RELAY: f64 = 1000.0;
const MIB: f64 = 1_048_576.0;

/// One line of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    /// What is needed.
    pub(super) what: &'static str,
    /// How much.
    pub(super) value: f64,
    /// In which unit.
    pub(super) unit: &'static str,
    /// Why so much.
    pub(super) because: String,
}

/// What it takes.
pub(super) fn plan(wish: &Wish, figures: &Figures, habits: &Habits) -> Vec<Line> {
    let mut paper =
        Paper { wish, figures, habits, peak: wish.per_hour / 3600.0, lines: Vec::new() };
    paper.peak();
    paper.relays();
    paper.sources();
    paper.redis();
    paper.wire();
    paper.history();
    paper.lines
}

/// What is reckoned with, and what has been so far.
struct Paper<'a> {
    wish: &'a Wish,
    figures: &'a Figures,
    habits: &'a Habits,
    /// Messages a second in the busiest hour.
    peak: f64,
    lines: Vec<Line>,
}

impl Paper<'_> {
    fn line(&mut self, what: &'static str, value: f64, unit: &'static str, because: String) -> f64 {
        self.lines.push(Line { what, value, unit, because });
        value
    }

    fn peak(&mut self) {
        let wish = self.wish;
        let why = match wish.is_hour_given {
            true => format!(
                "{} an hour; {} a second on average over the day",
                count(wish.per_hour),
                short(wish.per_day / 86_400.0)
            ),
            false => format!("{} a day, gone in {HOURS} hours", count(wish.per_day)),
        };
        self.line("messages at the peak", self.peak, "/s", why);
    }

    /// Relays, with their processors, connections and memory.
    fn relays(&mut self) {
        let (wish, figures, habits, peak) = (self.wish, self.figures, self.habits, self.peak);
        // What is put off is tried again, and costs most of it again.
        let tries = 1.0 + habits.deferrals;
        let kb = wish.octets / 1000.0;
        let us = figures.relay_us + figures.relay_us_per_kb * (kb - 10.0).max(0.0);
        let busy = peak * tries * us / 1e6;
        let processors = self.line(
            "relay processors",
            busy / BUSY,
            "",
            format!(
                "{} × {} tries × {} µs = {} busy; at most {:.0} % of each",
                short(peak),
                short(tries),
                short(us),
                short(busy),
                BUSY * 100.0
            ),
        );
        let in_flight = peak * tries * habits.seconds;
        let connections = self.line(
            "SMTP connections",
            in_flight.ceil().max(1.0),
            "",
            format!("{} tries a second × {} s each", short(peak * tries), short(habits.seconds)),
        );
        let by_processors = (processors / wish.cores).ceil();
        let by_connections = (connections / CONNECTIONS_A_RELAY).ceil();
        let least = by_processors.max(by_connections).max(1.0);
        let relays = self.line(
            "relays",
            least + 1.0,
            "",
            format!(
                "{least} of {} processors ({by_processors} by processors, {by_connections} by connections of {CONNECTIONS_A_RELAY}), and one that may fail",
                wish.cores
            ),
        );
        self.line(
            "memory of a relay",
            (figures.relay_mib + connections / (relays - 1.0) * CONNECTION_BYTES / MIB).ceil(),
            "MiB",
            format!(
                "{} measured, and {} KB a connection",
                short(figures.relay_mib),
                CONNECTION_BYTES / 1000.0
            ),
        );
    }

    /// Addresses, by what the largest site takes from one.
    fn sources(&mut self) {
        let (wish, habits, peak) = (self.wish, self.habits, self.peak);
        let (share, name) = &habits.largest;
        let there = peak * share;
        self.line(
            "source addresses",
            (there / habits.largest_rate).ceil().max(1.0),
            "",
            format!(
                "{:.0} % goes to {name}: {} a second, {} from one address ({}); spread the day and it is {}",
                share * 100.0,
                short(there),
                short(habits.largest_rate),
                if habits.is_rate_found { "found" } else { "assumed" },
                (wish.per_day / 86_400.0 * share / habits.largest_rate).ceil().max(1.0)
            ),
        );
    }

    /// Redis: memory, processors, disk.
    fn redis(&mut self) {
        let (wish, figures, habits, peak) = (self.wish, self.figures, self.habits, self.peak);
        let waiting = figures.redis_bytes_waiting * REAL_NAMES;
        let deferred = wish.per_day * habits.deferrals.min(1.0);
        let content = wish.per_day * waiting + deferred * figures.redis_bytes_deferred;
        self.line(
            "Redis memory",
            (content * REDIS_ROOM / MIB + REDIS_MIB).ceil(),
            "MiB",
            format!(
                "a day's recipients waiting at once: {} × {} octets, {} put off × {}; twice that while it writes its files anew, and {REDIS_MIB} besides",
                count(wish.per_day),
                short(waiting),
                count(deferred),
                short(figures.redis_bytes_deferred)
            ),
        );
        let redis_us = figures.redis_us + habits.returns * figures.report_redis_us;
        self.line(
            "Redis processors",
            peak * redis_us / 1e6 / BUSY,
            "",
            format!("{} × {} µs, returned mail included", short(peak), short(redis_us)),
        );
        self.line(
            "Redis disk writes",
            wish.per_day * AOF_BYTES / 1e9,
            "GB/day",
            format!("{} × {AOF_BYTES} octets, in and out", count(wish.per_day)),
        );
    }

    /// What goes out.
    fn wire(&mut self) {
        let (wish, peak) = (self.wish, self.peak);
        let bits = peak * wish.octets * WIRE * 8.0;
        self.line(
            "bandwidth out",
            bits / 1e6,
            "Mbit/s",
            format!(
                "{} × {} KB × 8 bits, {:.0} % for the wire",
                short(peak),
                short(wish.octets / 1000.0),
                (WIRE - 1.0) * 100.0
            ),
        );
        self.line(
            "traffic out",
            wish.per_day * wish.octets * WIRE / 1e9,
            "GB/day",
            format!("{} × {} KB", count(wish.per_day), short(wish.octets / 1000.0)),
        );
    }

    /// History, and what comes back.
    fn history(&mut self) {
        let (wish, figures, habits, peak) = (self.wish, self.figures, self.habits, self.peak);
        let events = EVENTS + habits.deferrals + habits.returns * 2.0;
        let a_day = wish.per_day * events * figures.ledger_bytes_per_event;
        self.line(
            "disk of history",
            a_day * 30.4 * wish.months / 1e9,
            "GB",
            format!(
                "{} × {} events × {} octets = {} GB a day, {} months",
                count(wish.per_day),
                short(events),
                short(figures.ledger_bytes_per_event),
                short(a_day / 1e9),
                wish.months
            ),
        );
        self.line(
            "ledger processors",
            peak * figures.ledger_us / 1e6 / BUSY,
            "",
            format!("{} × {} µs; one writes", short(peak), short(figures.ledger_us)),
        );
        let returned = peak * habits.returns;
        self.line(
            "bounce processors",
            returned * figures.report_us / 1e6 / BUSY,
            "",
            format!("{} mails back a second × {} µs", short(returned), short(figures.report_us)),
        );
    }
}

/// A number with three places that say something.
pub(super) fn short(n: f64) -> String {
    let text = match n.abs() {
        n if n >= 100.0 || n == 0.0 => return count(n),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n if n >= 0.01 => format!("{n:.3}"),
        _ => format!("{n:.5}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number in groups of three.
pub(super) fn count(n: f64) -> String {
    console::grouped(Lang::En, n.round().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures() -> Figures {
        Figures {
            measured: "on paper".into(),
            relay_us: 1000.0,
            relay_us_per_kb: 2.0,
            redis_us: 25.0,
            ledger_us: 20.0,
            api_us: 4.0,
            report_us: 200.0,
            report_redis_us: 120.0,
            redis_bytes_waiting: 20.0,
            redis_bytes_deferred: 120.0,
            ledger_bytes_per_event: 80.0,
            relay_mib: 55.0,
        }
    }

    fn wish(per_day: f64, per_hour: f64) -> Wish {
        Wish { per_day, per_hour, is_hour_given: true, octets: 60_000.0, cores: 2.0, months: 3.0 }
    }

    fn value(lines: &[Line], what: &str) -> f64 {
        lines.iter().find(|line| line.what == what).map(|line| line.value).expect(what)
    }

    #[test]
    fn the_arithmetic_is_that_of_the_example() {
        let lines = plan(&wish(2e6, 300_000.0), &figures(), &Habits::assumed());
        let is_about = |what: &str, expected: f64| {
            let found = value(&lines, what);
            assert!((found - expected).abs() <= expected * 0.01, "{what}: {found}, not {expected}");
        };
        is_about("messages at the peak", 83.33);
        // 83.33 × 1.1 × (1000 + 50 × 2) µs / 60 %
        is_about("relay processors", 0.168);
        is_about("relays", 2.0);
        is_about("SMTP connections", 92.0);
        // a third of 83.33, 20 each
        is_about("source addresses", 2.0);
        // 2 M × 20 × 2.5 + 0.2 M × 120 octets, twice, and 64 MiB
        is_about("Redis memory", 301.0);
        is_about("bandwidth out", 42.4);
        // 2 M × 1.24 × 80 octets × 91.2 days
        is_about("disk of history", 18.09);
        assert!(lines[1].because.contains("83.3 × 1.1 tries × 1,100 µs"), "{}", lines[1].because);
    }

    proptest! {
        /// More mail never takes less of anything.
        #[test]
        fn more_mail_takes_no_less(per_day in 1.0..1e9_f64, more in 1.0..10.0_f64) {
            let few = plan(&wish(per_day, per_day / 8.0), &figures(), &Habits::assumed());
            let many = plan(&wish(per_day * more, per_day * more / 8.0), &figures(), &Habits::assumed());
            for (few, many) in few.iter().zip(&many) {
                // A relay more shares its connections' memory among more.
                prop_assert!(many.value >= few.value * 0.999 || few.what == "memory of a relay", "{few:?} {many:?}");
                prop_assert!(few.value.is_finite() && few.value > 0.0, "{few:?}");
            }
        }
    }
}
