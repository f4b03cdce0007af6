//! The process: its socket, its router, its background task, and the order of stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::closing::Closings;
use crate::connections::Bounded;
use crate::problem::Problem;
use crate::request_id::with_id;
use crate::routes::{
    attachments, campaigns, health, history, lists, recipients, unsubscribe, verbs,
};
use crate::staging::Staging;
use crate::{App, Config, Parts, Shared, housekeeping};

/// How long requests that run may still take when the process ends. A service manager
/// kills after a minute and a half.
const GRACE: Duration = Duration::from_secs(10);

/// Why the API cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is out of range.
    #[error("api.{0}")]
    Setting(String),
    /// The port is taken, or the address not ours.
    #[error("api.listen: cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The staging folder cannot be used.
    #[error("cannot use the staging folder {folder:?}")]
    Staging {
        /// Which.
        folder: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The socket failed while it was served.
    #[error("the listener failed")]
    Listener(#[source] std::io::Error),
}

/// An API whose port is bound.
pub struct Api {
    app: App,
    listener: TcpListener,
    beside: Option<Router>,
}

/// Binds and runs until `shutdown`.
///
/// # Errors
/// When a setting is out of range, or the port or the staging folder cannot be used.
pub async fn serve(
    config: Config,
    parts: Parts,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    Api::bind(config, parts).await?.run(shutdown).await
}

impl Api {
    /// Checks the settings, opens the staging folder and binds the port.
    ///
    /// # Errors
    /// See [`serve`].
    pub async fn bind(config: Config, parts: Parts) -> Result<Self, ServeError> {
        config.check().map_err(ServeError::Setting)?;
        let staging = Staging::open(&parts.staging)
            .map_err(|source| ServeError::Staging { folder: parts.staging.clone(), source })?;
        let address = config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        let app = Arc::new(Shared {
            store: parts.store,
            txt: parts.txt,
            links: parts.links,
            history: parts.history,
            staging,
            closings: Closings::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        Ok(Self { app, listener, beside: parts.beside })
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// When the socket has none any more.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs until `shutdown`: first no new requests, then those that run within a grace, then
    /// the tasks. A closing that is cut off goes on after the next start.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self { app, listener, beside } = self;
        tracing::info!(listen = ?listener.local_addr().ok(), "the API listens");
        let tending = app.tasks.spawn(housekeeping::run(Arc::clone(&app)));
        let stopping = shutdown.clone();
        let idle = app.config.close_wait() + app.config.upload_idle();
        let listener = Bounded::new(listener, app.config.connections_max, idle);
        let serving = axum::serve(listener, router(Arc::clone(&app), beside))
            .with_graceful_shutdown(async move { stopping.cancelled().await });
        let overdue = async {
            shutdown.cancelled().await;
            // Closings and silent uploads end by themselves now.
            app.stop.cancel();
            tokio::time::sleep(GRACE).await;
        };
        let served = tokio::select! {
            served = serving => served.map_err(ServeError::Listener),
            () = overdue => Ok(()),
        };
        app.stop.cancel();
        app.tasks.close();
        let _ = tending.await;
        app.tasks.wait().await;
        served
    }
}

fn router(app: App, beside: Option<Router>) -> Router {
    let routes = Router::new()
        .route("/v1/campaigns", get(campaigns::list).post(campaigns::create))
        .route("/v1/campaigns/{id}", get(campaigns::show))
        .route("/v1/campaigns/{id}/recipients", get(recipients::offset).post(recipients::append))
        .route("/v1/campaigns/{id}/recipients/close", post(recipients::close))
        .route("/v1/campaigns/{id}/recipients/refused", get(recipients::refused))
        .route("/v1/campaigns/{id}/attachments", get(attachments::list))
        .route(
            "/v1/campaigns/{id}/attachments/{name}",
            put(attachments::put).delete(attachments::delete),
        )
        .route("/v1/campaigns/{id}/start", post(verbs::start))
        .route("/v1/campaigns/{id}/pause", post(verbs::pause))
        .route("/v1/campaigns/{id}/resume", post(verbs::resume))
        .route("/v1/campaigns/{id}/cancel", post(verbs::cancel))
        .route("/v1/suppressions", get(lists::suppressions))
        .route(
            "/v1/suppressions/{address}",
            put(lists::suppress).get(lists::suppression).delete(lists::lift),
        )
        .route("/v1/senders", get(lists::senders))
        .route("/v1/stats", get(history::stats))
        .route("/v1/trace", get(history::trace))
        .route("/u/{token}/{address}", get(unsubscribe::page).post(unsubscribe::confirm))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(|| async { Problem::not_found("such resource; see docs/API.md") })
        .method_not_allowed_fallback(|| async {
            let detail = "this resource does not take that method; see docs/API.md";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .with_state(app);
    routes.merge(beside.unwrap_or_default()).layer(from_fn(count)).layer(from_fn(with_id))
}

/// Requests by route and class of status: both sets are small and ours.
async fn count(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("malleposte_api_requests_total", "route" => route.clone(), "status" => class)
        .increment(1);
    metrics::histogram!("malleposte_api_request_seconds", "route" => route)
        .record(begun.elapsed().as_secs_f64());
    response
}
