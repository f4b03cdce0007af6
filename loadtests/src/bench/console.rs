//! What the console weighs, how soon a page is there, and what it costs to be looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::platform::Platform;
use super::setup::{SENDER, Setup};
use crate::generator::Generator;
use crate::program::Program;
use crate::scenario::Scenario;

/// Messages a second while it is looked at.
const RATE: f64 = 500.0;
/// Octets of a message.
const OCTETS: usize = 2_000;
/// Delivered before anybody looks: pictures have something to show.
const DELIVERED_BEFORE: u64 = 10_000;
/// For how long the processor is watched, without viewers and with them.
const WATCHED: Duration = Duration::from_secs(20);
/// A page is asked for so often; the middle answer counts.
const ASKED: usize = 5;
const OPERATOR: &str = "measurement";
/// The pages that viewers have before them, by turns.
const LIVE: [&str; 5] = ["", "/sites", "/campaigns", "/relays", "/bounces"];

/// What a page weighs and takes.
#[derive(Debug, Clone, Serialize)]
pub struct PageCost {
    /// Octets, which are not compressed.
    pub octets: u64,
    /// Milliseconds from the request to the last octet.
    pub ms: f64,
}

/// What the console costs.
#[derive(Debug, Clone, Serialize)]
pub struct ConsoleCost {
    /// Each page.
    pub pages: BTreeMap<String, PageCost>,
    /// The largest of them.
    pub largest_octets: u64,
    /// The slowest of them.
    pub slowest_ms: f64,
    /// How many looked.
    pub viewers: u32,
    /// What they cost API and Redis together beyond what both need without them, in percent of one
    /// processor.
    pub viewers_cpu_percent: f64,
    /// Octets a second that each was sent.
    pub octets_per_viewer_s: f64,
}

/// Looks at the console of a platform that delivers 500 messages a second.
///
/// # Errors
/// When the platform cannot be set up, or a page does not come.
pub async fn console(program: &Program, viewers: u32) -> Result<ConsoleCost> {
    let setup = Setup { rate: RATE, ..Setup::plain(Scenario::named("throughput")?) };
    Platform::measured(program, &setup, async |platform| look(platform, viewers).await).await
}

async fn look(platform: &mut Platform, viewers: u32) -> Result<ConsoleCost> {
    let cookie = enter(platform).await?;
    platform.start_relays(1).await?;
    let lasts = WATCHED * 2 + Duration::from_secs(40);
    let recipients = DELIVERED_BEFORE + (RATE * lasts.as_secs_f64()) as u64;
    let recipients = Generator::new(1, recipients);
    let campaign = platform.client.submit(SENDER, &recipients, OCTETS).await?;
    let patience = Duration::from_secs(120);
    platform.await_delivered(DELIVERED_BEFORE, Instant::now(), patience).await?;

    let mut pages = BTreeMap::new();
    let named = format!("/campaigns/{campaign}");
    for page in LIVE.into_iter().chain([&*named, "/trace", "/suppressions", "/alarms"]) {
        pages.insert(format!("/console{page}"), cost(platform, page, &cookie).await?);
    }
    let before = spent(platform, WATCHED).await?;
    let sent = Arc::new(AtomicU64::new(0));
    let mut streams = JoinSet::new();
    for viewer in 0..viewers {
        let page = LIVE[viewer as usize % LIVE.len()];
        streams.spawn(watch(platform.api_address(), page, cookie.clone(), Arc::clone(&sent)));
    }
    // The first rendering of each page is no part of looking on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent_before = sent.load(Ordering::Relaxed);
    let with = spent(platform, WATCHED).await?;
    let octets = sent.load(Ordering::Relaxed).saturating_sub(sent_before);
    while let Some(ended) = streams.try_join_next() {
        ended?.context("a stream ended")?;
    }
    ensure!(octets > 0, "nothing moved before the viewers' eyes");
    let delivered = platform.internet.book().delivered();
    ensure!(delivered < recipients.len(), "all was delivered before the viewers had seen enough");
    let largest = pages.values().map(|cost: &PageCost| cost.octets).max();
    let slowest = pages.values().map(|cost| cost.ms).fold(0.0, f64::max);
    Ok(ConsoleCost {
        largest_octets: largest.unwrap_or_default(),
        slowest_ms: slowest,
        pages,
        viewers,
        viewers_cpu_percent: ((with - before) * 1000.0).round() / 10.0,
        octets_per_viewer_s: (octets as f64 / WATCHED.as_secs_f64() / f64::from(viewers.max(1)))
            .round(),
    })
}

/// The share of a processor that API and Redis take meanwhile.
async fn spent(platform: &Platform, time: Duration) -> Result<f64> {
    let (before, began) = (platform.times()?, Instant::now());
    tokio::time::sleep(time).await;
    let spent = platform.times()?.since(before).of_asking();
    Ok(spent.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Signs in; answers the cookies that say so.
async fn enter(platform: &Platform) -> Result<String> {
    let password = platform.add_operator(OPERATOR).await?;
    let url = format!("http://{}/console/sign-in", platform.api_address());
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().max_redirects(0).build().into();
        let mut door = agent.get(&url).call()?;
        let (cookie, page) = (cookies(&door), door.body_mut().read_to_string()?);
        let key = page.split_once("name=\"key\" value=\"").context("the door has no key")?.1;
        let key = key.split('"').next().unwrap_or_default().replace("&#x2f;", "/");
        let form = [("name", OPERATOR), ("password", &password), ("key", &key)];
        let answer = agent.post(&url).header("Cookie", &cookie).send_form(form)?;
        ensure!(answer.status() == 303, "the door stays shut: {}", answer.status());
        Ok(cookies(&answer))
    })
    .await?
}

fn cookies(answer: &ureq::http::Response<ureq::Body>) -> String {
    let set = answer.headers().get_all("set-cookie").into_iter().flat_map(|value| value.to_str());
    let pairs: Vec<&str> = set.filter_map(|text| text.split(';').next()).collect();
    pairs.join("; ")
}

async fn cost(platform: &Platform, page: &str, cookie: &str) -> Result<PageCost> {
    let url = format!("http://{}/console{page}", platform.api_address());
    let cookie = cookie.to_owned();
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().max_redirects(0).build().into();
        let (mut octets, mut times) = (0, Vec::with_capacity(ASKED));
        for _ in 0..ASKED {
            let began = Instant::now();
            let mut answer = agent.get(&url).header("Cookie", &cookie).call()?;
            octets = answer.body_mut().read_to_vec()?.len() as u64;
            times.push(began.elapsed());
            ensure!(answer.status() == 200, "{url}: {}", answer.status());
        }
        times.sort_unstable();
        Ok(PageCost { octets, ms: (times[ASKED / 2].as_secs_f64() * 10_000.0).round() / 10.0 })
    })
    .await?
}

/// Reads the live parts of a page until nobody waits for it any more.
async fn watch(address: String, page: &str, cookie: String, sent: Arc<AtomicU64>) -> Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!(
        "GET /console/live{page} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut piece = vec![0; 64 * 1024];
    let mut first = stream.read(&mut piece).await?;
    let words = String::from_utf8_lossy(&piece[..first.min(12)]).into_owned();
    ensure!(words == "HTTP/1.1 200", "/console/live{page}: {words}");
    while first > 0 {
        sent.fetch_add(first as u64, Ordering::Relaxed);
        first = stream.read(&mut piece).await?;
    }
    anyhow::bail!("/console/live{page} hung up")
}
