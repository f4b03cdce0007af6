//! `POST /v1/campaigns/{id}/start`, `/pause`, `/resume`, `/cancel`.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use store::CampaignStatus;

use super::find;
use crate::App;
use crate::auth::Caller;
use crate::body::CampaignPath;
use crate::lifecycle::{self, Verb};
use crate::problem::Answer;
use crate::view;

pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    act(&app, &caller, path, Verb::Start).await
}

pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    act(&app, &caller, path, Verb::Pause).await
}

pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    act(&app, &caller, path, Verb::Resume).await
}

pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    act(&app, &caller, path, Verb::Cancel).await
}

async fn act(app: &App, caller: &Caller, path: CampaignPath, verb: Verb) -> Answer<Json<Value>> {
    caller.may_change()?;
    let campaign = find(app, caller, path.0).await?;
    let campaign = lifecycle::act(&app.store, campaign, verb, &caller.0.name).await?;
    if campaign.status == CampaignStatus::Cancelled {
        app.staging.remove(campaign.id).await;
    }
    let counters = app.store.campaign_counters(campaign.id).await?;
    Ok(Json(view::whole(&campaign, &counters, app.store.durability())))
}
