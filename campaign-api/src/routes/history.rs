//! `/v1/stats` and `/v1/trace`: what happened. A key sees what happened to its tenant's campaigns.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use ledger::{BadWish, Cursor, Entry, StatsWish, TraceWish, Unanswered};
use mail::plain::{Lang, explain_told};
use serde::Deserialize;
use serde_json::{Value, json};

use super::campaigns::{bad_query, with_next};
use super::{cursor, page_size, place};
use crate::auth::Caller;
use crate::problem::{Answer, Problem};
use crate::{App, clock};

type Asked<T> = Result<Query<T>, QueryRejection>;

/// `GET /v1/stats`: sums by whatever is asked for.
pub(crate) async fn stats(
    State(app): State<App>,
    caller: Caller,
    asked: Asked<StatsWish>,
) -> Answer<Json<Value>> {
    let Query(mut asked) = asked.map_err(|e| bad_query(&e))?;
    asked.tenant = caller.only(asked.tenant.as_deref())?;
    let question = asked.question(clock::now())?;
    let answer = app.history.ask(move |ledger| ledger.stats(&question)).await?;
    Ok(Json(answer.to_json()))
}

/// What the address of a trace holds besides what is looked for.
#[derive(Deserialize)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
    lang: Option<String>,
    #[serde(flatten)]
    wish: std::collections::BTreeMap<String, String>,
}

/// `GET /v1/trace`: what happened, the newest first, each with its sentences.
pub(crate) async fn trace(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    asked: Asked<Page>,
) -> Answer<Response> {
    let Query(asked) = asked.map_err(|e| bad_query(&e))?;
    let wish = serde_json::from_value::<TraceWish>(json!(asked.wish));
    let mut wish =
        wish.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "bad-query", e.to_string()))?;
    wish.tenant = caller.only(wish.tenant.as_deref())?;
    let filter = wish.filter(clock::now())?;
    let lang = language(asked.lang.as_deref())?;
    let from = match asked.cursor {
        Some(text) => Some(place(&text)?.parse::<Cursor>().map_err(|_| super::bad_cursor())?),
        None => None,
    };
    let limit = page_size(asked.limit);
    let page = app.history.ask(move |ledger| ledger.trace(&filter, limit, from)).await?;
    let entries: Vec<Value> = page.entries.iter().map(|entry| view(entry, lang)).collect();
    let next = page.next.map(|next| cursor(&next.to_string()));
    let body = json!({ "entries": entries, "is_unfinished": page.is_unfinished });
    Ok(with_next(&uri, body, next))
}

fn view(entry: &Entry, lang: Lang) -> Value {
    let event = &entry.event;
    let or_null = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "at": event.at.to_string(),
        "kind": event.kind,
        "judgement": entry.judgement,
        "campaign": event.campaign.map(|campaign| campaign.to_string()),
        "delivery": event.delivery.map(|delivery| delivery.to_string()),
        "recipient": or_null(&event.recipient),
        "count": event.count,
        "attempt": event.attempt,
        "relay": or_null(&event.service),
        "source": or_null(&event.source),
        "site": or_null(&event.site),
        "mx": or_null(&event.mx),
        "phase": event.phase,
        "reply": event.reply.as_ref().map(ToString::to_string),
        "category": event.category,
        "hygiene": event.hygiene,
        "scope": event.scope,
        "rule": or_null(&event.rule),
        "bytes": event.bytes,
        "elapsed_ms": event.elapsed_ms,
        "age_ms": event.age_ms,
        "tls": or_null(&event.tls),
        "next_at": event.next_at.map(|at| at.to_string()),
        "note": or_null(&event.note),
        "explanation": explain_told(event, lang),
    })
}

fn language(word: Option<&str>) -> Answer<Lang> {
    let Some(word) = word else { return Ok(Lang::En) };
    let quoted: String = word.chars().take(20).collect();
    let bad =
        || Problem::unprocessable("bad-query", format!("lang: {quoted:?} is neither en nor fr"));
    Lang::from_word(word).ok_or_else(bad)
}

impl From<Unanswered> for Problem {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Busy => {
                let detail =
                    "history answers others at the moment; ask again, or for a shorter time";
                Self::later("history-busy", detail)
            }
            Unanswered::Elsewhere => {
                let detail =
                    "history is kept on another host: ask the API there, or see `ledger.folder`";
                Self::new(StatusCode::NOT_FOUND, "history-elsewhere", detail)
            }
            Unanswered::History(error) => Self::internal(&error),
        }
    }
}

impl From<BadWish> for Problem {
    fn from(wrong: BadWish) -> Self {
        let name = wrong.name;
        Self::unprocessable("bad-query", wrong.to_string()).with("field", name)
    }
}
