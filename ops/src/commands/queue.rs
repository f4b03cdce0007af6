//! `malleposte queue`: what waits.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use mail::CampaignId;
use mail::queue::Counters;
use serde_json::json;
use store::Store;

use super::Global;
use crate::wiring::connect;

/// What waits in the queue, by campaign
#[derive(Debug, Args)]
pub(super) struct Queue {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Campaigns with their accounts (the default)
    List,
    /// One campaign: its accounts and the lanes that wait, counted a second time
    Show {
        /// The campaign, such as c12
        campaign: String,
    },
    /// The relays of this platform
    Relays,
}

/// Campaigns listed.
const LISTED_MAX: usize = 100;
/// A relay renews each second; one that was silent for this long has lost what it held.
const GONE_AFTER: Duration = Duration::from_secs(10);

impl Queue {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let store = connect(&config).await?;
            match self.verb.unwrap_or(Verb::List) {
                Verb::List => list(&store, self.json).await?,
                Verb::Show { campaign } => {
                    let id = campaign.parse::<CampaignId>()?;
                    show(&store, id, self.json).await?;
                }
                Verb::Relays => relays(&store, self.json).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn list(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for id in store.campaigns(None, LISTED_MAX).await? {
        let Some(campaign) = store.campaign(id).await? else { continue };
        rows.push((campaign, store.campaign_counters(id).await?));
    }
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(c, n)| {
                json!({"campaign": c.id.to_string(), "name": c.record.name, "tenant": c.record.tenant,
                    "status": c.status, "accounts": n, "imbalance": n.imbalance()})
            })
            .collect();
        println!("{}", json!({ "campaigns": rows }));
        return Ok(());
    }
    if rows.is_empty() {
        println!("no campaigns yet: they come in over the API, see docs/API.md");
        return Ok(());
    }
    println!(
        "{:<8} {:<10} {:>10} {:>10} {:>10} {:>8} {:>8}  name",
        "campaign", "status", "accepted", "waiting", "delivered", "failed", "other"
    );
    for (c, n) in rows {
        let other = n.suppressed + n.expired + n.cancelled + n.set_aside;
        println!(
            "{:<8} {:<10} {:>10} {:>10} {:>10} {:>8} {other:>8}  {}",
            c.id.to_string(),
            c.status.as_str(),
            n.accepted,
            n.waiting,
            n.delivered,
            n.failed,
            c.record.name
        );
    }
    Ok(())
}

async fn show(store: &Store, id: CampaignId, as_json: bool) -> anyhow::Result<()> {
    let campaign = store.campaign(id).await?;
    let campaign = campaign
        .with_context(|| format!("there is no campaign {id}; `malleposte queue` lists them"))?;
    let counters = store.campaign_counters(id).await?;
    let mut waiting = 0;
    let mut lanes = Vec::new();
    let prefix = format!("{id}/");
    for shard in store.all_shards() {
        let audit = store.audit(shard).await?;
        waiting += audit.waiting(id);
        lanes.extend(audit.ready.into_iter().filter(|lane| lane.starts_with(&prefix)));
    }
    lanes.sort_unstable();
    lanes.dedup();
    if as_json {
        println!(
            "{}",
            json!({"campaign": id.to_string(), "name": campaign.record.name,
            "status": campaign.status, "accounts": counters,
            "imbalance": counters.imbalance(), "waiting_by_state": waiting, "ready_lanes": lanes})
        );
        return Ok(());
    }
    println!("{id} {:?} is {}", campaign.record.name, campaign.status.as_str());
    print_accounts(&counters);
    println!("waiting, counted recipient by recipient: {waiting}");
    println!(
        "lanes ready to go: {}",
        if lanes.is_empty() { "none".to_owned() } else { lanes.join(", ") }
    );
    Ok(())
}

fn print_accounts(n: &Counters) {
    println!(
        "accepted {} = delivered {} + failed {} + suppressed {} + expired {} + cancelled {} + set aside {} + waiting {}",
        n.accepted,
        n.delivered,
        n.failed,
        n.suppressed,
        n.expired,
        n.cancelled,
        n.set_aside,
        n.waiting
    );
    println!(
        "imbalance {}; deferrals {}, returned {}, complained {}, settled late {}, duplicates seen {}",
        n.imbalance(),
        n.deferrals,
        n.returned,
        n.complained,
        n.late,
        n.duplicates
    );
}

async fn relays(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let relays = store.relays().await?;
    if as_json {
        let rows: Vec<_> = relays.iter().map(|(id, r)| json!({"relay": id, "record": r})).collect();
        println!("{}", json!({ "relays": rows }));
        return Ok(());
    }
    if relays.is_empty() {
        println!("no relay runs: start `malleposte up`, or `malleposte relay`");
    }
    let now = super::now();
    for (id, r) in relays {
        let silent = now.since(r.seen_at);
        if silent > GONE_AFTER {
            println!("{id}  gone: silent for {} s; the others have what it held", silent.as_secs());
            continue;
        }
        println!(
            "{id}  seen {:.1} s ago, {} connections, {} recipients in hand{}",
            silent.as_secs_f64(),
            r.connections,
            r.leased,
            if r.draining { ", draining" } else { "" }
        );
    }
    Ok(())
}
