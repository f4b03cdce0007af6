//! A rolling upgrade: services of the version before and of this one at work on one queue,
//! a campaign in flight, records of both in it, and nobody notices.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ledger::Ledger;
use loadtests::Generator;
use loadtests::client::Client;
use ops::demo::SENDER;
use ops::redis_child::RedisChild;
use store::Store;
use support::{
    Process, UP_WITHIN, assert_accounts, assert_delivered, await_share, command, counters,
    free_port, output, prove_sender, settings, until,
};
use tokio_util::sync::CancellationToken;

/// The executable that ops/version-before.sh has built.
fn version_before() -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_malleposte"));
    let target = ours.parent().and_then(Path::parent).unwrap();
    let before = target.join("version-before/malleposte");
    assert!(before.exists(), "{before:?} is not there: ops/version-before.sh builds it");
    assert_ne!(std::fs::read(&before).unwrap(), std::fs::read(ours).unwrap(), "it is ours");
    before
}

#[test]
fn heavy_services_of_two_versions_share_a_queue_and_are_replaced_one_by_one() {
    let (before, ours) = (version_before(), PathBuf::from(env!("CARGO_BIN_EXE_malleposte")));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let internet = support::internet(&runtime);
    let stop = CancellationToken::new();
    let redis = runtime.block_on(RedisChild::start(&Default::default(), &dir.join("redis")));
    let redis = redis.unwrap();
    let url = redis.url();
    let redis = runtime.spawn(redis.supervise(stop.clone()));
    let (returns, api) = (free_port(), free_port());
    let key = dir.join("platform.key");
    std::fs::write(&key, format!("a:{}\n", "7".repeat(64))).unwrap();
    let config = |name: &str, last: u8| {
        let shared = format!(
            "data_dir = '{}'\nstore.url = '{url}'\nsecrets.platform_file = '{}'\napi.listen = '{api}'\n",
            dir.join("data").display(),
            key.display()
        );
        let file = dir.join(format!("{name}.toml"));
        let source = Ipv4Addr::new(127, 0, 1, last);
        std::fs::write(&file, shared + &settings(&internet, &returns, source, name)).unwrap();
        file
    };
    let (old, new) = (config("old", 1), config("new", 2));
    let start = |program: &Path, config: &Path, service: &str| {
        let log = dir.join(format!("{}-{service}.log", config.file_stem().unwrap().display()));
        Process::start(log, command(program, config, &[service]))
    };

    // The version before, at work.
    let old_ledger = start(&before, &old, "ledger");
    let mut old_api = start(&before, &old, "api");
    old_api.await_api(&api);
    let old_bounces = start(&before, &old, "bounces");
    let old_relay = start(&before, &old, "relay");
    internet.send_returns_to(returns.parse().unwrap());
    prove_sender(&before, &old, &internet);
    let key = output(&before, &old, &["key", "add", "a tool"]).trim().to_owned();
    let client = Client::new(format!("http://{api}"), key);
    let first = Generator::new(11, 2000);
    let of_before = runtime.block_on(client.submit(SENDER, &first, 4_000)).unwrap();
    let of_before = of_before.parse().unwrap();
    let settings = store::Config { url, ..store::Config::default() };
    let store = runtime.block_on(Store::open(&settings)).unwrap();
    await_share(&runtime, &store, of_before, 0.1);

    // A relay of ours joins; ledger, bounce processor and API make room for ours.
    let new_relay = start(&ours, &new, "relay");
    until(UP_WITHIN, "relays of both versions", || {
        let relays = runtime.block_on(store.relays()).unwrap();
        let named = |name: &str| relays.iter().any(|(id, _)| id.starts_with(name));
        (named("old-") && named("new-")).then_some(())
    });
    old_ledger.terminate();
    let new_ledger = start(&ours, &new, "ledger");
    old_bounces.terminate();
    let new_bounces = start(&ours, &new, "bounces");
    old_api.terminate();
    let mut new_api = start(&ours, &new, "api");
    new_api.await_api(&api);

    // A campaign of ours beside the one of before, and both relays at work.
    let second = Generator::new(12, 2000);
    let of_ours = runtime.block_on(client.submit(SENDER, &second, 4_000)).unwrap();
    let of_ours = of_ours.parse().unwrap();
    await_share(&runtime, &store, of_ours, 0.1);
    let waiting = counters(&runtime, &store, of_before).unwrap().waiting
        + counters(&runtime, &store, of_ours).unwrap().waiting;
    assert!(waiting > 500, "the old relay is drained while it has work: {waiting} wait");
    old_relay.terminate();
    await_share(&runtime, &store, of_before, 1.0);
    await_share(&runtime, &store, of_ours, 1.0);

    let folder = dir.join("data/ledger");
    let ledger = Ledger::open(&ledger::Config { folder, ..Default::default() }).unwrap();
    assert_accounts(&runtime, &store, &ledger, &[(of_before, 2000), (of_ours, 2000)]);
    assert_delivered(&internet, &first, 1..=1);
    assert_delivered(&internet, &second, 1..=1);
    for process in [new_relay, new_api, new_bounces, new_ledger] {
        process.terminate();
    }
    for name in ["old-relay", "new-relay", "new-ledger", "new-api", "new-bounces"] {
        let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap();
        assert!(!log.contains("ERROR"), "{name}: {log}");
    }
    stop.cancel();
    runtime.block_on(redis).unwrap().unwrap();
    runtime.block_on(internet.stop());
}
