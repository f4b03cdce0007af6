//! Who gets no mail, and why; by hand on and off the list.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use minijinja::{Value, context};

use super::{Asked, Fields, address, given, show};
use crate::Console;
use crate::platform::Answer;
use crate::render::value;
use crate::viewer::Viewer;

pub(crate) async fn page(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, given(asked)).await;
    show(&console, &viewer, "suppressions.html", content)
}

async fn content(console: &Console, asked: Fields) -> Answer<Value> {
    let tenant = asked.get("tenant").map_or("default", String::as_str);
    let (wanted, cursor) = (asked.get("address"), asked.get("cursor"));
    let page = console
        .platform
        .suppressions(tenant, wanted.map(String::as_str), cursor.map(String::as_str))
        .await?;
    let next = page.next.as_ref().map(|next| {
        let mut fields = asked.clone();
        fields.insert("cursor".to_owned(), next.clone());
        address("/console/suppressions", &fields)
    });
    Ok(context! {
        nav => "suppressions",
        tenant,
        wanted,
        suppressions => value(&page.suppressions),
        next,
    })
}
