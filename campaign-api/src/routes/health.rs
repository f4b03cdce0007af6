//! `/livez`: the process answers. `/readyz`: the queue does too.

use axum::extract::State;

use crate::App;
use crate::problem::Answer;

pub(crate) async fn live() -> &'static str {
    "ok\n"
}

pub(crate) async fn ready(State(app): State<App>) -> Answer<&'static str> {
    app.store.ping().await?;
    Ok("ok\n")
}
