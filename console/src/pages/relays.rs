//! Relays: what they have in hand, and what keeps them from taking more.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use minijinja::context;

use super::show;
use crate::Console;
use crate::platform::Trouble;
use crate::render::value;
use crate::viewer::Viewer;

pub(crate) async fn list(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let sights = console.platform.sights().await;
    let content = sights.map(|seen| context! { nav => "relays", relays => value(&seen.relays) });
    show(&console, &viewer, "relays.html", content)
}

pub(crate) async fn relay(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Path(name): Path<String>,
) -> Response {
    let content = console.platform.sights().await.and_then(|sights| {
        let found = sights.relays.iter().find(|relay| relay.name == name || relay.id == name);
        let found = found.ok_or_else(|| Trouble::Absent(format!("relay {name:?}")))?;
        let runs_s = (sights.at.0.saturating_sub(found.started_at.0)) as f64 / 1000.0;
        Ok(context! { nav => "relays", relay => value(found), runs_s })
    });
    show(&console, &viewer, "relay.html", content)
}
