//! Every page, in both languages, over what strangers wrote.

use axum::http::{StatusCode, header};
use console::{Config, Trouble};

use crate::browser::Browser;
use crate::paper::Paper;

const PAGES: &[&str] = &[
    "",
    "?period=7d",
    "/sites",
    "/sites?find=xyz",
    "/sites/a%20b/mx.example?period=24h",
    "/campaigns",
    "/campaigns/c7?period=30d",
    "/relays",
    "/relays/one",
    "/relays/two",
    "/bounces",
    "/bounces?period=1h&site=mx.example&campaign=c7",
    "/trace",
    "/trace?address=ann&domain=&kind=failed&category=no-mailbox&since=24h&text=%3Cscript%3E",
    "/people/ann@example.org",
    "/alarms",
    "/suppressions",
    "/suppressions?address=bob@example.org&tenant=*",
];

async fn shown(browser: &mut Browser, page: &str) -> String {
    let page = browser.get(&format!("/console{page}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    page.text
}

/// Nothing that a stranger wrote is more than text, and nothing of it is long.
fn is_tame(text: &str) {
    for (begin, _) in text.match_indices("<script") {
        assert!(text[begin..].starts_with("<script src=\"/console/assets/"));
    }
    assert!(!text.contains("<img src=x") && !text.contains(" onerror=\""));
    let hidden = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(hidden), "control characters");
    assert!(text.len() < 400_000, "{} octets", text.len());
    // The policy forbids them, and a browser would drop them.
    assert!(!text.contains(" style=") && !text.contains(" onclick="));
}

#[tokio::test]
async fn every_page_is_whole_in_both_languages_and_strangers_words_are_only_text() {
    let paper = Paper::new();
    for lang in ["en", "fr"] {
        for name in ["ann", "wall"] {
            let mut browser = paper.browser(&Config::default());
            browser.enter(name).await;
            let page = browser
                .get(&format!("/console/taste?lang={lang}&theme=dark&back=/console/sites"))
                .await;
            assert_eq!(page.to(), "/console/sites");
            for page in PAGES {
                let text = shown(&mut browser, page).await;
                assert!(text.contains(&format!("<html lang=\"{lang}\" data-theme=\"dark\">")));
                is_tame(&text);
                assert!(text.ends_with("</html>"), "{page} is cut");
            }
        }
    }
}

#[tokio::test]
async fn live_parts_hold_nothing_that_is_one_persons() {
    let mut browser = Paper::new().browser(&Config::default());
    browser.enter("ann").await;
    for page in PAGES {
        let text = shown(&mut browser, page).await;
        for part in text.split("<!--live ").skip(1) {
            let (part, _) = part.split_once("<!--/live-->").expect("an end");
            assert!(!part.contains("<form") && !part.contains("form_token"), "{page}: {part}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_and_quoted() {
    let mut browser = Paper::new().browser(&Config::default());
    browser.enter("ann").await;
    for (page, status, quoted) in [
        ("?period=2h", 422, "&quot;2h&quot; is none of 1h, 24h, 7d, 30d"),
        ("/trace?since=soon", 422, "&quot;soon&quot;"),
        ("/trace?color=red", 422, "color"),
        ("/trace?cursor=%3Cb%3E", 422, "&quot;&lt;b&gt;&quot; was not made here"),
        ("/bounces?campaign=red", 422, "&quot;red&quot; is no campaign"),
        ("/campaigns/red", 404, "red"),
        ("/sites/-/mx.example", 404, "mx.example"),
        ("/relays/nobody", 404, "nobody"),
        ("/nothing/here", 404, "/console/nothing/here"),
    ] {
        let page = browser.get(&format!("/console{page}")).await;
        assert_eq!(page.status.as_u16(), status, "{}", page.text);
        assert!(page.text.contains(quoted), "{quoted} in {}", page.text);
        is_tame(&page.text);
    }
}

#[tokio::test]
async fn trouble_has_a_page_of_its_own() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    for (trouble, status, says) in [
        (Trouble::Elsewhere, 404, "History is kept on another host"),
        (Trouble::Busy, 503, "Load the page again"),
        (Trouble::Broken("the platform does not answer".into()), 500, "does not answer"),
    ] {
        *paper.trouble.lock().unwrap() = Some(trouble);
        let page = browser.get("/console/bounces").await;
        assert_eq!(page.status.as_u16(), status);
        assert!(page.text.contains(says), "{}", page.text);
    }
}

#[tokio::test]
async fn style_and_script_are_kept_for_good_under_an_address_of_their_own() {
    let mut browser = Paper::new().browser(&Config::default());
    let door = browser.get("/console/sign-in").await.text;
    let (_, rest) = door.split_once("href=\"/console/assets/").expect("a style sheet");
    let (address, _) = rest.split_once('"').expect("an end");
    let style = browser.get(&format!("/console/assets/{address}")).await;
    assert_eq!(style.headers[header::CONTENT_TYPE], "text/css; charset=utf-8");
    assert!(style.headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert_eq!(browser.get("/console/assets/x/secret").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/favicon.ico").await.headers[header::CONTENT_TYPE], "image/svg+xml");
}
