//! `malleposte stats`: what happened in a period, by whatever it is asked by.

use std::io;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ledger::{GroupBy, Measures, StatsAnswer, StatsRow, StatsWish};
use mail::Timestamp;
use mail::reply::clean_text;

use super::criteria::Criteria;
use super::{Global, history, no_history, now, tame};

/// What was sent, delivered, put off and returned: by tenant, sender, campaign, relay, source, site,
/// domain, category, minute, hour or day
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Stats {
    /// A row for each of these, parted by commas: tenant, sender, campaign, relay, source, site,
    /// domain, category; minute, hour or day
    #[arg(long, value_name = "WHAT,…")]
    by: Option<String>,
    /// From when on: 24h, 7d, 4w ago, today, yesterday, 2026-11-01, or a whole moment
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    since: String,
    /// One site
    #[arg(long)]
    site: Option<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// The largest first in: attempts, delivered, deferred, failed, returned, complained, bytes
    #[arg(long, value_name = "WHAT")]
    sort: Option<String>,
    /// So many rows
    #[arg(long, default_value_t = 30)]
    limit: usize,
    /// Beside each row the period before, as long
    #[arg(long)]
    compare: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Csv,
    Json,
}

const EXAMPLES: &str = "\
Examples:
  malleposte stats                                     the last 24 hours in one row
  malleposte stats --by site --since 7d --compare      this week by site, beside the week before
  malleposte stats --by category --campaign c12        why a campaign's messages failed
  malleposte stats --by hour --domain gmail.com        how it goes at one domain
  malleposte stats --by sender --since 2026-11-01 --format csv > november.csv

Days, hours and minutes are UTC. By minute, sites with fewer than four messages a minute stand
together in one row without a name.";

impl Stats {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let format = if self.json { Format::Json } else { self.format };
        let question = self.wish().question(now())?;
        let ledger = history(&config)?.ok_or_else(|| no_history(&config))?;
        let answer = ledger.stats(&question)?;
        match format {
            Format::Json => println!("{}", answer.to_json()),
            Format::Csv => csv(&answer)?,
            Format::Text => print!("{}", text(&answer)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wish(self) -> StatsWish {
        let Criteria { tenant, sender, campaign, relay, source, domain, category, until } =
            self.criteria;
        StatsWish {
            by: self.by,
            since: Some(self.since),
            until,
            tenant,
            sender,
            campaign,
            relay,
            source,
            site: self.site,
            domain,
            category,
            sort: self.sort,
            limit: Some(self.limit),
            compare: Some(self.compare),
        }
    }
}

/// The numbers of a row for programs that read tables.
const NUMBERS: [&str; 15] = [
    "accepted",
    "delivered",
    "deferred",
    "failed",
    "expired",
    "suppressed",
    "cancelled",
    "set_aside",
    "returned",
    "complained",
    "unsubscribed",
    "reported",
    "duplicates",
    "bytes",
    "mean_delivery_seconds",
];

fn numbers(measures: &Measures) -> [String; NUMBERS.len()] {
    let mean = measures.mean_seconds().map_or(String::new(), |mean| format!("{mean:.1}"));
    let accounts = &measures.accounts;
    [
        accounts.accepted.to_string(),
        accounts.delivered.to_string(),
        accounts.deferrals.to_string(),
        accounts.failed.to_string(),
        accounts.expired.to_string(),
        accounts.suppressed.to_string(),
        accounts.cancelled.to_string(),
        accounts.set_aside.to_string(),
        accounts.returned.to_string(),
        accounts.complained.to_string(),
        measures.unsubscribed.to_string(),
        measures.reported.to_string(),
        accounts.duplicates.to_string(),
        measures.bytes.to_string(),
        mean,
    ]
}

fn csv(answer: &StatsAnswer) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(io::stdout().lock());
    let keys = answer.by.iter().map(|by| by.as_str().to_owned());
    let mut head: Vec<String> = keys.chain(NUMBERS.map(str::to_owned)).collect();
    let compares = answer.total.before.is_some();
    if compares {
        head.extend(NUMBERS.map(|name| format!("before_{name}")));
    }
    out.write_record(&head)?;
    for row in &answer.rows {
        let mut cells: Vec<String> = row.of.iter().map(|of| tame(of)).collect();
        cells.extend(numbers(&row.measures));
        if compares {
            cells.extend(numbers(&row.before.unwrap_or_default()));
        }
        out.write_record(&cells)?;
    }
    Ok(out.flush()?)
}

/// A table for people.
fn text(answer: &StatsAnswer) -> String {
    let by = |row: &StatsRow| -> Vec<String> {
        let of = |(by, of): (&GroupBy, &String)| match by.is_time() {
            true => of.get(..16).unwrap_or(of).replace('T', " "),
            false if of.is_empty() => "-".to_owned(),
            false => clean_text(of),
        };
        answer.by.iter().zip(&row.of).map(of).collect()
    };
    let compares = answer.total.before.is_some();
    let mut table = vec![head(answer, compares)];
    for row in &answer.rows {
        table.push([by(row), cells(row, compares)].concat());
    }
    if answer.rows.len() != 1 || answer.by.is_empty() {
        let mut all: Vec<String> = answer.by.iter().map(|_| String::new()).collect();
        if let Some(first) = all.first_mut() {
            "all".clone_into(first);
        }
        if answer.by.is_empty() {
            table.truncate(1);
        }
        table.push([all, cells(&answer.total, compares)].concat());
    }
    let day = |at: Timestamp| at.to_string().replace('T', " ");
    let minute = |at: Timestamp| day(at).get(..16).unwrap_or_default().to_owned();
    let mut text = format!("{} to {} UTC\n\n", minute(answer.since), minute(answer.until));
    text.push_str(&aligned(&table, answer.by.len()));
    if answer.cut > 0 {
        text.push_str(&format!("\n{} more rows: --limit shows them\n", answer.cut));
    }
    text
}

fn head(answer: &StatsAnswer, compares: bool) -> Vec<String> {
    let keys = answer.by.iter().map(|by| by.as_str());
    let numbers = [
        "delivered",
        "%",
        "put off",
        "failed",
        "expired",
        "returned",
        "spam",
        "MB",
        "half within",
        "9 of 10",
    ];
    let before = compares.then_some("before");
    keys.chain(numbers).chain(before).map(str::to_owned).collect()
}

fn cells(row: &StatsRow, compares: bool) -> Vec<String> {
    let (m, accounts) = (&row.measures, &row.measures.accounts);
    let share = match m.ended() {
        0 => "-".to_owned(),
        ended => format!("{:.1}", accounts.delivered as f64 * 100.0 / ended as f64),
    };
    let within = |share| m.speeds.within(share).map_or_else(|| "-".to_owned(), lasting);
    let mut cells = vec![
        accounts.delivered.to_string(),
        share,
        accounts.deferrals.to_string(),
        accounts.failed.to_string(),
        accounts.expired.to_string(),
        accounts.returned.to_string(),
        accounts.complained.to_string(),
        format!("{:.1}", m.bytes as f64 / 1e6),
        within(0.5),
        within(0.9),
    ];
    if compares {
        let before = row.before.unwrap_or_default().accounts.delivered;
        cells.push(change(accounts.delivered, before));
    }
    cells
}

/// What was delivered before, and by how much more or less it is now.
fn change(now: u64, before: u64) -> String {
    match before {
        0 if now == 0 => "0".to_owned(),
        0 => "0 (new)".to_owned(),
        _ => {
            let percent = (now as f64 - before as f64) * 100.0 / before as f64;
            format!("{before} ({percent:+.0} %)")
        }
    }
}

fn lasting(seconds: f64) -> String {
    match seconds {
        s if s.is_infinite() => "longer".to_owned(),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3_600.0 => format!("{:.0} min", s / 60.0),
        s if s < 86_400.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// Columns of equal width: names to the left, numbers to the right.
fn aligned(table: &[Vec<String>], names: usize) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column > 0 {
                line.push_str("  ");
            }
            match column < names {
                true => line.push_str(&format!("{cell:<width$}")),
                false => line.push_str(&format!("{cell:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use ledger::Speeds;
    use mail::queue::Counters;

    use super::*;

    #[test]
    fn a_table_says_what_happened_and_what_was_before() {
        let measures = Measures {
            accounts: Counters { delivered: 90, failed: 10, deferrals: 5, ..Counters::default() },
            bytes: 1_500_000,
            speeds: Speeds([50, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ..Measures::default()
        };
        let accounts = Counters { delivered: 60, ..Counters::default() };
        let before = Some(Measures { accounts, ..Measures::default() });
        let row = |of: &[&str]| StatsRow {
            of: of.iter().map(|of| (*of).to_owned()).collect(),
            measures,
            before,
        };
        let answer = StatsAnswer {
            since: Timestamp(0),
            until: Timestamp(3_600_000),
            by: vec![GroupBy::Site, GroupBy::Hour],
            rows: vec![
                row(&["\u{202e}evil\u{1b}[2J", "1970-01-01T00:00:00.000Z"]),
                row(&["", "x"]),
            ],
            total: row(&[]),
            cut: 3,
        };
        let expected = "\
1970-01-01 00:00 to 1970-01-01 01:00 UTC

site      hour              delivered     %  put off  failed  expired  returned  spam   MB  half within  9 of 10      before
evil [2J  1970-01-01 00:00         90  90.0        5      10        0         0     0  1.5          1 s      5 s  60 (+50 %)
-         x                        90  90.0        5      10        0         0     0  1.5          1 s      5 s  60 (+50 %)
all                                90  90.0        5      10        0         0     0  1.5          1 s      5 s  60 (+50 %)

3 more rows: --limit shows them
";
        assert_eq!(text(&answer), expected);
    }
}
