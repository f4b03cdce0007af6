//! Who is let in, and whose forms are taken.

use axum::http::{StatusCode, header};
use console::{Config, Deed, Trouble};

use crate::browser::{body, form};
use crate::paper::{PASSWORD, Paper};

#[tokio::test]
async fn whoever_has_not_signed_in_sees_the_door_and_comes_to_where_he_wanted() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    let page = browser.get("/console/campaigns/c7?period=7d").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(page.to(), "/console/sign-in?to=%2Fconsole%2Fcampaigns%2Fc7%3Fperiod%3D7d");
    let door = browser.get(page.to().to_owned().as_str()).await;
    assert_eq!(door.status, StatusCode::OK);
    let (key, to) = (door.field("key"), door.field("to"));
    let fields = [("name", "ann"), ("password", PASSWORD), ("key", &key), ("to", &to)];
    let page = browser.post("/console/sign-in", &fields).await;
    assert_eq!(page.to(), "/console/campaigns/c7?period=7d");
    assert_eq!(browser.get("/console/campaigns/c7").await.status, StatusCode::OK);
    assert_eq!(browser.get("/").await.to(), "/console");
}

#[tokio::test]
async fn everything_inside_is_behind_the_door() {
    let mut browser = Paper::new().browser(&Config::default());
    for page in [
        "",
        "/sites",
        "/sites/a/b",
        "/campaigns",
        "/relays",
        "/bounces",
        "/trace",
        "/people/ann@example.org",
        "/suppressions",
        "/alarms",
        "/nothing",
    ] {
        let page = browser.get(&format!("/console{page}")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        assert!(page.to().starts_with("/console/sign-in"));
    }
    let page = browser.get("/console/live/sites").await;
    assert_eq!((page.status, page.text.as_str()), (StatusCode::UNAUTHORIZED, ""));
    let page = browser.post("/console/do/cancel", &[("campaign", "c7"), ("why", "x")]).await;
    assert_eq!(page.to(), "/console/sign-in?to=");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_after_ten_tries_a_right_one_too() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    for n in 0..12 {
        let key = browser.get("/console/sign-in").await.field("key");
        let password = if n == 11 { PASSWORD } else { "wrong" };
        let fields = [("name", "ann"), ("password", password), ("key", &key)];
        let page = browser.post("/console/sign-in", &fields).await;
        let expected =
            if n < 10 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(page.status, expected, "try {n}");
        assert!(!page.text.contains("wrong\""), "what was typed is not shown again");
    }
    let key = browser.get("/console/sign-in").await.field("key");
    let fields = [("name", "nobody"), ("password", PASSWORD), ("key", &key)];
    let nobody = browser.post("/console/sign-in", &fields).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    // Names that nobody has leave one number behind, however many they are.
    for name in ["x1", "x2", "x3"] {
        let key = browser.get("/console/sign-in").await.field("key");
        let fields = [("name", name), ("password", PASSWORD), ("key", &key)];
        let page = browser.post("/console/sign-in", &fields).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(paper.counted(), 2);
    // The other account is not touched by it.
    browser.enter("wall").await;
}

#[tokio::test]
async fn the_door_takes_only_its_own_form() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    let fields = [("name", "ann"), ("password", PASSWORD), ("key", "made up")];
    assert_eq!(browser.post("/console/sign-in", &fields).await.status, StatusCode::FORBIDDEN);
    browser.get("/console/sign-in").await;
    assert_eq!(browser.post("/console/sign-in", &fields).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_form_of_another_site_or_without_its_token_does_nothing() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let token = browser.get("/console/campaigns/c7").await.field("form_token");
    let fields = [("campaign", "c7"), ("why", "so"), ("form_token", token.as_str())];
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let request =
            form("/console/do/pause", &fields).header(header::HOST, "here").header(name, value);
        let page = browser.ask(request.body(body(&fields)).unwrap()).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}");
    }
    let others = [("campaign", "c7"), ("why", "so"), ("form_token", "made up")];
    for fields in [&fields[..2], &others] {
        let page = browser.post("/console/do/pause", fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert!(paper.deeds.lock().unwrap().is_empty());
    let page = browser.post("/console/do/pause", &fields).await;
    assert_eq!((page.status, page.to()), (StatusCode::SEE_OTHER, "/console"));
    let done = paper.deeds.lock().unwrap().clone();
    assert_eq!(done, [("ann".into(), "so".into(), Deed::PauseCampaign(mail::CampaignId(7)))]);
    // The next page says so, once.
    assert!(browser.get("/console").await.text.contains("The campaign is paused."));
    assert!(!browser.get("/console").await.text.contains("The campaign is paused."));
}

#[tokio::test]
async fn who_may_only_look_sees_no_button_and_gives_no_order() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("wall").await;
    for page in ["campaigns/c7", "sites/a/b", "relays/one", "suppressions", "alarms"] {
        let page = browser.get(&format!("/console/{page}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.text.contains("/console/do/"), "{}", page.text);
    }
    let token = browser.get("/console").await.field("form_token");
    let fields = [("campaign", "c7"), ("why", "so"), ("form_token", token.as_str())];
    let page = browser.post("/console/do/cancel", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("may look") && paper.deeds.lock().unwrap().is_empty());
}

#[tokio::test]
async fn sessions_end_by_signing_out_with_the_account_and_with_its_password() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let kept = browser.cookies.clone();
    let token = browser.get("/console").await.field("form_token");
    let wrong = browser.post("/console/sign-out", &[("form_token", "made up")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    browser.post("/console/sign-out", &[("form_token", &token)]).await;
    browser.cookies = kept;
    assert_eq!(browser.get("/console").await.status, StatusCode::SEE_OTHER, "the token is dead");
    browser.enter("ann").await;
    paper.put("ann", true, u64::MAX);
    assert_eq!(browser.get("/console").await.status, StatusCode::SEE_OTHER, "a new password");
    paper.put("ann", true, 0);
    assert_eq!(browser.get("/console").await.status, StatusCode::OK);
    paper.remove("ann");
    assert_eq!(browser.get("/console").await.status, StatusCode::SEE_OTHER, "no account");
}

#[tokio::test]
async fn who_has_no_account_yet_is_told_how_to_make_one() {
    let paper = Paper::new();
    paper.forget_accounts();
    let mut browser = paper.browser(&Config::default());
    let door = browser.get("/console/sign-in").await;
    assert!(door.text.contains("malleposte console add NAME") && !door.text.contains("<form"));
}

#[tokio::test]
async fn behind_a_proxy_with_tls_cookies_go_no_other_way() {
    let config = Config { https: true, ..Config::default() };
    let mut browser = Paper::new().browser(&config);
    let door = browser.get("/console/sign-in").await;
    assert!(door.headers[header::SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
    assert!(Config { session_hours: 0, ..config }.check().is_err_and(|why| why.contains("is 0")));
}

#[tokio::test]
async fn an_order_that_is_refused_says_why_and_leads_back() {
    let paper = Paper::new();
    let mut browser = paper.browser(&Config::default());
    browser.enter("ann").await;
    let token = browser.get("/console").await.field("form_token");
    let back = "/console/campaigns/c7";
    let fields =
        [("campaign", "c7"), ("why", "so"), ("form_token", token.as_str()), ("back", back)];
    *paper.trouble.lock().unwrap() = Some(Trouble::Refused("campaign c7 is over".into()));
    let page = browser.post("/console/do/resume", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("campaign c7 is over") && page.text.contains(back));
    *paper.trouble.lock().unwrap() = None;
    let page = browser.post("/console/do/resume", &fields[..1]).await;
    assert!(page.status.is_client_error());
    let page = browser.post("/console/do/resume", &[fields[0], fields[2]]).await;
    assert!(page.text.contains("&quot;why&quot; is missing"), "{}", page.text);
}
