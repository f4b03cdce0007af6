//! `Problem`: every answer that is a no, as RFC 9457 writes it. Strangers get a code and
//! a sentence; the chain of causes goes to the log.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use store::{StoreError, chain};

/// How soon to ask again when Redis is away: it is restarted within seconds.
const RETRY_AFTER_S: u64 = 2;

/// A no with its reason.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What handlers answer.
pub(crate) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    /// `code` becomes the type `urn:malleposte:CODE`; `detail` is for people.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    pub(crate) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what}"))
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// Passing trouble: the same request may succeed later.
    pub(crate) fn later(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .header(header::RETRY_AFTER, RETRY_AFTER_S)
    }

    /// Trouble of our own that waiting does not mend.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        let detail = "this is our fault and has been logged";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// A further member of the object, for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unconfirmed { .. } => {
                tracing::warn!(error = %chain(&error), "a change was not confirmed");
                Self::later("not-confirmed", format!("{error}"))
            }
            passing if passing.is_passing() => {
                tracing::warn!(error = %chain(&error), "the store is away");
                let detail = "the queue does not answer; nothing was accepted, try again";
                Self::later("queue-away", detail)
            }
            lasting => Self::internal(lasting),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut object = self.members;
        object.insert("type".into(), json!(format!("urn:malleposte:{}", self.code)));
        object.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("error")));
        object.insert("status".into(), json!(self.status.as_u16()));
        object.insert("detail".into(), json!(self.detail));
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, Value::Object(object).to_string()).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
