//! `malleposte site replay`: history, added up, is the state; or it says where not.

use std::process::ExitCode;
use std::time::Duration;

use mail::Timestamp;
use mail::throttle::{Dimension, Told};
use relay::insight;
use serde_json::json;

use super::{Desk, Which};

/// Changes that are added up. At one a second for a day it would be as many.
const CHANGES_MAX: usize = 100_000;
/// History is a second behind; a pace that moves is looked at again.
const LOOKS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(700);

impl Desk {
    pub(super) async fn replay(&self, which: &Which) -> anyhow::Result<ExitCode> {
        let site = self.find(&which.site).await?;
        let source = self.one(&site, which.source.as_deref()).await?.source;
        let ledger = self.ledger()?;
        let mut look = 1;
        loop {
            // The record first: what history tells later cannot be missing in it.
            let known = insight(&self.store, &source, &site).await?;
            let Some(known) = known else {
                anyhow::bail!("the record of {source} at {site} is gone")
            };
            let since = known.pace.begun_at().unwrap_or_default();
            // Relays tell within the minute of what they saw; clocks of two hosts differ by less.
            let since = Timestamp(since.0.saturating_sub(1000));
            let changes = ledger.pace_changes(&source, site.as_str(), since, CHANGES_MAX)?;
            let mut told = Told::default();
            changes.iter().rev().for_each(|change| told.take(&change.signed.change));
            let record = known.pace.told();
            let differs = told.differs(&record);
            if !differs.is_empty() && look < LOOKS {
                look += 1;
                tokio::time::sleep(BETWEEN).await;
                continue;
            }
            if self.voice.is_json() {
                println!(
                    "{}",
                    json!({ "source": source, "site": site.as_str(), "changes": changes.len(),
                        "told": told, "record": record, "is_the_same": differs.is_empty(),
                        "differs": differs.iter().map(|what| what.as_str()).collect::<Vec<_>>() })
                );
            } else {
                println!("{source} at {site}: {} changes in history", changes.len());
                Dimension::ALL.iter().for_each(|what| println!("{}", line(*what, &told, &record)));
                println!("{}", verdict(&differs));
            }
            let is_good = differs.is_empty();
            return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
}

fn line(what: Dimension, told: &Told, record: &Told) -> String {
    let of = |state: &Told| match what {
        Dimension::Rate => state.rate.map(|rate| rate.to_string()),
        Dimension::Connections => state.connections.map(|n| n.to_string()),
        Dimension::MessagesPerConnection => state.messages_per_connection.map(|n| n.to_string()),
        Dimension::Hold => state.hold.map(|until| match until {
            Some(until) => format!("until {until}"),
            None => "none".to_owned(),
        }),
    };
    let told = of(told).unwrap_or_else(|| "never changed".to_owned());
    let record = of(record).unwrap_or_else(|| "unknown".to_owned());
    format!("  {:<24} told {told:<28} record {record}", what.as_str())
}

fn verdict(differs: &[Dimension]) -> String {
    if differs.is_empty() {
        return "history adds up to the state".to_owned();
    }
    let names: Vec<&str> = differs.iter().map(|what| what.as_str()).collect();
    format!(
        "history does not add up to the state: {}. Months may be missing, or a relay could not tell of a change",
        names.join(", ")
    )
}
