//! `malleposte tls-reports`: what was counted for reports about TLS (RFC 8460), and what became of
//! each.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use mail::tlsrpt::{Counts, Day, Failure, PolicyKind, Report};
use mail::{Domain, Timestamp};
use serde_json::{Value, json};
use store::{Store, TLS_COUNTS_KEPT, TlsReportState};

use super::Global;
use crate::config::Config;
use crate::wiring::connect;

/// What was counted of TLS for domains that ask for reports, and when each report went or why not
#[derive(Debug, Args)]
pub(super) struct TlsReports {
    /// This domain alone, with each failure
    domain: Option<Domain>,
    /// This day (UTC) alone; without it all days that are kept, with --report yesterday
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Option<Day>,
    /// The report of DOMAIN as it is sent, and nothing else
    #[arg(long, requires = "domain", conflicts_with = "json")]
    report: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A domain on a day.
struct Row {
    day: Day,
    domain: Domain,
    counts: Counts,
    state: TlsReportState,
}

impl TlsReports {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let store = connect(&config).await?;
            let now = super::now();
            match &self.domain {
                Some(domain) if self.report => {
                    let day = self.day.unwrap_or_else(|| Day::of(now).before());
                    println!("{}", report(&store, &config, day, domain).await?);
                }
                only => {
                    let rows = rows(&store, self.day, only.as_ref(), now).await?;
                    let is_on = config.relay.tls_reports.submitter()?.is_some();
                    match self.json {
                        true => println!("{}", as_json(&rows)),
                        false => print!("{}", as_text(&rows, only.is_some(), is_on, now)),
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn report(
    store: &Store,
    config: &Config,
    day: Day,
    domain: &Domain,
) -> anyhow::Result<String> {
    let submitter = config.relay.tls_reports.submitter()?;
    let (_, submitter) = submitter
        .context("relay.tls_reports.from is not set: give the address that reports come from")?;
    match store.tls_day(day, domain).await? {
        Some(found) => Ok(Report::new(&submitter, day, domain, &found.counts).to_json()),
        None => {
            bail!("nothing is known of {domain} on {day}; `malleposte tls-reports` lists what is")
        }
    }
}

async fn rows(
    store: &Store,
    day: Option<Day>,
    only: Option<&Domain>,
    now: Timestamp,
) -> anyhow::Result<Vec<Row>> {
    let days = match day {
        Some(day) => vec![day],
        None => {
            let (first, last) = (Day::of(now - TLS_COUNTS_KEPT).before(), Day::of(now));
            (first.0..=last.0).rev().map(Day).collect()
        }
    };
    let mut rows = Vec::new();
    for day in days {
        let mut found = store.tls_domains(day).await?;
        found.retain(|(domain, _)| only.is_none_or(|only| only == domain));
        let domains: Vec<Domain> = found.iter().map(|(domain, _)| domain.clone()).collect();
        let counts = store.tls_counts(day, &domains).await?;
        let all = found.into_iter().zip(counts);
        rows.extend(all.map(|((domain, state), counts)| Row { day, domain, counts, state }));
    }
    Ok(rows)
}

fn as_text(rows: &[Row], in_full: bool, is_on: bool, now: Timestamp) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str(match is_on {
            true => "nothing was counted: no domain that was sent to asks for reports\n",
            false => "nothing is counted: relay.tls_reports.from is not set\n",
        });
    }
    for row in rows {
        let Row { day, domain, counts, .. } = row;
        let (good, failed) = (counts.successes(), counts.failed());
        let _ = write!(text, "{day} {domain}: {} sessions, {failed} failed", good + failed);
        let kinds: Vec<String> =
            counts.by_result().iter().map(|(result, n)| format!("{result} {n}")).collect();
        if !kinds.is_empty() {
            let _ = write!(text, " ({})", kinds.join(", "));
        }
        let _ = writeln!(text, "\n  {}", fate(row, now));
        if in_full {
            text.push_str(&details(counts));
        }
    }
    text
}

/// What became of a report.
fn fate(Row { day, state, .. }: &Row, now: Timestamp) -> String {
    let mut told: Vec<String> =
        state.sent.iter().map(|(uri, at)| format!("sent to {uri} at {at}")).collect();
    let missed = state.refused.iter().chain(&state.failed);
    told.extend(missed.map(|(uri, why)| format!("not sent to {uri}: {why}")));
    if !state.note.is_empty() {
        told.push(state.note.clone());
    }
    match (state.ended_at, state.next_at) {
        (Some(at), _) if state.sent.is_empty() => told.push(format!("given up at {at}")),
        (Some(_), _) => {}
        (None, Some(at)) => told.push(format!("tried {} times, again at {at}", state.attempts)),
        (None, None) if now < day.end() => told.push("goes when the day is over".to_owned()),
        (None, None) => told.push("goes within hours of the day's end".to_owned()),
    }
    told.join("; ")
}

fn details(counts: &Counts) -> String {
    let mut text = String::new();
    for (policy, counts) in counts.policies() {
        let kind = kind(policy.kind);
        let (good, failed) = (counts.successes, counts.failed());
        let _ = writeln!(text, "  {kind}: {good} as it should be, {failed} failed");
        for (failure, count) in &counts.failures {
            let _ = writeln!(text, "    {count} {}{}", failure.result, place(failure));
        }
    }
    text
}

fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Tlsa => "DANE",
        PolicyKind::Sts => "MTA-STS",
        PolicyKind::NoPolicyFound => "no policy",
    }
}

fn place(failure: &Failure) -> String {
    let mut text = String::new();
    if !failure.mx.is_empty() {
        let _ = write!(text, " at {}", failure.mx);
    }
    if let Some(ip) = failure.receiving_ip {
        let _ = write!(text, " [{ip}]");
    }
    if let Some(ip) = failure.sending_ip {
        let _ = write!(text, " from {ip}");
    }
    if !failure.reason.is_empty() {
        let _ = write!(text, ": {}", failure.reason);
    }
    text
}

fn as_json(rows: &[Row]) -> Value {
    let row = |Row { day, domain, counts, state }: &Row| {
        let failures: serde_json::Map<String, Value> = counts
            .by_result()
            .iter()
            .map(|(result, count)| (result.to_string(), json!(count)))
            .collect();
        let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let sent: serde_json::Map<String, Value> =
            state.sent.iter().map(|(uri, at)| (uri.clone(), json!(at.to_string()))).collect();
        json!({
            "day": day.to_string(),
            "domain": domain.as_str(),
            "successes": counts.successes(),
            "failed": counts.failed(),
            "failures": failures,
            "report": {
                "attempts": state.attempts,
                "sent": sent,
                "failed": state.failed,
                "refused": state.refused,
                "next_at": at(state.next_at),
                "ended_at": at(state.ended_at),
                "note": state.note,
            },
        })
    };
    json!({ "tls_reports": rows.iter().map(row).collect::<Vec<_>>() })
}
