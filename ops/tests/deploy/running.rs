//! A campaign through the platform of docker-compose.yml, in namespaces, while one relay's
//! cable is pulled and the primary of Redis is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use loadtests::client::Client;
use loadtests::{Generator, Internet, Listen, Scenario};
use mail::CampaignId;
use ops::demo::SENDER;
use serde_json::Value;
use store::Store;

use crate::deploy::topology::{GATEWAY, Topology};
use crate::others::is_here;
use crate::support::{assert_delivered, await_share, until};

const RECIPIENTS: u64 = 1500;
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// What a trial needs beside compose: mail exchangers in private addresses, and no patience.
fn trial() -> BTreeMap<String, String> {
    let settings = [
        ("RELAY__ALLOW_PRIVATE", "true"),
        ("RELAY__RETRY__FIRST_S", "2"),
        ("RELAY__RETRY__MAX_S", "8"),
        ("RELAY__RETRY__LIFETIME_S", "300"),
        ("RELAY__RETRY__GREYLIST_S", "3"),
        ("RELAY__RETRY__BUSY_MAILBOX_S", "4"),
        ("RELAY__PACE__HOLD_S", "5"),
        ("RELAY__PACE__HOLD_MAX_S", "20"),
        ("RELAY__PACE__PROBES_PER_MINUTE", "60.0"),
        // Other tests run beside it, and are load of others.
        ("RELAY__LOAD__ENABLED", "false"),
        // A tenth of the addresses is dead.
        ("API__GATES__ENABLED", "false"),
        ("DNS__TIMEOUT_MS", "1000"),
        ("DNS__FAILURE_TTL_S", "2"),
    ];
    settings.into_iter().map(|(k, v)| (format!("MALLEPOSTE_{k}"), v.to_owned())).collect()
}

fn json(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn heavy_the_platform_of_compose_loses_nobody_when_a_relay_and_the_primary_go() {
    if !is_here(rustix::process::geteuid().is_root(), "root, who alone makes network namespaces") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut platform = Topology::new(trial());
    let dns: SocketAddr = format!("{GATEWAY}:53").parse().unwrap();
    let listen = Listen { dns, smtp_port: 25 };
    let scenario = Scenario::named("chaos").unwrap();
    let internet = runtime.block_on(Internet::start(scenario, listen)).unwrap();
    // An engine's DNS knows the services.
    for service in platform.services() {
        internet.zone().add_a(&service.name, service.address.parse().unwrap());
    }
    platform.start();
    let door = platform.address("haproxy").to_owned();
    internet.send_returns_to(format!("{door}:2525").parse().unwrap());
    publish_sender(&platform, &internet);
    let key = platform.exec("api-1", &["key", "add", "a tool"]);
    let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();

    let recipients = Generator::new(31, RECIPIENTS);
    let client = Client::new(format!("http://{door}:8025"), key.clone());
    let campaign = runtime.block_on(client.submit(SENDER, &recipients, 4_000)).unwrap();
    let campaign: CampaignId = campaign.parse().unwrap();
    let store = store_at(&runtime, &platform, "redis-1");
    await_share(&runtime, &store, campaign, 0.2);

    let bound = gauge(platform.address("relay-1"), "malleposte_relay_unsettled_max");
    platform.cut_off("relay-1");
    let relays = runtime.block_on(store.relays()).unwrap();
    let cut = relays.into_iter().map(|(id, _)| id).find(|id| id.starts_with("relay-1")).unwrap();
    until(TAKEOVER_MAX, "what relay-1 held is relay-2's", || {
        runtime.block_on(store.leases_of(&cut)).ok()?.is_empty().then_some(())
    });
    platform.kill("relay-1");
    await_share(&runtime, &store, campaign, 0.5);
    let store = fail_over(&runtime, &mut platform);
    await_share(&runtime, &store, campaign, 1.0);

    assert_books(&platform, campaign);
    for api in ["api-1", "api-2"] {
        assert_told_by(&platform, api, &key, campaign);
    }
    // As docs/OPERATIONS.md has it, with one server of three dead.
    let copied = json(&platform.exec("ledger", &["backup", "/var/lib/malleposte", "--json"]));
    assert_eq!((&copied["shards"], &copied["months"]), (&16.into(), &1.into()), "{copied}");
    assert_delivered(&internet, &recipients, 1..=2);
    let unanswered = gauge(platform.address("relay-2"), "malleposte_relay_unanswered_total");
    let twice = internet.book().duplicates().len() as f64;
    assert!(twice <= bound + unanswered, "{twice} copies, {bound} + {unanswered} allowed");
    // Mail came back through HAProxy's other door.
    until(Duration::from_secs(20), "reports have come back", || {
        (gauge(platform.address("bounces"), "malleposte_bounces_received_total") > 0.0)
            .then_some(())
    });
    for name in ["relay-2", "api-1", "api-2", "bounces", "ledger"] {
        platform.stop(name);
    }
    runtime.block_on(internet.stop());
}

/// Accounts at their end, as an operator asks for them where the history is.
fn assert_books(platform: &Topology, campaign: CampaignId) {
    let id = campaign.to_string();
    let shown = until(Duration::from_secs(20), "history has read everything", || {
        let shown = json(&platform.exec("ledger", &["queue", "show", &id, "--json"]));
        (shown["imbalance"] == 0).then_some(shown)
    });
    assert_eq!(shown["accounts"]["accepted"], RECIPIENTS, "{shown}");
    for zero in [&shown["accounts"]["waiting"], &shown["waiting_by_state"]] {
        assert_eq!(*zero, 0, "{shown}");
    }
}

/// An API that runs on another machine than the ledger, and has its files.
fn assert_told_by(platform: &Topology, api: &str, key: &str, campaign: CampaignId) {
    let host = platform.address(api);
    let url = format!("http://{host}:8025/v1/stats?campaign={campaign}&since=1d");
    let told = ureq::get(&url).header("Authorization", format!("Bearer {key}")).call().unwrap();
    let told: Value = serde_json::from_str(&told.into_body().read_to_string().unwrap()).unwrap();
    assert_eq!(told["total"]["accepted"], RECIPIENTS, "{api}: {told}");
}

fn publish_sender(platform: &Topology, internet: &Internet) {
    let told = platform.exec("api-1", &["dkim", "add", SENDER]);
    let told = String::from_utf8(told.stdout).unwrap();
    let (name, value) =
        told.lines().find_map(|line| line.split_once(". TXT ")).expect("a record is printed");
    let record: String =
        value.split('"').enumerate().filter(|(i, _)| i % 2 == 1).map(|(_, part)| part).collect();
    internet.zone().add_txt(name, &record);
}

/// A store at one server, once that takes something: a primary that has just been made one
/// waits for a replica.
fn store_at(runtime: &tokio::runtime::Runtime, platform: &Topology, redis: &str) -> Store {
    let password = std::fs::read_to_string(platform.secret("redis.password")).unwrap();
    let url = format!("redis://{}:6379", platform.address(redis));
    let settings = store::Config { url, password, ..Default::default() };
    until(Duration::from_secs(30), "the primary takes something", || {
        match runtime.block_on(Store::open(&settings)) {
            Ok(store) => Some(store),
            Err(e) if e.is_passing() => None,
            Err(e) => panic!("{redis}: {e}"),
        }
    })
}

/// Kills the primary; answers a store at the one that Sentinel has put in its place.
fn fail_over(runtime: &tokio::runtime::Runtime, platform: &mut Topology) -> Store {
    platform.kill("redis-1");
    let sentinel = platform.address("sentinel-1").to_owned();
    let redis = until(Duration::from_secs(60), "another primary", || {
        let words =
            ["-h", &sentinel, "-p", "26379", "sentinel", "get-master-addr-by-name", "malleposte"];
        let asked = std::process::Command::new("redis-cli").args(words).output().ok()?;
        let told = String::from_utf8_lossy(&asked.stdout).into_owned();
        let now = told.lines().next()?;
        ["redis-2", "redis-3"].into_iter().find(|name| platform.address(name) == now)
    });
    store_at(runtime, platform, redis)
}

/// A number of a page of metrics, summed over its labels.
fn gauge(host: &str, name: &str) -> f64 {
    let page = ureq::get(&format!("http://{host}:9464/metrics")).call().unwrap();
    let page = page.into_body().read_to_string().unwrap();
    let lines = page.lines().filter(|l| l.split(['{', ' ']).next() == Some(name));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
