//! Everything in one process in front of a pretend internet, as its operator and its customer have it
//! before them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use loadtests::{Internet, Listen, Scenario};
use mail::{Event, ShardId};
use ops::demo::SENDER;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Process, command, free_port, publish, settings};

pub struct Desk {
    dir: TempDir,
    pub runtime: Runtime,
    pub internet: Internet,
    config: PathBuf,
    api: String,
    metrics: String,
    bounces: String,
    pub up: Process,
}

/// A customer of the API.
pub struct Customer {
    api: String,
    key: String,
}

impl Desk {
    /// `before` and `after` stand around the settings that all tests have; `after` is of the pace.
    pub fn start(scenario: &str, source: Ipv4Addr, before: &str, after: &str) -> Self {
        Self::start_within(&[], scenario, source, before, after)
    }

    /// The same with a program that makes a place for it and then becomes it.
    pub fn start_within(
        place: &[&str],
        scenario: &str,
        source: Ipv4Addr,
        before: &str,
        after: &str,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let scenario = Scenario::parse(scenario).unwrap();
        let internet = runtime.block_on(Internet::start(scenario, Listen::default())).unwrap();
        let config = dir.path().join("malleposte.toml");
        let own = "api.public_url = 'https://mail.malleposte.test'\n";
        let bounces = free_port();
        let settings = settings(&internet, &bounces, source, "one");
        std::fs::write(&config, format!("{own}{before}{settings}{after}")).unwrap();
        let (api, metrics) = (free_port(), free_port());
        let mut up = within(place, command(Self::program(), &config, &["up"]));
        up.current_dir(dir.path())
            .env("MALLEPOSTE_API__LISTEN", &api)
            .env("MALLEPOSTE_METRICS__LISTEN", &metrics);
        let mut up = Process::start(dir.path().join("up.log"), up);
        up.await_api(&api);
        Self { dir, runtime, internet, config, api, metrics, bounces, up }
    }

    fn program() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_malleposte"))
    }

    /// Where the page of metrics is.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// Where the API is, and the console.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Where returned mail is taken.
    pub fn bounces(&self) -> &str {
        &self.bounces
    }

    /// Tells the history something that happened.
    pub fn tell(&self, event: &Event) {
        let sources = ops::config::Sources::of_process(vec![self.config.clone()]);
        let mut config = ops::config::Config::read(&sources).unwrap();
        config.data_dir = self.dir.path().join(&config.data_dir);
        self.runtime.block_on(async {
            let store = ops::wiring::connect(&config).await.unwrap();
            store.emit(ShardId(0), std::slice::from_ref(event)).await.unwrap();
        });
    }

    /// A file in the folder that commands run in.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a command says: whether it succeeded, its output, its errors.
    pub fn ask(&self, words: &[&str]) -> (bool, String, String) {
        let mut command = command(Self::program(), &self.config, words);
        let output = command.current_dir(self.dir.path()).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// What a command prints; it must succeed.
    pub fn well(&self, words: &[&str]) -> String {
        let (is_good, out, err) = self.ask(words);
        assert!(is_good, "malleposte {}: {out}{err}", words.join(" "));
        out
    }

    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.well(words)).unwrap()
    }

    /// A customer whose sender is proved.
    pub fn customer(&self) -> Customer {
        publish(&self.well(&["dkim", "add", SENDER]), &self.internet);
        let key = self.well(&["key", "add", "a tool"]).trim().to_owned();
        Customer { api: self.api.clone(), key }
    }

    /// Hands a mail from nobody in at the port for returned mail.
    pub fn bring(&self, to: &str, mail: &[u8]) {
        let mut stream = TcpStream::connect(&self.bounces).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut heard = BufReader::new(stream.try_clone().unwrap());
        let mut says = |octets: &[u8], code: &str| {
            stream.write_all(octets).unwrap();
            let mut answer = String::new();
            while answer.as_bytes().get(3) != Some(&b' ') {
                answer.clear();
                assert!(heard.read_line(&mut answer).unwrap() > 0, "{code}: hung up");
            }
            assert!(answer.starts_with(code), "{code}: {answer}");
        };
        says(b"", "220");
        says(b"EHLO mx.example\r\n", "250");
        says(b"MAIL FROM:<>\r\n", "250");
        says(format!("RCPT TO:<{to}>\r\n").as_bytes(), "250");
        says(b"DATA\r\n", "354");
        let lines = mail.split(|octet| *octet == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        says(
            &[lines.collect::<Vec<_>>().join(&b"\r\n"[..]), b"\r\n.\r\n".to_vec()].concat(),
            "250",
        );
        says(b"QUIT\r\n", "221");
    }

    pub fn ends_within(self, limit: Duration) {
        self.up.ends_within(limit);
        self.runtime.block_on(self.internet.stop());
    }
}

/// A command that another one becomes.
fn within(place: &[&str], command: Command) -> Command {
    let Some((program, words)) = place.split_first() else { return command };
    let mut whole = Command::new(program);
    whole.args(words).arg(command.get_program()).args(command.get_args());
    whole.env_remove("RUST_LOG");
    whole
}

impl Customer {
    fn post(&self, path: &str, media: &str, body: &str) -> Value {
        let request = ureq::post(&format!("http://{}/v1{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", media)
            .header("Upload-Offset", "0");
        let text = request.send(body).unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub fn campaign(&self, id: &str) -> Value {
        self.get(&format!("/campaigns/{id}"))
    }

    pub fn get(&self, path: &str) -> Value {
        let request = ureq::get(&format!("http://{}/v1{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.key));
        let text = request.call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A campaign to `u0@domain` and so on, that has begun.
    pub fn send(&self, domain: &str, recipients: usize) -> String {
        let definition = json!({
            "name": domain,
            "from": { "name": "News", "address": format!("news@{SENDER}") },
            "subject": "News",
            "text": "Good news.\n",
        });
        let created = self.post("/campaigns", "application/json", &definition.to_string());
        let id = created["id"].as_str().unwrap().to_owned();
        let line = |n| format!("{{\"email\":\"u{n}@{domain}\"}}\n");
        let lines: String = (0..recipients).map(line).collect();
        self.post(&format!("/campaigns/{id}/recipients"), "application/x-ndjson", &lines);
        self.post(&format!("/campaigns/{id}/recipients/close"), "application/json", "{}");
        self.post(&format!("/campaigns/{id}/start"), "application/json", "{}");
        id
    }
}
