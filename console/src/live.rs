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
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower_service::Service;

use crate::viewer::Viewer;

/// Between two looks at a page.
const EVERY: Duration = Duration::from_secs(2);
/// Pages that are watched at a time, all viewers together: each costs a rendering every other second.
const PAGES_MAX: usize = 100;
/// Octets of a page that is watched.
const PAGE_OCTETS_MAX: usize = 4 << 20;

const BEGIN: &str = "<!--live ";
const END: &str = "<!--/live-->";

/// The live parts of a page by their names.
type Parts = BTreeMap<String, String>;
/// A page as some see it: the same address, language and light.
type Key = (String, &'static str, bool);

/// Pages that somebody looks at.
pub(crate) struct Live {
    pages: Router,
    watched: Mutex<HashMap<Key, watch::Receiver<Arc<Parts>>>>,
}

impl Live {
    pub(crate) fn new(pages: Router) -> Self {
        Self { pages, watched: Mutex::default() }
    }

    /// What a page's live parts are now and become; `None`: too many pages are watched.
    fn watch(self: &Arc<Self>, key: Key, viewer: &Viewer) -> Option<watch::Receiver<Arc<Parts>>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = watched.get(&key) {
            return Some(there.clone());
        }
        if watched.len() >= PAGES_MAX {
            return None;
        }
        let (sender, receiver) = watch::channel(Arc::default());
        watched.insert(key.clone(), receiver.clone());
        // Nobody's eye: what is one person's cannot come into a part for all.
        let eye = Viewer {
            name: String::new(),
            form_token: String::new(),
            done: None,
            here: key.0.clone(),
            ..viewer.clone()
        };
        tokio::spawn(Arc::clone(self).follow(key, eye, sender));
        Some(receiver)
    }

    /// Looks at a page until nobody asks any more.
    async fn follow(self: Arc<Self>, key: Key, eye: Viewer, sender: watch::Sender<Arc<Parts>>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
            if let Some(page) = self.render(&key.0, &eye).await {
                sender.send_replace(Arc::new(parts(&page)));
            }
        }
    }

    async fn render(&self, address: &str, eye: &Viewer) -> Option<String> {
        let mut request = Request::get(address).body(Body::empty()).ok()?;
        request.extensions_mut().insert(eye.clone());
        let Ok(response) = self.pages.clone().call(request).await;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = http_body_util::Limited::new(response.into_body(), PAGE_OCTETS_MAX);
        let octets = body.collect().await.ok()?.to_bytes();
        String::from_utf8(octets.into()).ok()
    }
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
    match live.watch(key, &viewer) {
        Some(receiver) => {
            Sse::new(changes(receiver)).keep_alive(KeepAlive::default()).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn changes(receiver: watch::Receiver<Arc<Parts>>) -> impl Stream<Item = Result<Event, Infallible>> {
    let known: HashMap<String, u64> = HashMap::new();
    stream::unfold((receiver, known), |(mut receiver, mut known)| async move {
        loop {
            receiver.changed().await.ok()?;
            let parts = receiver.borrow_and_update().clone();
            let is_new = |(name, text): &(&String, &String)| {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let hash = hasher.finish();
                known.insert((*name).clone(), hash) != Some(hash)
            };
            let changed: BTreeMap<&String, &String> = parts.iter().filter(is_new).collect();
            if !changed.is_empty() {
                let text = serde_json::to_string(&changed).unwrap_or_default();
                return Some((Ok(Event::default().event("parts").data(text)), (receiver, known)));
            }
        }
    })
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
