//! A campaign with an image and an attachment, from HTTP to a mail server: what arrives, and what
//! a large attachment costs a relay that sends it over many connections at the same time.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use loadtests::{Internet, Listen, Scenario, noise};
use mail_parser::{MessageParser, MimeHeaders};
use ops::demo::SENDER;
use ops::redis_child::RedisChild;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::{Process, command, free_port, output, prove_sender, settings, until};

/// Servers that look at everything, take large messages, and think before they answer: so many
/// messages are under way at the same time.
const PROVIDER: &str = r#"
name = "files"
record = "identity"
message_octets_max = 62914560

[strict]
lines = true
dkim = true
bulk = true

[manner.slow]
tls = "none"
delays = { dot_ms = 4000 }

[[provider]]
name = "slow"
domains = ["slow.pretend.example"]
mx = [{ host = "mx.slow.pretend.test", address = "127.0.0.11" }]
manner = "slow"
tail = true
"#;

const CONNECTIONS: usize = 20;
const ATTACHMENT_OCTETS: usize = 30 << 20;
/// The attachment encoded (41 MiB), what its pieces take on their way in, and what a relay takes
/// that sends none; not 20 times 41.
const RELAY_PEAK_MIB: u64 = 110;

struct Platform {
    runtime: Runtime,
    internet: Internet,
    api: String,
    key: String,
    relay: Process,
    _others: [Process; 2],
    dir: tempfile::TempDir,
}

impl Platform {
    fn start() -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_malleposte"));
        let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let scenario = Scenario::parse(PROVIDER).unwrap();
        let internet = runtime.block_on(Internet::start(scenario, Listen::default())).unwrap();
        let (own, folder) = (ops::redis_child::Config::default(), dir.path().join("redis"));
        let redis = runtime.block_on(RedisChild::start(&own, &folder)).unwrap();
        let url = redis.url();
        runtime.spawn(redis.supervise(CancellationToken::new()));
        let api = free_port();
        let config = Self::config(dir.path(), &internet, &url, &api);
        let start = |service: &str| {
            let log = dir.path().join(format!("{service}.log"));
            Process::start(log, command(program, &config, &[service]))
        };
        let (ledger, mut at_api) = (start("ledger"), start("api"));
        at_api.await_api(&api);
        prove_sender(program, &config, &internet);
        let key = output(program, &config, &["key", "add", "a tool"]).trim().to_owned();
        let relay = start("relay");
        Self { runtime, internet, api, key, relay, _others: [ledger, at_api], dir }
    }

    fn config(dir: &Path, internet: &Internet, redis: &str, api: &str) -> PathBuf {
        let key = dir.join("platform.key");
        std::fs::write(&key, format!("a:{}\n", "7".repeat(64))).unwrap();
        let text = format!(
            "data_dir = '{}'\nstore.url = '{redis}'\nsecrets.platform_file = '{}'\n\
             api.listen = '{api}'\napi.attachments_bytes_max = 52428800\n\
             api.public_url = 'https://mail.malleposte.test'\n{}\
             rate_start = 1000.0\nrate_max = 1000.0\n\
             connections_start = {CONNECTIONS}\nconnections_max = {CONNECTIONS}\n",
            dir.join("data").display(),
            key.display(),
            settings(internet, &free_port(), Ipv4Addr::new(127, 0, 1, 7), "relay"),
        );
        let file = dir.join("malleposte.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Value {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/v1/campaigns{path}", self.api))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", kind)
            .body(body)
            .unwrap();
        let mut answer = agent.run(request).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A campaign with these files and recipients; started.
    fn submit(&self, files: &[(&str, &str, &[u8])], recipients: usize) -> String {
        let definition = json!({
            "name": "Files", "subject": "Hello", "from": { "address": format!("news@{SENDER}") },
            "text": ".Hello\n", "html": "<p>Hello</p><img src=\"cid:logo@news\">",
        });
        let made = self.ask("POST", "", "application/json", definition.to_string().into_bytes());
        let id = made["id"].as_str().unwrap().to_owned();
        for (name, kind, octets) in files {
            self.ask("PUT", &format!("/{id}/attachments/{name}"), kind, octets.to_vec());
        }
        let lines: String = (0..recipients)
            .map(|n| format!("{{\"email\":\"r{n}@slow.pretend.example\"}}\n"))
            .collect();
        let path = format!("/{id}/recipients");
        self.ask("POST", &path, "application/x-ndjson", lines.into_bytes());
        self.ask("POST", &format!("{path}/close"), "application/json", vec![]);
        self.ask("POST", &format!("/{id}/start"), "application/json", vec![]);
        id
    }

    fn await_delivered(&self, id: &str, count: usize) {
        until(Duration::from_secs(120), "all are delivered", || {
            let view = self.ask("GET", &format!("/{id}"), "application/json", vec![]);
            assert_eq!(view["progress"]["failed"], 0, "{view}");
            (view["progress"]["delivered"] == count).then_some(())
        });
    }

    fn stop(self) {
        assert!(
            self.internet.book().violations().is_empty(),
            "{:?}",
            self.internet.book().violations()
        );
        self.relay.terminate();
        let log = std::fs::read_to_string(self.dir.path().join("relay.log")).unwrap();
        assert!(!log.contains("ERROR"), "{log}");
        self.runtime.block_on(self.internet.stop());
    }
}

#[test]
fn heavy_an_image_and_an_attachment_arrive_octet_for_octet() {
    let platform = Platform::start();
    platform.internet.keep_messages(3);
    let (logo, prices) = (noise(4_000), b"month;price\r\n.May;1\r\n\r\n".repeat(5_000));
    let files = [
        ("logo.png?inline=logo%40news", "image/png", logo.as_slice()),
        ("Preise%20M%C3%A4rz.csv", "application/csv", prices.as_slice()),
    ];
    let id = platform.submit(&files, 3);
    platform.await_delivered(&id, 3);
    let kept = platform.internet.take_kept();
    assert_eq!(kept.len(), 3);
    for kept in kept {
        let lines = kept.wire.split_inclusive(|b| *b == b'\n');
        let mail: Vec<u8> =
            lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
        let parsed = MessageParser::default().parse(&mail).unwrap();
        assert_eq!(parsed.body_text(0).unwrap().trim_end(), ".Hello");
        assert!(parsed.body_html(0).unwrap().contains("cid:logo@news"));
        let found = parsed.parts.iter().filter(|part| part.content_disposition().is_some());
        let found: Vec<_> =
            found.map(|p| (p.attachment_name().unwrap(), p.content_id(), p.contents())).collect();
        let sent = [
            ("logo.png", Some("logo@news"), logo.as_slice()),
            ("Preise März.csv", None, prices.as_slice()),
        ];
        assert_eq!(found, sent);
    }
    platform.stop();
}

#[test]
fn heavy_a_large_attachment_is_in_a_relay_once_however_many_connections_send_it() {
    let platform = Platform::start();
    let film = noise(ATTACHMENT_OCTETS);
    let files = [
        ("logo.png?inline=logo%40news", "image/png", &film[..4_000]),
        ("film.mp4", "video/mp4", film.as_slice()),
    ];
    let before = platform.relay.peak_mib();
    let began = Instant::now();
    let id = platform.submit(&files, CONNECTIONS);
    platform.await_delivered(&id, CONNECTIONS);
    let (took, peak) = (began.elapsed(), platform.relay.peak_mib());
    println!(
        "{CONNECTIONS} messages of 41 MiB in {took:?}; relay: {before} MiB before, {peak} MiB at most"
    );
    let connections: u64 =
        platform.internet.book().summary().providers.values().map(|live| live.connections).sum();
    assert_eq!(connections, CONNECTIONS as u64, "all at the same time");
    assert!(peak < RELAY_PEAK_MIB, "{peak} MiB");
    platform.stop();
}
