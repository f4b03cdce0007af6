//! What happens to campaigns without a request: scheduled ones start, closings that were
//! cut off go on, those with a bad list are paused, those in which nothing waits any more end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mail::gate::Counts;
use mail::{CampaignId, Timestamp};
use store::{CampaignStatus, StartAt, StoreError, chain};

use crate::gate::Keeper;
use crate::{App, clock, closing, lifecycle, view};

/// A campaign starts at most this late, and its end shows at most this late.
const PERIOD: Duration = Duration::from_secs(1);
/// Who did it, in events.
const SELF: &str = "schedule";

/// Runs until the process stops.
pub(crate) async fn run(app: App) {
    let (mut begun, mut was_well) = (false, true);
    let mut due = HashMap::new();
    let mut keeper = Keeper::new(&app.config.gates);
    while !app.stop.is_cancelled() {
        let round = async {
            if !begun {
                begin(&app).await?;
                begun = true;
            }
            tend(&app, &mut due, &mut keeper).await
        };
        let tended = round.await;
        match &tended {
            Ok(()) if !was_well => tracing::info!("campaigns are tended again"),
            // Said once, not each second.
            Err(error) if was_well => {
                tracing::warn!(error = %chain(error), "campaigns cannot be tended");
            }
            Ok(()) | Err(_) => {}
        }
        was_well = tended.is_ok();
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = app.stop.cancelled() => {}
        }
    }
}

/// Once after a start: what a crash may have left half-told, or lying about.
async fn begin(app: &App) -> Result<(), StoreError> {
    for (id, _) in app.store.active_campaigns().await? {
        lifecycle::tell_shards(&app.store, id).await?;
    }
    let folder = Arc::clone(app);
    let swept = tokio::task::spawn_blocking(move || folder.staging.sweep()).await;
    let Ok(Ok(uploads)) = swept else {
        tracing::warn!("the staging folder cannot be read");
        return Ok(());
    };
    for id in uploads {
        match app.store.campaign_status(id).await? {
            Some(CampaignStatus::Draft | CampaignStatus::Closing) => {}
            Some(_) | None => app.staging.remove(id).await,
        }
    }
    Ok(())
}

async fn tend(
    app: &App,
    due: &mut HashMap<CampaignId, Timestamp>,
    keeper: &mut Keeper,
) -> Result<(), StoreError> {
    keeper.tell(&app.store).await?;
    let mut closing_now = Vec::new();
    for (id, status) in app.store.active_campaigns().await? {
        use CampaignStatus as S;
        match status {
            S::Scheduled => start_if_due(app, id, due).await?,
            S::Closing => {
                closing_now.push(id);
                go_on_closing(app, id).await?;
            }
            S::Running => {
                let counts = end_if_empty(app, id, S::Running, S::Finished).await?;
                keeper.judge(&app.store, id, &counts).await?;
            }
            S::Cancelling => {
                end_if_empty(app, id, S::Cancelling, S::Cancelled).await?;
            }
            S::Draft | S::Ready | S::Paused => {}
            S::Cancelled | S::Finished => app.store.retire_campaign(id).await?,
        }
    }
    closing::forget(app, |id| closing_now.contains(&id));
    Ok(())
}

/// A definition never changes: its time is read once.
async fn start_if_due(
    app: &App,
    id: CampaignId,
    due: &mut HashMap<CampaignId, Timestamp>,
) -> Result<(), StoreError> {
    if due.get(&id).is_some_and(|at| *at > clock::now()) {
        return Ok(());
    }
    let Some(campaign) = app.store.campaign(id).await? else { return Ok(()) };
    let at = match campaign.record.start {
        StartAt::At(at) => at,
        StartAt::Now => Timestamp(0),
    };
    if at > clock::now() {
        due.insert(id, at);
        return Ok(());
    }
    due.remove(&id);
    if campaign.status == CampaignStatus::Scheduled {
        lifecycle::change(&app.store, &campaign, CampaignStatus::Running, SELF).await?;
    }
    lifecycle::tell_shards(&app.store, id).await
}

async fn go_on_closing(app: &App, id: CampaignId) -> Result<(), StoreError> {
    if !closing::is_due(app, id) {
        return Ok(());
    }
    let campaign = app.store.campaign(id).await?;
    if campaign.is_some_and(|c| view::staged_at(&c) == Some(app.staging.instance())) {
        closing::ensure(app, id, SELF);
    }
    Ok(())
}

/// Answers what the gates judge by.
async fn end_if_empty(
    app: &App,
    id: CampaignId,
    from: CampaignStatus,
    to: CampaignStatus,
) -> Result<Counts, StoreError> {
    let (counters, counts) = app.store.campaign_counts(id).await?;
    if counters.waiting > 0 {
        return Ok(counts);
    }
    match app.store.campaign(id).await? {
        Some(campaign) if campaign.status == from => {
            lifecycle::change(&app.store, &campaign, to, SELF).await?;
        }
        Some(_) | None => {}
    }
    Ok(counts)
}
