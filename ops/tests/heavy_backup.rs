//! A backup made while a campaign is sent, and what a restored platform makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::{Ledger, TraceFilter};
use loadtests::client::Client;
use loadtests::{Audit, Books, Generator, Internet};
use mail::CampaignId;
use mail::event::EventKind;
use mail::queue::Counters;
use ops::demo::SENDER;
use serde_json::Value;
use store::{CampaignStatus, Store};

use crate::support::{
    self, Process, assert_accounts, assert_delivered, await_share, command, counters, free_port,
    output, prove_sender, settings, until,
};

const RECIPIENTS: u64 = 1500;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_malleposte"))
}

/// A platform of its own in a folder, on the same internet.
fn configure(dir: &Path, internet: &Internet, last: u8) -> (PathBuf, String, String) {
    std::fs::create_dir_all(dir).unwrap();
    let (api, returns, file) = (free_port(), free_port(), dir.join("malleposte.toml"));
    let own = format!("data_dir = '{}'\napi.listen = '{api}'\n", dir.join("data").display());
    let source = Ipv4Addr::new(127, 0, 1, last);
    std::fs::write(&file, own + &settings(internet, &returns, source, "one")).unwrap();
    (file, api, returns)
}

fn up(config: &Path, api: &str) -> Process {
    let mut up = Process::start(config.with_extension("log"), command(program(), config, &["up"]));
    up.await_api(api);
    up
}

/// The refusal of a restore, which must be one.
fn refusal(config: &Path, backup: &Path) -> String {
    let words = ["restore", backup.to_str().unwrap()];
    let output = command(program(), config, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn heavy_a_backup_made_while_sending_loses_nobody_when_it_is_restored_elsewhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let internet = support::internet(&runtime);
    let (here, api, returns) = configure(&dir.join("here"), &internet, 1);
    internet.send_returns_to(returns.parse().unwrap());
    let first = up(&here, &api);
    prove_sender(program(), &here, &internet);
    let key = output(program(), &here, &["key", "add", "a tool"]).trim().to_owned();
    let open = |data: &Path| {
        let url = ops::redis_child::running(data).expect("up runs");
        let settings = store::Config { url, ..store::Config::default() };
        runtime.block_on(Store::open(&settings)).unwrap()
    };
    let store = open(&dir.join("here/data"));
    let recipients = Generator::new(21, RECIPIENTS);
    let client = Client::new(format!("http://{api}"), key.clone());
    let id = runtime.block_on(client.submit(SENDER, &recipients, 4_000)).unwrap();
    let campaign: CampaignId = id.parse().unwrap();
    await_share(&runtime, &store, campaign, 0.2);

    let backups = dir.join("backups");
    std::fs::create_dir(&backups).unwrap();
    let words = ["backup", backups.to_str().unwrap(), "--with-secrets", "--json"];
    let begun = Instant::now();
    let told: Value = serde_json::from_str(&output(program(), &here, &words)).unwrap();
    println!("backup of {RECIPIENTS} recipients in {:.1?}: {told}", begun.elapsed());
    assert_eq!((&told["shards"], &told["months"]), (&16.into(), &1.into()), "{told}");
    let backup = PathBuf::from(told["file"].as_str().unwrap());
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let waited = counters(&runtime, &store, campaign).unwrap().waiting;
    assert!(waited > 0, "the copy was made while sending");
    await_share(&runtime, &store, campaign, 1.0 - waited as f64 / RECIPIENTS as f64 + 0.05);
    first.kill();
    let copies_at_the_end = copies(&internet);

    // Elsewhere, under other ports; nothing of the first machine is left.
    let (there, api, returns) = configure(&dir.join("there"), &internet, 2);
    internet.send_returns_to(returns.parse().unwrap());
    let cut = dir.join("cut.mpb");
    let bytes = std::fs::read(&backup).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let said = refusal(&there, &cut);
    assert!(said.contains(&format!("ends at octet {}", bytes.len() / 2)), "{said}");
    assert!(!dir.join("there/data/redis/appendonlydir").exists(), "nothing was begun");

    let begun = Instant::now();
    let told = output(program(), &there, &["restore", backups.to_str().unwrap()]);
    println!("restored in {:.1?}: {told}", begun.elapsed());
    assert!(!told.contains("DISAGREE") && !told.contains("could not be compared"), "{told}");
    for part in ["sent again", &format!("{id} is paused")] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    let said = refusal(&there, &backup);
    assert!(said.contains("holds a history"), "{said}");
    std::fs::rename(dir.join("there/data/ledger"), dir.join("aside")).unwrap();
    let said = refusal(&there, &backup);
    assert!(said.contains("is not empty"), "{said}");
    std::fs::remove_dir_all(dir.join("there/data/ledger")).unwrap();
    std::fs::rename(dir.join("aside"), dir.join("there/data/ledger")).unwrap();

    let second = up(&there, &api);
    let store = open(&dir.join("there/data"));
    let status = runtime.block_on(store.campaign_status(campaign)).unwrap();
    assert_eq!(status, Some(CampaignStatus::Paused));
    let folder = dir.join("there/data/ledger");
    let ledger = Ledger::open(&ledger::Config { folder, ..Default::default() }).unwrap();
    let at_rest = await_history(&runtime, &store, &ledger, campaign);
    // Reports of what was sent before still come back.
    let sent = || {
        let counters = counters(&runtime, &store, campaign).unwrap();
        Counters { returned: 0, complained: 0, ..counters }
    };
    let before = sent();
    assert!(before.waiting >= waited, "{before:?}: {waited} waited after the backup");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sent(), before, "paused");
    assert_eq!(copies(&internet), copies_at_the_end, "nothing was sent");
    let url = format!("http://{api}/v1/campaigns/{id}/resume");
    let asked = ureq::post(&url).header("Authorization", format!("Bearer {key}")).send_empty();
    assert_eq!(asked.unwrap().status(), 200, "the key came along");
    await_share(&runtime, &store, campaign, 1.0);
    assert_accounts(&runtime, &store, &ledger, &[(campaign, RECIPIENTS)]);
    let books = Books { store: &store, ledger: &ledger, internet: &internet };
    let of = [(campaign, recipients.clone())];
    let audit = runtime.block_on(Audit::make(books, &of)).unwrap();
    assert_eq!(audit.lost, 0, "{}", audit.samples.join("\n"));
    // Once, or twice for what was sent between the backup and the end of the first machine:
    // nobody who was at rest in the backup has one copy more. Copies that no relay was told of come
    // on top: the pretend internet hangs up after some final dots.
    assert_delivered(&internet, &recipients, 1..=u16::MAX);
    internet.book().for_each(|entry| {
        let (address, told) = (&entry.address, entry.accepted);
        assert!(told <= 2, "{address}: {told} copies that relays were told of");
    });
    let copies_now = copies(&internet);
    for address in &at_rest {
        assert_eq!(copies_now.get(address), copies_at_the_end.get(address), "{address}");
    }
    let twice = copies_now.values().filter(|n| **n > 1).count() as u64;
    println!("{} waited in the backup; {twice} have two copies", before.waiting);
    assert!(twice <= before.waiting, "{twice} copies, {before:?} at the backup");
    second.terminate();
    runtime.block_on(internet.stop());
}

/// Copies in each mailbox.
fn copies(internet: &Internet) -> BTreeMap<String, u16> {
    let mut copies = BTreeMap::new();
    internet.book().for_each(|entry| {
        if entry.taken > 0 {
            copies.insert(entry.address.to_lowercase(), entry.taken);
        }
    });
    copies
}

/// Whoever is delivered by the restored history, once it has read what lay in the outbox.
fn await_history(
    runtime: &tokio::runtime::Runtime,
    store: &Store,
    ledger: &Ledger,
    campaign: CampaignId,
) -> BTreeSet<String> {
    until(Duration::from_secs(20), "history reads the outbox", || {
        let mut left = 0;
        for shard in store.all_shards() {
            left += runtime.block_on(store.outbox_len(shard)).unwrap();
        }
        (left == 0).then_some(())
    });
    let filter = TraceFilter {
        campaign: Some(campaign),
        kind: Some(EventKind::Delivered),
        ..TraceFilter::default()
    };
    let (mut at_rest, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = ledger.trace(&filter, 1000, cursor).unwrap();
        at_rest.extend(page.entries.into_iter().map(|entry| entry.event.recipient));
        cursor = page.next;
        if cursor.is_none() {
            assert!(at_rest.len() > 100, "{} were delivered before the backup", at_rest.len());
            return at_rest;
        }
    }
}
