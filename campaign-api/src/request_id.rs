//! One id for a request, from the call to the last line in the log about what it set going. Whoever
//! calls may bring it in `X-Request-Id`; it comes back with every answer, stands in the log of the
//! request, and is kept with a campaign that the request creates: relays log deliveries with it.

use std::time::Instant;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::problem::Problem;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const CHARS_MAX: usize = 64;

/// The id of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives each request its id, and logs what became of it.
pub(crate) async fn with_id(mut request: Request, next: Next) -> Response {
    let id = brought(request.headers()).unwrap_or_else(made);
    let begun = Instant::now();
    let method = request.method().clone();
    // The route and not the path: addresses stand in paths.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", request = %id);
    let mut response = next.run(request).instrument(span).await;
    let (status, ms) = (response.status().as_u16(), begun.elapsed().as_millis() as u64);
    let route = route.unwrap_or_default();
    tracing::debug!(request = %id, %method, route, status, ms, "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// The caller's own, if it is one: it stands in logs.
fn brought(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    let is_one = !text.is_empty() && text.len() <= CHARS_MAX && text.bytes().all(fits);
    is_one.then(|| text.to_owned())
}

fn made() -> String {
    let mut bits = [0; 8];
    SystemRandom::new().fill(&mut bits).expect("the system has randomness");
    format!("r-{:016x}", u64::from_be_bytes(bits))
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(made())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_would_spoil_a_log_is_replaced() {
        let of = |text: &'static str| {
            brought(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static(text))]))
        };
        assert_eq!(of("spring-1.A_b").as_deref(), Some("spring-1.A_b"));
        for wrong in ["", "a b", "ann@example.org", "{\"x\":1}"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        let (one, other) = (made(), made());
        assert!(one != other && one.len() == 18 && brought(&HeaderMap::new()).is_none());
    }
}
