//! `/v1/campaigns`: create, list, show.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use mail::{CampaignId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Begun;

use super::{bad_cursor, cursor, find, page_size, place};
use crate::auth::Caller;
use crate::body::{self, CampaignPath};
use crate::definition::{Checked, Definition};
use crate::problem::{Answer, Problem};
use crate::request_id::RequestId;
use crate::{App, clock, proof, view};

/// Campaigns looked at for one page: a tenant with few among many gets short pages.
const LOOKED_AT_MAX: usize = 2000;
const KEY_CHARS_MAX: usize = 255;

/// What an idempotency key stands for: enough to create the same campaign again.
#[derive(Serialize, Deserialize)]
struct Claim {
    id: u64,
    created_at: u64,
}

/// `POST /v1/campaigns`. A creation that was cut off anywhere is repeated with its key and
/// ends in one campaign: the key remembers the number before the campaign is written.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    RequestId(request): RequestId,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.may_change()?;
    body::expect_media(&headers, &["application/json"])?;
    let key = idempotency_key(&headers)?;
    let bytes = body::read(&headers, body, app.config.body_bytes_max).await?;
    let definition: Definition = body::json(&bytes)?;
    let tenant = caller.tenant(definition.tenant.as_deref())?;
    let mut checked = definition.check(tenant, &app.config)?;
    let claim = match &key {
        None => claim_new(&app, &checked).await?,
        Some(key) => claim_with_key(&app, &caller, key, &bytes, &checked).await?,
    };
    let id = CampaignId(claim.id);
    checked.record.created_at = Timestamp(claim.created_at);
    checked.record.created_by = caller.0.name;
    checked.record.request = request;
    let defaults = serde_json::to_string(&checked.defaults).unwrap_or_default();
    let notes = [(view::DEFAULTS_NOTE, defaults.as_str())];
    app.store.create_campaign_as(id, &checked.record, &notes).await?;
    let location = [(header::LOCATION, format!("/v1/campaigns/{id}"))];
    let view = view::created(id, &checked.record, app.store.durability());
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

async fn claim_new(app: &App, checked: &Checked) -> Answer<Claim> {
    let record = &checked.record;
    proof::require(app, &record.tenant, &record.template.from_address.domain()).await?;
    require_pool(app, &record.pool).await?;
    Ok(Claim { id: app.store.reserve_campaign().await?.0, created_at: clock::now().0 })
}

/// A pool that no relay has would keep the campaign waiting for ever. While no relay runs, or an
/// older one that does not tell, nobody knows.
async fn require_pool(app: &App, pool: &str) -> Answer<()> {
    let now = clock::now();
    let Ok(relays) = app.store.relays().await else { return Ok(()) };
    let alive = relays.into_iter().filter(|(_, relay)| relay.lives(now));
    let pools: Vec<Vec<String>> = alive.map(|(_, relay)| relay.pools).collect();
    let may_have = |of_one: &Vec<String>| of_one.is_empty() || of_one.iter().any(|p| p == pool);
    if pools.is_empty() || pools.iter().any(may_have) {
        return Ok(());
    }
    let known: BTreeSet<String> = pools.into_iter().flatten().collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let detail = format!("{pool:?}: no relay has this pool; those that run have {known}");
    Err(Problem::unprocessable("no-such-pool", detail).with("pools", known))
}

async fn claim_with_key(
    app: &App,
    caller: &Caller,
    key: &str,
    bytes: &[u8],
    checked: &Checked,
) -> Answer<Claim> {
    let (store, tenant) = (&app.store, &caller.0.tenant);
    let print: String =
        digest(&SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    match store.begin_request(tenant, key, &print).await? {
        Begun::Done(claim) => serde_json::from_str(&claim).map_err(|e| Problem::internal(&e)),
        Begun::Other => Err(Problem::unprocessable(
            "idempotency-key-reused",
            format!("the idempotency key {key:?} was used with another body"),
        )),
        Begun::InProgress => Err(Problem::conflict(
            "in-progress",
            "a request with this idempotency key is being answered; try again in a moment",
        )
        .header(header::RETRY_AFTER, 2)),
        Begun::First => {
            let claimed = claim_new(app, checked).await;
            let answer = match &claimed {
                Ok(claim) => serde_json::to_string(claim).unwrap_or_default(),
                // The key is free again: the next try may bring a proof.
                Err(_) => String::new(),
            };
            store.finish_request(tenant, key, &print, &answer).await?;
            claimed
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    if text.is_empty() || text.len() > KEY_CHARS_MAX || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        let detail = format!("an idempotency key has 1 to {KEY_CHARS_MAX} printable characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-idempotency-key", detail));
    }
    Ok(Some(text.to_owned()))
}

#[derive(Deserialize)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/campaigns`: newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    asked: Uri,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(page) = page.map_err(|e| bad_query(&e))?;
    let limit = page_size(page.limit);
    let mut before = match &page.cursor {
        None => None,
        Some(text) => Some(place(text)?.parse().map_err(|_| bad_cursor())?),
    };
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let more = loop {
        let ids = app.store.campaigns(before, limit).await?;
        let is_last = ids.len() < limit;
        for id in ids {
            if found.len() == limit {
                break;
            }
            looked_at += 1;
            before = Some(id);
            let campaign = app.store.campaign(id).await?;
            found.extend(
                campaign.filter(|c| caller.sees(&c.record.tenant)).map(|c| view::brief(&c)),
            );
        }
        if found.len() == limit || looked_at >= LOOKED_AT_MAX || is_last {
            break !is_last || found.len() == limit;
        }
    };
    let next = before.filter(|_| more).map(|id| cursor(&id.to_string()));
    Ok(with_next(&asked, json!({ "campaigns": found }), next))
}

pub(super) fn bad_query(error: &axum::extract::rejection::QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-query", error.body_text())
}

/// A page and how to get the one after it, by what it was asked for with.
pub(super) fn with_next(asked: &Uri, mut page: Value, next: Option<String>) -> Response {
    page["next"] = json!(next);
    let mut response = Json(page).into_response();
    let asked_for = asked.query().unwrap_or_default().split('&');
    let kept = asked_for.filter(|part| !part.is_empty() && !part.starts_with("cursor="));
    let kept: String = kept.map(|part| format!("{part}&")).collect();
    let link = next.map(|next| format!("<{}?{kept}cursor={next}>; rel=\"next\"", asked.path()));
    if let Some(link) = link.and_then(|l| l.parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// `GET /v1/campaigns/{id}`.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    let campaign = find(&app, &caller, path.0).await?;
    let counters = app.store.campaign_counters(campaign.id).await?;
    Ok(Json(view::whole(&campaign, &counters, app.store.durability())))
}
