//! Live parts of pages, over server-sent events. A template marks them with the macro `live`; here the page
//! is rendered again every other second, once for all who look at it, and what changed is sent.
//! Live parts hold no forms: what a form needs is one person's.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::viewer::Viewer;

/// Between two looks at a page.
const EVERY: Duration = Duration::from_secs(2);
/// Pages that are watched at a time, all viewers together: each costs a rendering every other second.
const PAGES_MAX: usize = 100;
/// A stream ends after this, and the browser begins another: so whoever is let in no more sees no more.
const LASTS: Duration = Duration::from_secs(60);
/// Octets of a page that is watched.
const PAGE_OCTETS_MAX: usize = 4 << 20;

const BEGIN: &str = "<!--live ";
const END: &str = "<!--/live-->";

/// The live parts of a page by their names.
type Parts = BTreeMap<String, String>;
/// The same; `None`: the page could not be rendered.
type Rendered = Option<Parts>;
/// A page as some see it: the same address, language and light.
type Key = (String, &'static str, bool);

/// Pages that somebody looks at.
pub(crate) struct Live {
    pages: Router,
    stop: CancellationToken,
    watched: Mutex<HashMap<Key, watch::Receiver<Arc<Rendered>>>>,
}

impl Live {
    pub(crate) fn new(pages: Router, stop: CancellationToken) -> Self {
        Self { pages, stop, watched: Mutex::default() }
    }

    /// What a page's live parts are now and become.
    async fn watch(self: &Arc<Self>, key: Key, viewer: &Viewer) -> Watched {
        if let Some(there) = self.known(&key) {
            return Watched::There(there);
        }
        // Nobody's eye: what is one person's cannot come into a part for all.
        let eye = Viewer {
            name: String::new(),
            form_token: String::new(),
            done: None,
            here: key.0.clone(),
            ..viewer.clone()
        };
        // What has nothing that moves is not watched.
        let first = self.render(&key.0, &eye).await;
        if first.as_ref().is_none_or(BTreeMap::is_empty) {
            return Watched::Nothing;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, receiver| receiver.has_changed().is_ok());
        if let Some(there) = watched.get(&key) {
            return Watched::There(there.clone());
        }
        if watched.len() >= PAGES_MAX {
            return Watched::TooMany;
        }
        let (sender, receiver) = watch::channel(Arc::new(first));
        watched.insert(key.clone(), receiver.clone());
        tokio::spawn(Arc::clone(self).follow(key, eye, sender));
        Watched::There(receiver)
    }

    fn known(&self, key: &Key) -> Option<watch::Receiver<Arc<Rendered>>> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(key).filter(|receiver| receiver.has_changed().is_ok()).cloned()
    }

    /// Looks at a page until nobody asks any more.
    async fn follow(self: Arc<Self>, key: Key, eye: Viewer, sender: watch::Sender<Arc<Rendered>>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            // One receiver stays here: when it is the last, the page is forgotten.
            {
                let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                if sender.receiver_count() <= 1 {
                    watched.remove(&key);
                    return;
                }
            }
            sender.send_replace(Arc::new(self.render(&key.0, &eye).await));
        }
    }

    async fn render(&self, address: &str, eye: &Viewer) -> Rendered {
        let mut request = Request::get(address).body(Body::empty()).ok()?;
        request.extensions_mut().insert(eye.clone());
        let Ok(response) = self.pages.clone().call(request).await;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = http_body_util::Limited::new(response.into_body(), PAGE_OCTETS_MAX);
        let octets = body.collect().await.ok()?.to_bytes();
        std::str::from_utf8(&octets).ok().map(parts)
    }
}

/// What there is to watch of a page.
enum Watched {
    There(watch::Receiver<Arc<Rendered>>),
    /// No such page, or nothing in it moves.
    Nothing,
    TooMany,
}

/// The live parts of a page.
fn parts(page: &str) -> Parts {
    let begun = page.split(BEGIN).skip(1);
    let read = |rest: &str| {
        let (name, rest) = rest.split_once("-->")?;
        Some((name.to_owned(), rest.split_once(END)?.0.to_owned()))
    };
    begun.filter_map(read).collect()
}

/// `GET /console/live/…`: the live parts of `/console/…`, those that changed, as JSON by their names.
pub(crate) async fn stream(
    State(live): State<Arc<Live>>,
    Extension(viewer): Extension<Viewer>,
    request: Request,
) -> Response {
    let asked = request.uri().path_and_query().map_or("", |all| all.as_str());
    let address = asked.replacen("/console/live", "/console", 1);
    let key = (address, viewer.taste.lang.as_str(), viewer.may_operate);
    match live.watch(key, &viewer).await {
        Watched::There(mut receiver) => {
            receiver.mark_changed();
            Sse::new(changes(receiver, live.stop.clone()))
                .keep_alive(KeepAlive::default())
                .into_response()
        }
        Watched::Nothing => StatusCode::NOT_FOUND.into_response(),
        Watched::TooMany => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The parts that changed, as they change; `lost` where the page cannot be rendered.
fn changes(
    receiver: watch::Receiver<Arc<Rendered>>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let known: HashMap<String, u64> = HashMap::new();
    let end = Instant::now() + LASTS;
    let changes = stream::unfold((receiver, known), move |(mut receiver, mut known)| async move {
        loop {
            tokio::time::timeout_at(end, receiver.changed()).await.ok()?.ok()?;
            let parts = receiver.borrow_and_update().clone();
            let Some(parts) = parts.as_ref() else {
                return Some((Ok(Event::default().event("lost").data("")), (receiver, known)));
            };
            let changed = changed(parts, &mut known);
            if !changed.is_empty() {
                let text = serde_json::to_string(&changed).unwrap_or_default();
                return Some((Ok(Event::default().event("parts").data(text)), (receiver, known)));
            }
        }
    });
    changes.take_until(stop.cancelled_owned())
}

fn changed<'a>(
    parts: &'a Parts,
    known: &mut HashMap<String, u64>,
) -> BTreeMap<&'a String, &'a String> {
    let mut is_new = |(name, text): &(&String, &String)| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        known.insert((*name).clone(), hash) != Some(hash)
    };
    parts.iter().filter(|part| is_new(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_parts_are_found_by_their_marks() {
        let page =
            "<p><!--live a--><i>1</i><!--/live--></p><!--live b-->2<!--/live--><!--live c-->";
        let found = parts(page);
        assert_eq!(found.len(), 2);
        assert_eq!((found["a"].as_str(), found["b"].as_str()), ("<i>1</i>", "2"));
    }
}
