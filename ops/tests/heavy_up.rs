//! `malleposte up` as somebody meets it who has just installed it: the first start, the
//! second, the end, a mistake in the configuration, and faults under load.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use loadtests::client::Client;
use loadtests::internet::End;
use loadtests::{Generator, Internet};
use mail::CampaignId;
use ops::demo::SENDER;
use rustix::process::Signal;
use serde_json::Value;
use store::Store;

use crate::support::{self, Process, UP_WITHIN, await_share, free_port, until};

const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A dead relay's recipients must be others' within this.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// `malleposte` in a folder, without the variables of whoever runs the tests.
fn malleposte(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleposte"));
    command.current_dir(dir).env_remove("RUST_LOG").env("MALLEPOSTE_METRICS__LISTEN", "off");
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// `malleposte up`, ready, and where its API is.
fn up(dir: &Path) -> (Process, String) {
    let api = free_port();
    let mut command = malleposte(dir);
    command.arg("up").env("MALLEPOSTE_API__LISTEN", &api);
    command.env("MALLEPOSTE_BOUNCES__LISTEN", free_port());
    let mut up = Process::start(dir.join("up.log"), command);
    up.await_api(&api);
    (up, api)
}

/// The key of the administrator; the line that holds it comes after the API's address.
fn shown_key(up: &Process) -> String {
    until(UP_WITHIN, "a key is shown", || {
        let printed = up.printed();
        let line = printed.lines().take(5).find_map(|line| line.split_once("shown only now: "));
        line.map(|(_, key)| key.to_owned()).filter(|_| printed.ends_with('\n'))
    })
}

/// The Redis that runs on a data folder.
fn redis_of(data_dir: &Path) -> Vec<u32> {
    let socket = std::fs::canonicalize(data_dir).unwrap().join("redis/redis.sock");
    let names_it = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&*socket.to_string_lossy())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(names_it).collect()
}

#[test]
fn heavy_up_needs_no_configuration_and_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("malleposte-data");

    let (first, _) = up(dir.path());
    let key = shown_key(&first);
    assert!(key.starts_with("mp_") && key.len() > 20, "{key:?}");
    assert_eq!(redis_of(&data_dir).len(), 1);
    first.ends_within(ENDS_WITHIN);
    assert!(redis_of(&data_dir).is_empty(), "Redis goes last, and is waited for");

    let (second, api) = up(dir.path());
    let client = ureq::get(&format!("http://{api}/v1/campaigns"));
    let answer = client.header("Authorization", format!("Bearer {key}")).call().unwrap();
    assert_eq!(answer.status(), 200, "the key is good after a restart");
    let printed = second.ends_within(ENDS_WITHIN);
    assert!(!printed.contains("key"), "{printed}");

    up(dir.path()).0.kill();
    until(Duration::from_secs(2), "no Redis after kill -9", || {
        redis_of(&data_dir).is_empty().then_some(())
    });
    // The folder is free at once.
    up(dir.path()).0.ends_within(ENDS_WITHIN);
    let log = std::fs::read_to_string(dir.path().join("up.log")).unwrap();
    assert!(!log.contains(&key), "the key stands in no log");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_corrupt_configuration_is_refused_before_any_port_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap();
    // Were a port bound before, that would be what it complains of.
    let config = format!(
        "metrics.listen = '{port}'\n[api]\nlisten = '{port}'\n[bounces]\nlisten = '{port}'\n\
         [relay]\nunsetled_max = 4\n"
    );
    std::fs::write(dir.path().join("malleposte.toml"), config).unwrap();
    for command in ["up", "relay", "api", "bounces", "ledger"] {
        let mut command =
            malleposte(dir.path()).arg(command).env_remove("MALLEPOSTE_METRICS__LISTEN").output();
        let output = command.as_mut().unwrap();
        let (out, err) = text(output);
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
        for part in ["malleposte.toml", "relay.unsetled_max", "unsettled_max", "did you mean"] {
            assert!(err.contains(part), "{part:?} is missing: {err}");
        }
        assert!(!err.contains(&port.to_string()), "{err}");
    }
    assert!(!dir.path().join("malleposte-data").exists());
}

fn write_config(file: &Path, internet: &Internet, returns: &str, source: Ipv4Addr, name: &str) {
    let settings = support::settings(internet, returns, source, name);
    let own = "log.level = 'info'\napi.public_url = 'https://mail.malleposte.test'\n";
    // Other tests run beside this one, and are load of others; a tenth of the addresses is dead.
    let off = "[relay.load]\nenabled = false\n[api.gates]\nenabled = false\n";
    std::fs::write(file, format!("{own}{settings}{off}")).unwrap();
}

/// A command beside the running `up`; answers what it printed.
fn beside(dir: &Path, args: &[&str]) -> String {
    let output = malleposte(dir).args(args).output().unwrap();
    let (out, err) = text(&output);
    assert!(output.status.success(), "malleposte {}: {err}", args.join(" "));
    out
}

/// Makes a signing key with the command and publishes what it says is to be published.
fn prove_sender(dir: &Path, internet: &Internet) {
    let told = beside(dir, &["dkim", "add", SENDER]);
    let check = || malleposte(dir).args(["dkim", "check", SENDER]).status().unwrap().code();
    support::publish(&told, internet);
    assert_eq!(check(), Some(0), "dkim check finds what dkim add printed");
    assert!(beside(dir, &["dkim", "list"]).contains(SENDER));
    assert_eq!(beside(dir, &["dkim", "show", SENDER]), told);
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&beside(dir, args)).unwrap()
}

#[test]
fn heavy_up_outlives_redis_and_a_second_relay_under_load() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (dir, data_dir) = (dir.path(), dir.path().join("malleposte-data"));
    let internet = support::internet(&runtime);
    let returns = free_port();
    let config = dir.join("malleposte.toml");
    write_config(&config, &internet, &returns, Ipv4Addr::new(127, 0, 1, 1), "one");
    write_config(&dir.join("two.toml"), &internet, &returns, Ipv4Addr::new(127, 0, 1, 2), "two");
    internet.send_returns_to(returns.parse().unwrap());

    let api = free_port();
    let mut command = malleposte(dir);
    command.arg("up").env("MALLEPOSTE_API__LISTEN", &api);
    command.env("MALLEPOSTE_BOUNCES__CONNECTIONS_PER_CLIENT_MAX", "50");
    let mut up = Process::start(dir.join("up.log"), command);
    up.await_api(&api);
    prove_sender(dir, &internet);
    let key = beside(dir, &["key", "add", "a tool"]).trim().to_owned();
    let mut command = malleposte(dir);
    command.args(["relay", "--config", "two.toml"]);
    let two = Process::start(dir.join("two.log"), command);

    let store = runtime.block_on(Store::open(&store::Config {
        url: ops::redis_child::running(&data_dir).expect("up runs"),
        ..store::Config::default()
    }));
    let store = store.unwrap();
    let relay_two = until(UP_WITHIN, "two relays", || {
        let relays = runtime.block_on(store.relays()).unwrap();
        relays.into_iter().map(|(id, _)| id).find(|id| id.starts_with("two-"))
    });
    let recipients = Generator::new(5, 1500);
    let client = Client::new(format!("http://{api}"), key);
    let campaign = runtime.block_on(client.submit(SENDER, &recipients, 10_000)).unwrap();
    let campaign = campaign.parse().unwrap();
    let wait = |share: f64| await_share(&runtime, &store, campaign, share);

    wait(0.15);
    let redis = redis_of(&data_dir);
    support::signal(redis[0], Signal::KILL);
    let back = until(Duration::from_secs(5), "Redis is back", || {
        let now = redis_of(&data_dir);
        (now.len() == 1 && now != redis).then_some(now)
    });
    assert_eq!(back.len(), 1);
    wait(0.4);
    two.kill();
    let killed = Instant::now();
    until(TAKEOVER_MAX, "the killed relay's recipients are the other's", || {
        runtime.block_on(store.leases_of(&relay_two)).ok()?.is_empty().then_some(())
    });
    eprintln!("taken over within {:.1} s", killed.elapsed().as_secs_f64());
    wait(1.0);

    let told = up.told();
    for part in ["private Redis was killed", "starting it again", "private Redis is back"] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    check_stories(dir, campaign, &recipients, &internet);
    up.ends_within(ENDS_WITHIN);
    runtime.block_on(internet.stop());
}

/// What the commands tell of the campaign, for people and for machines.
fn check_stories(dir: &Path, campaign: CampaignId, recipients: &Generator, internet: &Internet) {
    let id = campaign.to_string();
    let shown = json(dir, &["queue", "show", &id, "--json"]);
    assert_eq!(shown["accounts"]["accepted"], 1500, "{shown}");
    for zero in [&shown["accounts"]["waiting"], &shown["imbalance"], &shown["waiting_by_state"]] {
        assert_eq!(*zero, 0, "{shown}");
    }
    assert!(beside(dir, &["queue"]).contains(&id));
    assert!(beside(dir, &["queue", "show", &id]).contains("accepted 1500 = "));
    assert!(beside(dir, &["queue", "relays"]).contains("one-"));
    let failed = recipients.iter().find(|r| {
        let end = internet.meant(&r.address).end;
        end == End::Failed(mail::Category::NoMailbox)
    });
    let address = failed.expect("somebody is unknown").address;
    let story = until(Duration::from_secs(10), "the ledger has caught up", || {
        let story = json(dir, &["trace", &address, "--json"]);
        story.to_string().contains("no-mailbox").then_some(story)
    });
    let last = story["chapters"][0]["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["event"]["kind"], &last["event"]["reply"]["code"]),
        (&"failed".into(), &550.into())
    );
    let english = beside(dir, &["trace", &address]);
    let french = beside(dir, &["trace", &address, "--lang", "fr"]);
    assert!(english.contains(&address) && french.contains(&address) && english != french);
    eprintln!("{english}\n{french}");
}
