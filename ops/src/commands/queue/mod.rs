//! `malleposte queue`: what waits, and the operator's verbs about it.

mod aside;
pub(super) mod automatic;
pub(in crate::commands) mod order;
mod rest;
pub(in crate::commands) mod signed;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use mail::CampaignId;
use mail::gate::Level;
use mail::orders::Verb as Order;
use mail::queue::Counters;
use serde_json::json;
use store::Store;

use super::{Global, Voice};
use crate::wiring::connect;
use order::Hand;
use signed::About;
pub(super) use signed::Signed;

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
    /// Sources that a site blocks, and since when: others of their pools send there
    Rests,
    /// What nobody could send, and why
    Asides,
    /// Lets what was set aside wait again, once the cause is mended
    Restore {
        /// A batch as `asides` names it, or a campaign
        #[arg(value_name = "BATCH|CAMPAIGN")]
        which: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// The orders that hold: of operators, and what is held or paused by itself
    Orders,
    /// Nothing of it goes until `resume`; no attempt is counted
    Suspend(About),
    /// Ends a suspension, or a campaign's pause; what it held goes at once
    Resume(About),
    /// What waits of it fails, with the reason given
    Bounce(About),
    /// It goes from another egress pool
    Reroute {
        #[command(flatten)]
        about: About,
        /// The pool, as in relay.pools
        #[arg(long, value_name = "POOL")]
        to: String,
    },
    /// What is delayed or rests of it is tried now
    Retry(About),
    /// Ends a campaign for good; what waits of it is not sent
    Cancel {
        /// The campaign, such as c12
        campaign: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// A relay leases nothing more and finishes what it has; `undo` ends it
    Drain {
        /// The relay's name
        relay: String,
        #[command(flatten)]
        signed: Signed,
        /// Comes back when the relay holds nothing any more
        #[arg(long)]
        wait: bool,
    },
    /// Ends an order by its number, an automatic hold too
    Undo {
        /// The number
        order: u64,
        #[command(flatten)]
        signed: Signed,
    },
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
            let hand = Hand { store: &store, config: &config, voice: Voice::of(self.json) };
            match self.verb.unwrap_or(Verb::List) {
                Verb::List => list(&store, self.json).await?,
                Verb::Show { campaign } => {
                    let id = campaign.parse::<CampaignId>()?;
                    show(&store, id, self.json).await?;
                }
                Verb::Relays => relays(&store, self.json).await?,
                Verb::Rests => rest::list(&store, self.json).await?,
                Verb::Asides => aside::list(&store, self.json).await?,
                Verb::Restore { which, signed } => {
                    signed.check()?;
                    aside::restore(&store, &which, &signed.by(), &signed.why).await?;
                }
                Verb::Orders => hand.list().await?,
                Verb::Suspend(about) => hand.order(Order::Suspend, about, String::new()).await?,
                Verb::Resume(about) => hand.resume(about).await?,
                Verb::Bounce(about) => hand.order(Order::Bounce, about, String::new()).await?,
                Verb::Reroute { about, to } => hand.order(Order::Reroute, about, to).await?,
                Verb::Retry(about) => hand.order(Order::Retry, about, String::new()).await?,
                Verb::Cancel { campaign, signed } => hand.cancel(&campaign, &signed).await?,
                Verb::Drain { relay, signed, wait } => hand.drain(&relay, &signed, wait).await?,
                Verb::Undo { order, signed } => hand.undo(order, &signed).await?,
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
    let counters = store.campaign_counters(id).await?;
    let asides = aside::of(store, Some(id)).await?;
    // The definition may be gone while recipients are there: that, too, must be seen.
    if campaign.is_none() && counters == Counters::default() {
        bail!("there is no campaign {id}; `malleposte queue` lists them");
    }
    let (name, status) = match &campaign {
        Some(campaign) => (campaign.record.name.as_str(), campaign.status.as_str()),
        None => ("", "erased: its definition is gone"),
    };
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
            json!({"campaign": id.to_string(), "name": name,
            "status": status, "accounts": counters,
            "gate": campaign.as_ref().map(|campaign| &campaign.gate),
            "imbalance": counters.imbalance(), "waiting_by_state": waiting, "ready_lanes": lanes,
            "set_aside": aside::as_json(&asides)})
        );
        return Ok(());
    }
    println!("{id} {name:?} is {status}");
    for note in campaign.iter().flat_map(|campaign| &campaign.gate.found) {
        let did = match note.level {
            Level::Warn => "warned of",
            Level::Pause => "paused",
        };
        println!("{did} by gate {} at {}: {}", note.gate, note.at, note.reason);
    }
    print_accounts(&counters);
    println!("waiting, counted recipient by recipient: {waiting}");
    println!(
        "lanes ready to go: {}",
        if lanes.is_empty() { "none".to_owned() } else { lanes.join(", ") }
    );
    aside::print(&asides);
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

/// What a relay takes of what it could, and why it is not all.
fn budget(percent: u8, pressed_by: &[String]) -> String {
    match pressed_by {
        // The pressure is over, and it climbs.
        [] => format!("budget {percent} %"),
        causes => format!("budget {percent} %: {}", causes.join("; ")),
    }
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
        if r.budget_percent < 100 {
            println!("  {}", budget(r.budget_percent, &r.pressed_by));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::budget;

    #[test]
    fn a_relay_under_pressure_says_how_much_it_takes_and_why() {
        let causes =
            ["event loop 84 ms late at p99 (over 50)", "memory 97 % used"].map(str::to_owned);
        assert_eq!(
            budget(62, &causes),
            "budget 62 %: event loop 84 ms late at p99 (over 50); memory 97 % used"
        );
        assert_eq!(budget(80, &[]), "budget 80 %");
    }
}
