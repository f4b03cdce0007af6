//! What changes is sent to whoever looks, rendered once for all of them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use console::Config;
use http_body_util::BodyExt;

use crate::paper::{Browser, Paper};

/// The next event of a stream.
async fn next(stream: &mut Body) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(60), stream.frame()).await;
    let data = frame.expect("in time").expect("no end").expect("octets").into_data();
    String::from_utf8(data.expect("data").to_vec()).expect("text")
}

async fn watching(browser: &mut Browser, page: &str) -> Body {
    let response = browser.send(Request::get(page).body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    response.into_body()
}

#[tokio::test(start_paused = true)]
async fn what_changed_is_sent_and_nothing_else() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let mut stream = watching(&mut browser, "/console/live").await;
    let first = next(&mut stream).await;
    assert!(first.starts_with("event: parts\ndata: {"), "{first}");
    assert!(first.contains("\"tiles\":") && first.contains("\"queue\":"));
    assert!(!first.contains("form_token"));
    *paper.waiting.lock().unwrap() = 4321;
    let second = next(&mut stream).await;
    assert!(second.contains("4,321") && second.contains("\"tiles\":"), "{second}");
    assert!(!second.contains("\"binds\":"), "it has not changed: {second}");
}

#[tokio::test(start_paused = true)]
async fn fifty_who_look_cost_one_look() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(watching(&mut browser, "/console/live/relays").await);
    }
    for stream in &mut streams {
        next(stream).await;
    }
    let before = *paper.looks.lock().unwrap();
    assert!(before <= 3, "{before} looks");
    drop(streams);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = *paper.looks.lock().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*paper.looks.lock().unwrap(), after, "nobody looks any more");
}
