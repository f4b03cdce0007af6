//! What becomes of campaigns after a restore: their status was copied after the shards, and
//! may know more than these; and what ran waits for somebody's word.

use std::collections::BTreeSet;

use mail::event::EventKind;
use mail::queue::CampaignState;
use mail::{CampaignId, Event, ShardId};
use store::{Campaign, CampaignStatus, Store};

use crate::backup::Head;
use crate::commands::now;

/// What an operator has to know.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// They ran, or would have started by themselves.
    pub(super) paused: Vec<CampaignId>,
    /// Taken in while the copy was made, and paused.
    pub(super) partial: Vec<CampaignId>,
    /// Not accepted yet.
    pub(super) unaccepted: Vec<CampaignId>,
}

/// Gives every campaign that is not over, or in which somebody waits, a status that is true
/// here, and tells the shards.
pub(super) async fn set_right(store: &Store, head: &Head, run: bool) -> anyhow::Result<Changed> {
    let waiting = waiting(store).await?;
    let mut ids = waiting.clone();
    ids.extend(store.active_campaigns().await?.into_iter().map(|(id, _)| id));
    let mut changed = Changed::default();
    for id in ids {
        let Some(campaign) = store.campaign(id).await? else { continue };
        let is_partial = head.is_partial(id);
        let status = status_here(campaign.status, waiting.contains(&id), is_partial, run);
        if status != campaign.status {
            change(store, &campaign, status).await?;
        }
        if let Some(state) = status.shard_state() {
            store.set_campaign_state(id, state, campaign.record.priority).await?;
            if state == CampaignState::Cancelling {
                store.expedite(id).await?;
            }
        }
        match status {
            CampaignStatus::Draft | CampaignStatus::Closing => changed.unaccepted.push(id),
            CampaignStatus::Paused if is_partial => changed.partial.push(id),
            CampaignStatus::Paused if status != campaign.status => changed.paused.push(id),
            _ => {}
        }
    }
    Ok(changed)
}

fn status_here(was: CampaignStatus, waits: bool, is_partial: bool, run: bool) -> CampaignStatus {
    use CampaignStatus as S;
    let goes_on = run && !is_partial;
    match was {
        S::Running | S::Scheduled if goes_on => was,
        S::Running | S::Scheduled => S::Paused,
        // Its last recipients were at rest when its status was copied, and are not here.
        S::Finished if waits => {
            if goes_on {
                S::Running
            } else {
                S::Paused
            }
        }
        S::Cancelled if waits => S::Cancelling,
        S::Ready if is_partial => S::Paused,
        S::Draft
        | S::Closing
        | S::Ready
        | S::Paused
        | S::Cancelling
        | S::Cancelled
        | S::Finished => was,
    }
}

async fn waiting(store: &Store) -> anyhow::Result<BTreeSet<CampaignId>> {
    let mut ids = BTreeSet::new();
    for shard in store.all_shards() {
        let accounts = store.accounts(shard).await?;
        ids.extend(accounts.campaigns.iter().filter(|(_, n)| n.waiting > 0).map(|(id, _)| *id));
    }
    Ok(ids)
}

/// As the API does it, and history is told why.
async fn change(store: &Store, campaign: &Campaign, to: CampaignStatus) -> anyhow::Result<()> {
    let (id, now) = (campaign.id, now());
    store.change_status(id, &[campaign.status], to, now).await?;
    if campaign.status.is_over() {
        store.activate_campaign(id).await?;
    }
    let event = Event {
        campaign: Some(id),
        service: "restore".into(),
        note: format!("{} to {to} by restore", campaign.status),
        ..Event::new(EventKind::CampaignChanged, now)
    };
    let home = ShardId((id.0 % u64::from(store.shards())) as u16);
    Ok(store.emit(home, &[event]).await?)
}

#[cfg(test)]
mod tests {
    use CampaignStatus as S;

    use super::*;

    #[test]
    fn what_ran_waits_for_a_word_and_nobody_is_left_in_a_campaign_that_is_over() {
        for (was, waits, is_partial, run, here) in [
            (S::Running, true, false, false, S::Paused),
            (S::Running, true, false, true, S::Running),
            (S::Running, true, true, true, S::Paused),
            (S::Scheduled, true, false, false, S::Paused),
            (S::Finished, true, false, false, S::Paused),
            (S::Finished, true, false, true, S::Running),
            (S::Finished, false, false, false, S::Finished),
            (S::Cancelled, true, false, false, S::Cancelling),
            (S::Cancelled, false, false, false, S::Cancelled),
            (S::Ready, true, false, false, S::Ready),
            (S::Ready, true, true, false, S::Paused),
            (S::Draft, false, true, true, S::Draft),
        ] {
            assert_eq!(status_here(was, waits, is_partial, run), here, "{was}");
        }
    }
}
