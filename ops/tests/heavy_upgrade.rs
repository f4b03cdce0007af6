//! A rolling upgrade: services of the version before and of this one at work on one queue,
//! with records of both in it, and nobody notices.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::{Ledger, TraceFilter};
use loadtests::client::{Client, Schedule};
use loadtests::{Audit, Books, Generator, Internet};
use mail::CampaignId;
use mail::event::EventKind;
use ops::demo::SENDER;
use ops::redis_child::RedisChild;
use store::Store;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::{
    self, Process, UP_WITHIN, assert_accounts, await_share, command, counters, free_port, output,
    prove_sender, settings, until,
};

/// The executable that ops/version-before.sh has built; none where the history that it is built
/// of is not at hand.
fn version_before() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_BIN_EXE_malleposte"));
    let target = ours.parent().and_then(Path::parent).unwrap();
    let before = target.join("version-before/malleposte");
    if !before.exists() {
        eprintln!(
            "NOT TESTED: {before:?} is not there; ops/version-before.sh builds it in a clone"
        );
        return None;
    }
    assert_ne!(std::fs::read(&before).unwrap(), std::fs::read(ours).unwrap(), "it is ours");
    Some(before)
}

/// The platform's folder, and what its services have in common.
struct Place<'t> {
    dir: &'t Path,
    internet: &'t Internet,
    url: &'t str,
    api: String,
    returns: String,
}

impl Place<'_> {
    /// A configuration; a relay of it is named so, and has an address of its own.
    fn config(&self, name: &str, last: u8) -> PathBuf {
        let key = self.dir.join("platform.key");
        std::fs::write(&key, format!("a:{}\n", "7".repeat(64))).unwrap();
        let shared = format!(
            "data_dir = '{}'\nstore.url = '{}'\nsecrets.platform_file = '{}'\n\
             api.listen = '{}'\n",
            self.dir.join("data").display(),
            self.url,
            key.display(),
            self.api
        );
        let file = self.dir.join(format!("{name}.toml"));
        let source = Ipv4Addr::new(127, 0, 1, last);
        let own = settings(self.internet, &self.returns, source, name);
        std::fs::write(&file, shared + &own).unwrap();
        file
    }

    fn start(&self, program: &Path, config: &Path, service: &str) -> Process {
        let log = self.dir.join(format!("{}-{service}.log", config.file_stem().unwrap().display()));
        let mut process = Process::start(log, command(program, config, &[service]));
        if service == "api" {
            process.await_api(&self.api);
        }
        process
    }
}

/// Deliveries of a campaign by the version whose relay made them.
fn by_relay(ledger: &Ledger, campaign: CampaignId) -> BTreeMap<String, u64> {
    let filter = TraceFilter {
        campaign: Some(campaign),
        kind: Some(EventKind::Delivered),
        ..TraceFilter::default()
    };
    let (mut sums, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = ledger.trace(&filter, 1000, cursor).unwrap();
        for entry in page.entries {
            let version = entry.event.service.split('-').next().unwrap().to_owned();
            *sums.entry(version).or_default() += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            return sums;
        }
    }
}

fn await_relays(runtime: &Runtime, store: &Store, names: &[&str]) {
    until(UP_WITHIN, "the relays are there", || {
        let relays = runtime.block_on(store.relays()).unwrap();
        let is_there = |name: &&str| relays.iter().any(|(id, _)| id.starts_with(*name));
        names.iter().all(is_there).then_some(())
    });
}

#[test]
fn heavy_services_of_two_versions_share_a_queue_and_are_replaced_one_by_one() {
    let begun = Instant::now();
    let Some(before) = version_before() else { return };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_malleposte"));
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let internet = support::internet(&runtime);
    let stop = CancellationToken::new();
    let (settings, folder) = (ops::redis_child::Config::default(), dir.path().join("redis"));
    let redis = runtime.block_on(RedisChild::start(&settings, &folder)).unwrap();
    let url = redis.url();
    let redis = runtime.spawn(redis.supervise(stop.clone()));
    let (returns, api) = (free_port(), free_port());
    let place = Place { dir: dir.path(), internet: &internet, url: &url, api, returns };
    let (old, new) = (place.config("old", 1), place.config("new", 2));
    let servers = store::Config { url: url.clone(), ..store::Config::default() };

    // The version before, at work.
    let old_ledger = place.start(&before, &old, "ledger");
    let old_bounces = place.start(&before, &old, "bounces");
    let old_api = place.start(&before, &old, "api");
    let old_relay = place.start(&before, &old, "relay");
    internet.send_returns_to(place.returns.parse().unwrap());
    prove_sender(&before, &old, &internet);
    let key = output(&before, &old, &["key", "add", "a tool"]).trim().to_owned();
    let client = Client::new(format!("http://{}", place.api), key);
    let submit = |recipients: &Generator, schedule: Option<Schedule>| -> CampaignId {
        let submitted = client.submit_on(SENDER, recipients, 4_000, schedule);
        runtime.block_on(submitted).unwrap().parse().unwrap()
    };
    let first = Generator::new(11, 800);
    let of_before = submit(&first, None);
    let store = runtime.block_on(Store::open(&servers)).unwrap();
    await_share(&runtime, &store, of_before, 0.1);

    // Ledger, bounce processor and API make room for ours; the relay stays.
    old_ledger.terminate();
    let new_ledger = place.start(&ours, &new, "ledger");
    old_bounces.terminate();
    let new_bounces = place.start(&ours, &new, "bounces");
    old_api.terminate();
    let new_api = place.start(&ours, &new, "api");

    // Our API makes records that the old relay reads, and for a send window some that it does not.
    let second = Generator::new(12, 400);
    let plain = submit(&second, None);
    let third = Generator::new(13, 400);
    let always = Schedule {
        window: serde_json::json!({"from": "00:00", "until": "23:59", "timezone": "Europe/Paris"}),
        zones: &["Europe/Paris", "Asia/Kathmandu", "America/St_Johns"],
    };
    let windowed = submit(&third, Some(always));
    until(Duration::from_secs(30), "the old relay sends what our API took", || {
        (counters(&runtime, &store, plain)?.delivered > 50).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let n = counters(&runtime, &store, windowed).unwrap();
    assert_eq!((n.accepted, n.waiting), (400, 400), "left to a newer relay: {n:?}");

    // The API goes back, and a relay of ours joins: the other way round.
    new_api.terminate();
    let old_api = place.start(&before, &old, "api");
    let new_relay = place.start(&ours, &new, "relay");
    await_relays(&runtime, &store, &["old-", "new-"]);
    let fourth = Generator::new(14, 800);
    let of_both = submit(&fourth, None);
    await_share(&runtime, &store, of_both, 0.1);
    await_share(&runtime, &store, windowed, 0.1);
    old_api.terminate();
    let new_api = place.start(&ours, &new, "api");

    let campaigns = [(of_before, first), (plain, second), (windowed, third), (of_both, fourth)];
    let waiting = || -> u64 {
        let of =
            |(id, _): &(CampaignId, Generator)| counters(&runtime, &store, *id).unwrap().waiting;
        campaigns.iter().map(of).sum()
    };
    let drained = waiting();
    assert!(drained > 200, "the old relay is drained while it has work: {drained} wait");
    old_relay.terminate();
    for (id, _) in &campaigns {
        await_share(&runtime, &store, *id, 1.0);
    }

    let folder = dir.path().join("data/ledger");
    let ledger = Ledger::open(&ledger::Config { folder, ..Default::default() }).unwrap();
    let accepted: Vec<(CampaignId, u64)> = campaigns.iter().map(|(id, g)| (*id, g.len())).collect();
    assert_accounts(&runtime, &store, &ledger, &accepted);
    let books = Books { store: &store, ledger: &ledger, internet: &internet };
    let audit = runtime.block_on(Audit::make(books, &campaigns)).unwrap();
    let samples = audit.samples.join("\n");
    assert_eq!(audit.lost, 0, "{samples}");
    assert!(audit.duplicates <= audit.unanswered, "{} copies: {samples}", audit.duplicates);
    assert_eq!(audit.unstable, 0, "both make the same Message-ID and return path: {samples}");
    let shares = by_relay(&ledger, of_both);
    assert!(shares.len() == 2 && shares.values().all(|n| *n > 20), "both relays sent: {shares:?}");
    assert_eq!(by_relay(&ledger, windowed).into_keys().collect::<Vec<_>>(), ["new"]);
    println!(
        "{drained} waited when the old relay went; the last campaign by relay: {shares:?}; {:.1?}",
        begun.elapsed()
    );
    for process in [new_relay, new_api, new_bounces, new_ledger] {
        process.terminate();
    }
    for name in ["old-relay", "old-api", "new-relay", "new-ledger", "new-api", "new-bounces"] {
        let log = std::fs::read_to_string(dir.path().join(format!("{name}.log"))).unwrap();
        assert!(!log.contains("ERROR"), "{name}: {log}");
    }
    stop.cancel();
    runtime.block_on(redis).unwrap().unwrap();
    runtime.block_on(internet.stop());
}
