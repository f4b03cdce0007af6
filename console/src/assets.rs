//! Style and script. Their address holds a digest of them, so that a browser keeps them for good.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const FILES: &[(&str, &str, &str)] = &[
    ("console.css", "text/css; charset=utf-8", include_str!("../assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_str!("../assets/console.js")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// What stands in the address.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|(_, _, text)| *text).collect();
    digest(&SHA256, all.as_bytes()).as_ref()[..8]
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
});

/// What browsers ask for unasked.
pub(crate) async fn icon() -> Response {
    asset(Path((String::new(), "icon.svg".to_owned()))).await
}

pub(crate) async fn asset(Path((_, name)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|(file, ..)| *file == name);
    match found {
        Some((_, kind, text)) => {
            let kept = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, kept)], *text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
