//! The pages, one file each: what is asked of the platform, and what the template gets.

mod alarms;
mod bounces;
mod campaigns;
mod overview;
mod period;
mod relays;
mod sites;
mod suppressions;
mod trace;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use mail::{CampaignId, Timestamp};
use minijinja::{Value, context};

use crate::Console;
use crate::platform::{Answer, Trouble};
use crate::viewer::{Taste, Viewer};

/// What stands after the `?` of an address, by its names.
type Fields = BTreeMap<String, String>;
type Asked = axum::extract::Query<Fields>;

pub(crate) fn router(console: Console) -> Router {
    Router::new()
        .route("/console", get(overview::page))
        .route("/console/sites", get(sites::list))
        .route("/console/sites/{source}/{site}", get(sites::site))
        .route("/console/campaigns", get(campaigns::list))
        .route("/console/campaigns/{id}", get(campaigns::campaign))
        .route("/console/relays", get(relays::list))
        .route("/console/relays/{name}", get(relays::relay))
        .route("/console/bounces", get(bounces::page))
        .route("/console/alarms", get(alarms::page))
        .route("/console/trace", get(trace::page))
        .route("/console/people/{address}", get(trace::story))
        .route("/console/suppressions", get(suppressions::page))
        .route("/console/{*rest}", get(absent))
        .with_state(console)
}

async fn absent(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    uri: Uri,
) -> Response {
    let trouble = Trouble::Absent(format!("page {:?}", uri.path()));
    trouble_page(&console, &viewer, &trouble, Some("/console"))
}

/// A page, or what stands in its way.
fn show(console: &Console, viewer: &Viewer, template: &str, content: Answer<Value>) -> Response {
    let page = content.and_then(|content| console.renderer.page(viewer, template, content));
    match page {
        Ok(page) => Html(page).into_response(),
        Err(trouble) => trouble_page(console, viewer, &trouble, None),
    }
}

/// A page that says why there is no other.
pub(crate) fn trouble_page(
    console: &Console,
    viewer: &Viewer,
    trouble: &Trouble,
    back: Option<&str>,
) -> Response {
    let content = context! { kind => kind(trouble), why => trouble.to_string(), back };
    let page = console.renderer.page(viewer, "trouble.html", content);
    (status(trouble), Html(page.unwrap_or_else(|_| trouble.to_string()))).into_response()
}

/// The same for those who are not in.
pub(crate) fn outside_trouble(
    console: &Console,
    headers: &HeaderMap,
    trouble: &Trouble,
) -> Response {
    let content = context! { kind => kind(trouble), why => trouble.to_string() };
    let page = console.renderer.render("outside.html", Taste::of(headers), content);
    (status(trouble), Html(page.unwrap_or_else(|_| trouble.to_string()))).into_response()
}

fn kind(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Refused(_) => "refused",
        Trouble::Absent(_) => "absent",
        Trouble::Elsewhere => "elsewhere",
        Trouble::Busy => "busy",
        Trouble::Broken(_) => "broken",
    }
}

fn status(trouble: &Trouble) -> StatusCode {
    match trouble {
        Trouble::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Trouble::Absent(_) | Trouble::Elsewhere => StatusCode::NOT_FOUND,
        Trouble::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Trouble::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What is asked for, without what was left empty.
fn given(asked: Fields) -> Fields {
    let trimmed = asked.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
    trimmed.filter(|(_, value)| !value.is_empty()).collect()
}

/// An address with another value for one of its fields.
fn address(page: &str, fields: &Fields) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    if query.is_empty() { page.to_owned() } else { format!("{page}?{query}") }
}

/// An answer of history; `None`: it is kept elsewhere, and the rest of the page does not need it.
fn if_here<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Err(Trouble::Elsewhere) => Ok(None),
        other => other.map(Some),
    }
}

/// A campaign as it is named in a form or an address.
pub(crate) fn campaign_of(text: &str) -> Answer<CampaignId> {
    text.parse().map_err(|_| Trouble::Refused(format!("{text:?} is no campaign")))
}

/// The clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.unwrap_or_default().as_millis() as u64)
}
