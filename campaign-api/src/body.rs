//! Bodies and paths of requests, read within bounds and refused in one form. What the
//! JSON means is for the routes.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use mail::CampaignId;
use serde::de::DeserializeOwned;

use crate::problem::{Answer, Problem};

/// A definition is some megabytes at most: who needs longer is not sending it.
const READ_WAIT: Duration = Duration::from_secs(30);

/// The whole body, if it is no longer than `max`.
pub(crate) async fn read(headers: &HeaderMap, body: Body, max: usize) -> Answer<Bytes> {
    let refuse =
        || Problem::too_large(format!("the body is longer than {max} octets")).with("max", max);
    if declared_length(headers).is_some_and(|n| n > max as u64) {
        return Err(refuse());
    }
    let whole = tokio::time::timeout(READ_WAIT, collect(body, max)).await;
    match whole.map_err(|_| too_slow())? {
        Some(whole) => Ok(whole?.into()),
        None => Err(refuse()),
    }
}

/// `None` when it is longer than `max`.
async fn collect(body: Body, max: usize) -> Option<Answer<Vec<u8>>> {
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return Some(Err(broken_off())) };
        if whole.len() + piece.len() > max {
            return None;
        }
        whole.extend_from_slice(&piece);
    }
    Some(Ok(whole))
}

fn too_slow() -> Problem {
    let detail = format!("the body did not arrive within {} s", READ_WAIT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "silent", detail)
}

/// A body is taken as it comes, so it must come plain.
pub(crate) fn expect_plain(headers: &HeaderMap) -> Answer<()> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(unsupported(format!("content-encoding {encoding:?} is not taken: send it plain")))
        }
        Some(_) | None => Ok(()),
    }
}

fn unsupported(detail: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
}

/// What a body must be before it is read.
pub(crate) fn expect_media(headers: &HeaderMap, wanted: &[&str]) -> Answer<()> {
    expect_plain(headers)?;
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if wanted.iter().any(|w| w.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    Err(unsupported(format!("content-type {given:?} is not taken: send {:?}", wanted[0])))
}

pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// JSON of a known form; what is wrong is named with its place.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        use serde_json::error::Category;
        let (status, code) = match error.classify() {
            Category::Syntax | Category::Eof | Category::Io => {
                (StatusCode::BAD_REQUEST, "malformed-json")
            }
            Category::Data => (StatusCode::UNPROCESSABLE_ENTITY, "bad-definition"),
        };
        let (line, column) = (error.line(), error.column());
        Problem::new(status, code, error.to_string()).with("line", line).with("column", column)
    })
}

pub(crate) fn broken_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "broken-off", "the body ended before its time")
}

/// The campaign that a path names.
pub(crate) struct CampaignPath(pub(crate) CampaignId);

impl<S: Send + Sync> FromRequestParts<S> for CampaignPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::not_found("such campaign"))?;
        text.parse().map(Self).map_err(|_| {
            Problem::not_found(format!("campaign {:?}", text.chars().take(40).collect::<String>()))
        })
    }
}
