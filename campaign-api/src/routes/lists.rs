//! `/v1/suppressions` and `/v1/senders`: who gets no mail, and who may send. What leads
//! to a suppression by itself is decided elsewhere.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use mail::{Address, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{ListPlace, Listed, StoreError, Suppression, SuppressionRecord};

use super::campaigns::{bad_query, with_next};
use super::{bad_cursor, cursor, page_size, place};
use crate::auth::Caller;
use crate::problem::{Answer, Problem};
use crate::{App, body, clock};

const NOTE_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
pub(crate) struct Which {
    tenant: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

type Asked = Result<Query<Which>, QueryRejection>;

/// An address in a path.
pub(crate) struct AddressPath(Address);

impl<S: Send + Sync> FromRequestParts<S> for AddressPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::unprocessable("bad-address", "the path holds no address"))?;
        let quoted: String = text.chars().take(100).collect();
        let refuse = |why| Problem::unprocessable("bad-address", format!("{quoted:?} {why}"));
        text.parse().map(Self).map_err(refuse)
    }
}

/// `GET /v1/suppressions`: shard after shard, in no order that means anything.
pub(crate) async fn suppressions(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    asked: Asked,
) -> Answer {
    let Query(asked) = asked.map_err(|e| bad_query(&e))?;
    let tenant = caller.list(asked.tenant.as_deref())?;
    let limit = page_size(asked.limit);
    let from = match &asked.cursor {
        None => ListPlace::default(),
        Some(text) => app.store.list_place(&place(text)?).ok_or_else(bad_cursor)?,
    };
    let (page, next) = app.store.suppression_page(&tenant, from, limit).await?;
    let rows: Vec<Value> = page.iter().map(view).collect();
    let next = next.map(|next| cursor(&next.to_string()));
    Ok(with_next(&uri, json!({ "suppressions": rows }), next))
}

fn view(suppression: &Suppression) -> Value {
    let Suppression { address, record } = suppression;
    json!({
        "address": address,
        "reason": record.reason,
        "category": record.category.map(|c| c.as_str()),
        "at": record.at.to_string(),
        "evidence": record.evidence,
        "expires_at": record.expires_at.map(|end| end.to_string()),
    })
}

/// `GET /v1/suppressions/{address}`: why this one gets no mail.
pub(crate) async fn suppression(
    State(app): State<App>,
    caller: Caller,
    AddressPath(address): AddressPath,
    asked: Asked,
) -> Answer<Json<Value>> {
    let Query(asked) = asked.map_err(|e| bad_query(&e))?;
    let tenant = caller.list(asked.tenant.as_deref())?;
    let folded = address.folded();
    let found = app.store.suppression(&tenant, &folded, clock::now()).await?;
    let record = found.ok_or_else(|| Problem::not_found(format!("suppression of {folded}")))?;
    Ok(Json(view(&Suppression { address: folded, record })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(default)]
    note: String,
    /// When it ends by itself.
    expires_at: Option<String>,
}

/// `PUT /v1/suppressions/{address}`: no mail for this one any more.
pub(crate) async fn suppress(
    State(app): State<App>,
    caller: Caller,
    AddressPath(address): AddressPath,
    asked: Asked,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.may_change()?;
    let Query(asked) = asked.map_err(|e| bad_query(&e))?;
    let tenant = caller.list(asked.tenant.as_deref())?;
    let bytes = body::read(&headers, body, NOTE_BYTES_MAX).await?;
    let note: Note = if bytes.is_empty() { Note::default() } else { body::json(&bytes)? };
    let expires_at = note.expires_at.as_deref().map(end).transpose()?;
    let record = SuppressionRecord {
        reason: "operator".into(),
        category: None,
        at: clock::now(),
        evidence: format!("by {}: {}", caller.0.name, note.note).trim_end_matches(": ").to_owned(),
        delivery: None,
        expires_at,
    };
    if change(&app, &tenant, &address, Some(&record), &caller.0.name).await? == Listed::Outlasted {
        let detail =
            format!("{} is suppressed for longer already: DELETE it first", address.folded());
        return Err(Problem::conflict("outlasted", detail));
    }
    Ok(Json(view(&Suppression { address: address.folded(), record })).into_response())
}

/// A moment that is yet to come.
fn end(text: &str) -> Answer<Timestamp> {
    let end: Option<Timestamp> = text.parse().ok();
    end.filter(|end| *end > clock::now()).ok_or_else(|| {
        let detail =
            format!("expires_at: {text:?} is no moment to come, as 2027-01-31T12:00:00Z is");
        Problem::unprocessable("bad-suppression", detail)
    })
}

/// `DELETE /v1/suppressions/{address}`: mail again, and what was held against the address
/// is forgotten. What the whole platform suppresses stays.
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Caller,
    AddressPath(address): AddressPath,
    asked: Asked,
) -> Answer<Response> {
    caller.may_change()?;
    let Query(asked) = asked.map_err(|e| bad_query(&e))?;
    let tenant = caller.list(asked.tenant.as_deref())?;
    change(&app, &tenant, &address, None, &caller.0.name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change(
    app: &App,
    tenant: &str,
    address: &Address,
    record: Option<&SuppressionRecord>,
    who: &str,
) -> Answer<Listed> {
    let (folded, told) = (address.folded(), ("api", format!("for {tenant} by {who}")));
    match app.store.list_by_order(tenant, &folded, record, told, clock::now()).await {
        Err(StoreError::Busy) => {
            Err(Problem::later("busy", "this address keeps changing; try again"))
        }
        changed => Ok(changed?),
    }
}

/// `GET /v1/senders`: the caller's sender domains.
pub(crate) async fn senders(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    let senders = app.store.senders().await?;
    let mine = senders.iter().filter(|(_, sender)| caller.sees(&sender.tenant));
    let views: Vec<Value> = mine
        .map(|(domain, sender)| {
            let records = sender.selectors.iter().map(|key| {
                json!({
                    "name": key.dns_name(domain),
                    "type": "TXT",
                    "value": key.record,
                    "algorithm": key.algorithm,
                    "state": key.state.as_str(),
                })
            });
            json!({
                "domain": domain.as_str(),
                "tenant": sender.tenant,
                "proved_at": sender.proved_at.map(|at| at.to_string()),
                "records": records.collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(Json(json!({ "senders": views })))
}
