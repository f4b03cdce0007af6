//! What changes is sent to whoever looks, rendered once for all of them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use console::Config;
use http_body_util::BodyExt;

use crate::browser::Browser;
use crate::paper::Paper;

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

#[tokio::test(start_paused = true)]
async fn what_has_nothing_that_moves_is_not_watched() {
    let mut browser = Paper::new().browser(&Config::default());
    browser.enter("ann").await;
    for page in ["/console/live/trace?text=x", "/console/live/nothing", "/console/live/live"] {
        let page = browser.get(page).await;
        assert_eq!(page.status, axum::http::StatusCode::NOT_FOUND);
    }
    for n in 0..101 {
        let request = Request::get(format!("/console/live/sites?find={n}")).body(Body::empty());
        let response = browser.send(request.unwrap()).await;
        let expected = if n < 100 { 200 } else { 503 };
        assert_eq!(response.status().as_u16(), expected, "page {n}");
        // Whoever looks keeps it.
        std::mem::forget(response);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_rendered_is_told_as_lost() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let mut stream = watching(&mut browser, "/console/live/relays").await;
    assert!(next(&mut stream).await.contains("event: parts"));
    *paper.trouble.lock().unwrap() = Some(console::Trouble::Broken("no Redis".into()));
    assert!(next(&mut stream).await.starts_with("event: lost"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_itself_and_whoever_is_let_in_no_more_gets_no_other() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let mut stream = watching(&mut browser, "/console/live/relays").await;
    paper.remove("ann");
    let mut frames = 0;
    while tokio::time::timeout(Duration::from_secs(120), stream.frame()).await.unwrap().is_some() {
        frames += 1;
        assert!(frames < 100, "it goes on");
    }
    let page = browser.get("/console/live/relays").await;
    assert_eq!(page.status, axum::http::StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_process_does() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let mut stream = watching(&mut browser, "/console/live/relays").await;
    next(&mut stream).await;
    paper.stop.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(1), stream.frame()).await.unwrap().is_none());
}
