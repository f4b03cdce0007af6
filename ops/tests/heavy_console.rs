//! The console in a real browser in front of a platform that sends: numbers move, buttons do what they
//! say, nothing is asked of anywhere else, and nothing stands in anybody's way.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use mail::CampaignId;
use serde_json::Value;

use crate::support::{Browser, Desk, until};

/// Slow enough for somebody to look.
const INTERNET: &str = r#"
name = "slow"

[returns]
delay_ms = 100
spread_ms = 500
connections = 2

[manner.slow]
tls = "offered"
limits = { rate_per_s = 25, connections = 4, messages_per_connection = 20 }
fates = { no_mailbox = 0.05, full = 0.02, busy = 0.05, bounce_no_mailbox = 0.05, complain = 0.02, dialects = 0.1 }

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.32" }]
manner = "slow"
tail = true
"#;

const SITE: &str = "mx.a.pretend.test";

const PAGES: &[&str] = &[
    "",
    "/sites",
    "/sites/one/mx.a.pretend.test",
    "/campaigns",
    "/campaigns/CAMPAIGN",
    "/relays",
    "/relays/one",
    "/bounces",
    "/trace",
    "/people/u0@a.pretend.example",
    "/suppressions",
    "/alarms",
];

struct Visit {
    browser: Browser,
    base: String,
}

impl Visit {
    /// Signs in as the administrator, whose password the first start printed.
    async fn enter(desk: &Desk, lang: &str) -> Self {
        let browser = Browser::start(lang).await;
        let base = format!("http://{}/console", desk.api());
        let printed = desk.up.printed();
        let (_, password) = printed.rsplit_once("shown only now: ").expect("a password");
        browser.go(&format!("{base}/bounces")).await;
        browser.type_in("input[name=name]", "admin").await;
        browser.type_in("input[name=password]", password.trim()).await;
        browser.click("button.first").await;
        browser
            .until("the page that was wanted", "return location.pathname == '/console/bounces'")
            .await;
        Self { browser, base }
    }

    async fn go(&self, page: &str) {
        self.browser.go(&format!("{}{page}", self.base)).await;
        self.browser.find("main h1").await;
    }

    /// Unfolds an order, says why, and gives it.
    async fn order(&self, verb: &str, fields: &[(&str, &str)]) {
        let form = format!("form[action='/console/do/{verb}']");
        let unfold = format!("document.querySelector(\"{form}\").closest('details').open = true");
        self.browser.find(&form).await;
        self.browser.script(&unfold).await;
        for (name, value) in fields {
            self.browser
                .type_in(&format!("{form} input[name={name}]:not([type=hidden])"), value)
                .await;
        }
        self.browser.type_in(&format!("{form} input[name=why]"), "to see it work").await;
        self.browser.script("window.isOld = true").await;
        self.browser.click(&format!("{form} button")).await;
        let told = "return !window.isOld && document.querySelector('[role=status]') != null";
        self.browser.until(verb, told).await;
    }

    /// No error, and nothing asked of anywhere else.
    async fn is_clean(&self) {
        let errors = self.browser.errors().await;
        assert!(errors.is_empty(), "{errors:#?}");
        let origin = self.base.trim_end_matches("console");
        let away: Vec<String> = (self.browser.requests().await.into_iter())
            // The empty window that it begins with is the browser's own.
            .filter(|address| !address.starts_with(origin) && !address.starts_with("chrome"))
            .filter(|address| !address.starts_with("data:"))
            .collect();
        assert!(away.is_empty(), "{away:#?}");
    }
}

fn status(desk: &Desk, campaign: &str) -> String {
    desk.json(&["queue", "show", campaign, "--json"])["status"].as_str().unwrap().to_owned()
}

fn orders(desk: &Desk) -> Vec<Value> {
    desk.json(&["queue", "orders", "--json"])["orders"].as_array().unwrap().clone()
}

#[test]
fn heavy_the_console_is_live_and_its_buttons_do_what_they_say() {
    let desk =
        Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 15), "api.gates.enabled = false\n", "");
    desk.internet.send_returns_to(desk.bounces().parse().unwrap());
    let customer = desk.customer();
    let campaign = customer.send("a.pretend.example", 4000);
    until(Duration::from_secs(60), "some are delivered, some failed and some came back", || {
        let progress = customer.campaign(&campaign)["progress"].clone();
        let n = |name: &str| progress[name].as_u64();
        (n("delivered")? > 30 && n("failed")? > 0 && n("returned")? > 0).then_some(())
    });
    desk.runtime.block_on(async {
        let visit = Visit::enter(&desk, "en").await;
        numbers_move(&visit, &campaign).await;
        buttons_work(&desk, &visit, &campaign).await;
        visit.is_clean().await;
        for (lang, theme) in [("en", "light"), ("fr", "dark")] {
            everybody_can_use_it(&visit, &campaign, lang, theme).await;
        }
        visit.is_clean().await;
        without_scripts(&visit).await;
        visit.browser.client.clone().close().await.unwrap();
    });
    desk.ends_within(Duration::from_secs(20));
}

/// Without loading the page again.
async fn numbers_move(visit: &Visit, campaign: &str) {
    for page in ["".to_owned(), format!("/campaigns/{campaign}")] {
        visit.go(&page).await;
        let keep = "window.before = [...document.querySelectorAll('.value')].map(e => e.textContent).join(); return true";
        visit.browser.script(keep).await;
        let moved = "return document.getElementById('live-state').className == 'live-state on' && \
            window.before != [...document.querySelectorAll('.value')].map(e => e.textContent).join()";
        visit.browser.until("numbers move", moved).await;
    }
    // Whoever wants to read in peace stops it.
    visit.browser.click("#live-pause").await;
    visit
        .browser
        .until("it pauses", "return document.getElementById('live-state').textContent == 'Paused'")
        .await;
    visit.browser.click("#live-pause").await;
    visit
        .browser
        .until("it goes on", "return document.getElementById('live-state').textContent == 'Live'")
        .await;
}

async fn buttons_work(desk: &Desk, visit: &Visit, campaign: &str) {
    let page = format!("/campaigns/{campaign}");
    visit.go(&page).await;
    visit.order("pause", &[]).await;
    assert_eq!(status(desk, campaign), "paused");
    visit.order("resume", &[]).await;
    assert_eq!(status(desk, campaign), "running");

    site_buttons_work(desk, visit).await;

    visit.go("/relays/one").await;
    visit.order("drain", &[]).await;
    assert_eq!(orders(desk)[0]["verb"], "drain");
    visit.order("undo-order", &[]).await;
    assert!(orders(desk).is_empty());

    visit.go("/suppressions").await;
    visit.order("suppress", &[("address", "ann@b.example")]).await;
    let (is_listed, told, _) = desk.ask(&["suppressions", "show", "ann@b.example"]);
    assert!(is_listed && told.contains("by admin: to see it work"), "{told}");
    visit.go("/suppressions?address=ann@b.example").await;
    visit.order("lift", &[]).await;
    assert!(!desk.ask(&["suppressions", "show", "ann@b.example"]).0);

    visit.go("/alarms").await;
    visit.order("silence", &[("subject", "one")]).await;
    let silences = desk.json(&["alarms", "--json"])["silences"].clone();
    assert_eq!(
        (silences[0]["by"].as_str(), silences[0]["subject"].as_str()),
        (Some("admin"), Some("one"))
    );
    visit.order("lift-silence", &[]).await;
    assert!(desk.json(&["alarms", "--json"])["silences"].as_array().unwrap().is_empty());

    visit.go(&page).await;
    visit.order("cancel", &[]).await;
    assert!(["cancelling", "cancelled"].contains(&status(desk, campaign).as_str()));
    let id: CampaignId = campaign.parse().unwrap();
    visit
        .browser
        .until(
            "it is cancelled",
            "location.reload(); return document.querySelector('.badge').textContent == 'Cancelled'",
        )
        .await;
    until(Duration::from_secs(10), "history tells who did it and why", || {
        let told = desk.well(&["trace", "--campaign", &id.to_string(), "--kind", "ordered"]);
        told.contains("by admin: to see it work").then_some(())
    });
}

async fn site_buttons_work(desk: &Desk, visit: &Visit) {
    visit.go(&format!("/sites/one/{SITE}")).await;
    visit.order("suspend-site", &[]).await;
    let given = orders(desk);
    assert_eq!((given.len(), given[0]["verb"].as_str()), (1, Some("suspend")));
    assert_eq!(
        (given[0]["by"].as_str(), given[0]["reason"].as_str()),
        (Some("admin"), Some("to see it work"))
    );
    visit.order("resume-site", &[]).await;
    assert!(orders(desk).is_empty());
    visit.order("fix-pace", &[("rate", "7,5"), ("minutes", "10")]).await;
    let given = orders(desk);
    assert_eq!(given[0]["fixed"]["rate"].as_f64(), Some(7.5), "{given:?}");
    visit.order("undo-order", &[]).await;
    assert!(orders(desk).is_empty());
    // A change of the pace there has been by now, and it can be taken back.
    visit.order("undo-change", &[]).await;
    until(Duration::from_secs(10), "history tells of it", || {
        let told = desk.json(&["site", "show", SITE, "--json"]);
        let changes = told["sources"][0]["changes"].as_array()?.clone();
        changes.iter().any(|change| change["by"] == "admin").then_some(())
    });
}

async fn everybody_can_use_it(visit: &Visit, campaign: &str, lang: &str, theme: &str) {
    visit.go(&format!("/taste?lang={lang}&theme={theme}&back=/console")).await;
    let mut barriers = Vec::new();
    for page in PAGES {
        let page = page.replace("CAMPAIGN", campaign);
        visit.go(&page).await;
        let lang_is = visit.browser.script("return document.documentElement.lang").await;
        assert_eq!(lang_is, lang);
        // What is folded must be usable, too.
        visit
            .browser
            .script("document.querySelectorAll('details').forEach(d => d.open = true)")
            .await;
        let found = visit.browser.barriers().await;
        barriers.extend(
            found.into_iter().map(|barrier| format!("{page} ({lang}, {theme}): {barrier}")),
        );
        if let Some(folder) = std::env::var_os("SCREENSHOTS") {
            visit.go(&page).await;
            keep(visit, Path::new(&folder), &page, lang).await;
        }
    }
    assert!(barriers.is_empty(), "{barriers:#?}");
}

/// A picture of the page, and a line of how soon there was something to see, in milliseconds.
async fn keep(visit: &Visit, folder: &Path, page: &str, lang: &str) {
    let name = format!("{}-{lang}.png", page.replace(['/', '@'], "_"));
    std::fs::write(folder.join(name), visit.browser.picture().await).unwrap();
    let paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime";
    let paint = visit.browser.script(paint).await;
    let line = format!("{lang} {page} {paint}\n");
    let file = File::options().create(true).append(true).open(folder.join("first-paint"));
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

/// What a page says, it says without scripts.
async fn without_scripts(visit: &Visit) {
    visit.browser.go(&format!("{}/taste?lang=en&theme=auto&back=/console", visit.base)).await;
    let fetched = "const done = arguments[arguments.length - 1]; \
        fetch('/console').then(r => r.text()).then(done)";
    let page = visit.browser.client.execute_async(fetched, Vec::new()).await.unwrap();
    let page = page.as_str().unwrap();
    assert!(
        page.contains("<noscript><meta http-equiv=\"refresh\"")
            && page.contains("<svg class=\"chart\"")
    );
    assert!(page.contains("Delivered") && page.contains("What binds"));
}
