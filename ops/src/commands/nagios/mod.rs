//! `malleposte nagios CHECK`: the platform as Nagios, Icinga and Zabbix ask for it: one line, its
//! performance data, and the exit status (Monitoring Plugins Development Guidelines).

mod measured;
mod range;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Global, block_on};
use range::Range;

/// Check one thing as Nagios plugins do: one line, performance data, exit status
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Nagios {
    /// What to check
    check: Check,
    /// Warn outside of this range; each check has one of its own
    #[arg(long, short, value_name = "RANGE", allow_hyphen_values = true)]
    warning: Option<Range>,
    /// Critical outside of this range
    #[arg(long, short = 'C', value_name = "RANGE", allow_hyphen_values = true)]
    critical: Option<Range>,
    /// Give up after so many seconds: UNKNOWN
    #[arg(long, short, default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
}

const HELP: &str = "\
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Ranges: 10 (alert above 10), 10: (below), 10:20
(outside), @10:20 (inside).

Checks, what they measure, and their ranges unless you give others:
  queue       recipients that wait                                     none
  age         hours that the oldest campaign runs that has some left   24, 72
  relays      relays that live                                         2:, 1:
  blocked     pairs of source and site that the site blocks            0, 10
  bounces     percent of the last hour's outcomes that failed          5, 10
  complaints  percent of the last hour's deliveries reported as spam   0.1, 0.3
  redis       milliseconds that Redis takes to answer                  20, 200
  memory      percent of Redis's memory that is used                   80, 95
  ledger      percent of the outbox that waits for history             20, 60
  imbalance   recipients by which queue and history disagree           0, 0
  api         milliseconds that the API takes to be ready              500, 2000
  disk        percent of the data folder's disk that is used           80, 92
  certificate days until the certificate of `bounces.tls` ends         14:, 3:

Examples:
  malleposte nagios relays
  malleposte nagios queue --warning 500000 --critical 2000000
  malleposte -c /etc/malleposte/malleposte.toml nagios disk";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    Queue,
    Age,
    Relays,
    Blocked,
    Bounces,
    Complaints,
    Redis,
    Memory,
    Ledger,
    Imbalance,
    Api,
    Disk,
    Certificate,
}

impl Check {
    /// Ranges unless others are given.
    fn ranges(self) -> [Option<&'static str>; 2] {
        match self {
            Self::Queue => [None, None],
            Self::Age => [Some("24"), Some("72")],
            Self::Relays => [Some("2:"), Some("1:")],
            Self::Blocked => [Some("0"), Some("10")],
            Self::Bounces => [Some("5"), Some("10")],
            Self::Complaints => [Some("0.1"), Some("0.3")],
            Self::Redis => [Some("20"), Some("200")],
            Self::Memory => [Some("80"), Some("95")],
            Self::Ledger => [Some("20"), Some("60")],
            Self::Imbalance => [Some("0"), Some("0")],
            Self::Api => [Some("500"), Some("2000")],
            Self::Disk => [Some("80"), Some("92")],
            Self::Certificate => [Some("14:"), Some("3:")],
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    /// The value that ranges are about.
    value: f64,
    /// `ms`, `%`, or nothing: as performance data has it.
    unit: &'static str,
    /// What it says to people.
    says: String,
    /// Whatever the value.
    is_critical: bool,
    /// Further numbers: label, value, unit.
    more: Vec<(String, f64, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

impl Nagios {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        // Whatever goes wrong is UNKNOWN: any other status would say something of the platform.
        let patience = Duration::from_secs(self.timeout.clamp(1, 300));
        let mut measured = Err(anyhow::anyhow!("no answer within {} s", patience.as_secs()));
        let asked = block_on(async {
            let config = global.read()?;
            if let Ok(answer) =
                tokio::time::timeout(patience, measured::measure(self.check, &config)).await
            {
                measured = answer;
            }
            Ok(ExitCode::SUCCESS)
        });
        let measured = asked.and(measured);
        let name = self.check.to_possible_value().map(|v| v.get_name().to_uppercase());
        let name = name.unwrap_or_default();
        let [warning, critical] = self.ranges();
        let (state, line) = match &measured {
            Ok(measured) => judge(measured, warning.as_ref(), critical.as_ref()),
            Err(error) => (State::Unknown, clean(&format!("{error:#}"))),
        };
        println!("MALLEPOSTE {name} {} - {line}", state.word());
        Ok(ExitCode::from(state.code()))
    }

    fn ranges(&self) -> [Option<Range>; 2] {
        let [warning, critical] = self.check.ranges();
        let own = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        [self.warning.clone().or(own(warning)), self.critical.clone().or(own(critical))]
    }
}

fn judge(
    measured: &Measured,
    warning: Option<&Range>,
    critical: Option<&Range>,
) -> (State, String) {
    let alerts = |range: Option<&Range>| range.is_some_and(|range| range.alerts(measured.value));
    let state = match (measured.is_critical || alerts(critical), alerts(warning)) {
        (true, _) => State::Critical,
        (false, true) => State::Warning,
        (false, false) => State::Ok,
    };
    let Measured { value, unit, says, more, .. } = measured;
    let range = |range: Option<&Range>| range.map(ToString::to_string).unwrap_or_default();
    let mut line = format!(
        "{} | value={}{unit};{};{};;",
        clean(says),
        Number(*value),
        range(warning),
        range(critical)
    );
    for (label, value, unit) in more {
        // A label may hold anything but a quote and an equals sign.
        let label: String = label.chars().filter(|c| !matches!(c, '\'' | '=' | '|')).collect();
        line.push_str(&format!(" '{label}'={}{unit};;;;", Number(*value)));
    }
    (state, line)
}

/// One line, without the bar that begins performance data.
fn clean(text: &str) -> String {
    mail::reply::clean_text(text).replace('|', "/")
}

/// As few digits as say it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 1000.0).round() / 1000.0;
        write!(f, "{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_state_words_and_performance_data() {
        let measured = Measured {
            value: 12.5,
            unit: "%",
            says: "12.5 % of 80 | failed".into(),
            is_critical: false,
            more: vec![("it's a=b".into(), 10.0, "")],
        };
        let range = |text: &str| Some(text.parse::<Range>().unwrap());
        let (warning, critical) = (range("5"), range("20"));
        let (state, line) = judge(&measured, warning.as_ref(), critical.as_ref());
        assert_eq!(state, State::Warning);
        assert_eq!(line, "12.5 % of 80 / failed | value=12.5%;5;20;; 'its ab'=10;;;;");
        let (state, _) = judge(&measured, None, range("~:12").as_ref());
        assert_eq!(state, State::Critical);
        let worse = Measured { is_critical: true, ..measured.clone() };
        assert_eq!(judge(&worse, None, None).0, State::Critical);
        let (state, line) = judge(&measured, None, None);
        assert_eq!((state, line.ends_with("'its ab'=10;;;;")), (State::Ok, true));
    }

    #[test]
    fn every_check_has_ranges_that_read() {
        for check in Check::value_variants() {
            for text in check.ranges().into_iter().flatten() {
                assert!(text.parse::<Range>().is_ok(), "{check:?}: {text}");
            }
        }
    }
}
