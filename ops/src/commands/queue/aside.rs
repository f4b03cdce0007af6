//! What nobody could send: listed with its reason, and put back once the cause is mended.

use anyhow::{Context, bail};
use mail::queue::Aside;
use mail::{CampaignId, ShardId};
use serde_json::json;
use store::{CampaignStatus, Store};

use crate::commands::now;

/// What is set aside, of one campaign or of all.
pub(super) async fn of(
    store: &Store,
    campaign: Option<CampaignId>,
) -> anyhow::Result<Vec<(ShardId, Aside)>> {
    let prefix = campaign.map(|id| format!("{id}/"));
    let mut found = Vec::new();
    for shard in store.all_shards() {
        for aside in store.asides(shard).await? {
            if prefix.as_ref().is_none_or(|prefix| aside.lane.starts_with(prefix)) {
                found.push((shard, aside));
            }
        }
    }
    Ok(found)
}

pub(super) fn as_json(asides: &[(ShardId, Aside)]) -> serde_json::Value {
    let row = |(shard, a): &(ShardId, Aside)| {
        json!({"batch": name(*shard, a), "lane": a.lane, "recipients": a.count,
            "since": a.at.to_string(), "reason": a.reason})
    };
    asides.iter().map(row).collect()
}

pub(super) fn print(asides: &[(ShardId, Aside)]) {
    for (shard, a) in asides {
        println!(
            "set aside: batch {} of {}, {} recipients, since {}: {}",
            name(*shard, a),
            a.lane,
            a.count,
            a.at,
            a.reason
        );
    }
}

/// A batch by its shard and its number.
fn name(shard: ShardId, aside: &Aside) -> String {
    format!("{shard}:{}", aside.batch.0)
}

pub(super) async fn list(store: &Store, json: bool) -> anyhow::Result<()> {
    let asides = of(store, None).await?;
    if json {
        println!("{}", json!({ "set_aside": as_json(&asides) }));
    } else if asides.is_empty() {
        println!("nothing is set aside");
    } else {
        print(&asides);
    }
    Ok(())
}

/// Puts a batch back, or everything of a campaign.
pub(super) async fn restore(store: &Store, which: &str, by: &str, why: &str) -> anyhow::Result<()> {
    let campaign = which.parse::<CampaignId>().ok();
    let all = of(store, campaign).await?;
    let meant: Vec<_> =
        all.into_iter().filter(|(s, a)| campaign.is_some() || name(*s, a) == which).collect();
    if meant.is_empty() {
        bail!("nothing is set aside as {which:?}; `malleposte queue asides` lists what is");
    }
    let mut restored = 0;
    for (shard, aside) in &meant {
        let note = format!("restored by {by}: {why}");
        restored += store.restore_aside(*shard, aside, &note, now()).await?;
        let id = aside.lane.split_once('/').map(|(id, _)| id).unwrap_or_default();
        go_on(store, id.parse().context("the lane of a batch")?).await?;
    }
    println!("{restored} recipients wait again");
    Ok(())
}

/// A campaign in which nothing waited was finished; now something does.
async fn go_on(store: &Store, id: CampaignId) -> anyhow::Result<()> {
    let over = [CampaignStatus::Finished];
    if store.campaign_status(id).await? == Some(CampaignStatus::Finished) {
        store.change_status(id, &over, CampaignStatus::Running, now()).await?;
        store.activate_campaign(id).await?;
    }
    Ok(())
}
