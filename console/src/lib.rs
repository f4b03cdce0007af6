//! The console: pages for those who run the platform. Rendered here, readable without scripts, kept
//! current over server-sent events. It sees the platform through [`Platform`] and keeps nothing itself.
//! What is absent: any knowledge of where things lie, and any decision about mail.

mod assets;
mod chart;
mod config;
mod deeds;
mod doors;
mod live;
mod pages;
mod platform;
mod render;
mod sign_in;
mod viewer;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use doors::{Account, Doors, Session, check_password, hash_password, new_password};
pub use platform::{
    AlarmsSeen, Answer, CampaignPage, CampaignSeen, ChangeSeen, Deed, Hand, OrderSeen, Pace,
    Platform, Relay, Server, Sights, SiteSeen, SuppressionPage, SuppressionSeen, Trouble, Waiting,
};

use live::Live;
use render::Renderer;
pub use render::grouped;
use sign_in::Guard;

/// What every request shares.
struct Shared {
    config: Config,
    platform: Arc<dyn Platform>,
    doors: Arc<dyn Doors>,
    renderer: Renderer,
    guard: Guard,
}

/// The state of the router.
type Console = Arc<Shared>;

/// The pages, to be served beside the API: `/`, which leads to `/console`, and all below that. What is
/// sent to whoever looks ends at `stop`.
pub fn router(
    config: &Config,
    platform: Arc<dyn Platform>,
    doors: Arc<dyn Doors>,
    stop: CancellationToken,
) -> Router {
    let console = Arc::new(Shared {
        config: config.clone(),
        platform,
        doors,
        renderer: Renderer::new(),
        guard: Guard::new(),
    });
    let pages = pages::router(Arc::clone(&console));
    let live = Arc::new(Live::new(pages.clone(), stop));
    let inside = pages
        .route("/console/do/{verb}", post(deeds::act).with_state(Arc::clone(&console)))
        .route("/console/sign-out", post(sign_in::sign_out).with_state(Arc::clone(&console)))
        .route("/console/live/{*page}", get(live::stream).with_state(Arc::clone(&live)))
        .route("/console/live", get(live::stream).with_state(live))
        .layer(from_fn_with_state(Arc::clone(&console), viewer::let_in));
    let outside = Router::new()
        .route("/", get(|| async { Redirect::to("/console") }))
        .route("/favicon.ico", get(assets::icon))
        .route("/console/sign-in", get(sign_in::door).post(sign_in::sign_in))
        .route("/console/taste", get(viewer::taste))
        .route("/console/assets/{version}/{name}", get(assets::asset))
        .with_state(console);
    inside.merge(outside).layer(from_fn(viewer::same_origin)).layer(map_response(harden))
}

/// Nothing from elsewhere is shown, run, or sent to; nobody else may frame a page or keep it.
async fn harden(mut response: Response) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
        connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
