//! One API with its own Redis and zone, and an HTTP client that writes what it is told.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campaign_api::{Api, Config, Parts, TxtError, TxtRecords};
use mail::verp::ReturnPathKeys;
use mail::{Domain, Event, Timestamp};
use serde_json::{Value, json};
use store::{ApiKey, ApiKeyRecord, Right, SealKeys, Selector, SenderRecord, SigningKey, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;

pub const RECORD: &str = "v=DKIM1; k=rsa; p=MIIBpretend";
pub const NAME: &str = "s1._domainkey.news.example";

/// TXT records by name; a name that maps to `None` does not answer.
#[derive(Default)]
pub struct Zone(pub Mutex<HashMap<String, Option<Vec<String>>>>);

impl TxtRecords for Zone {
    fn txt<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<String>, TxtError>> + Send + 'a>> {
        let found = self.0.lock().unwrap().get(name).cloned();
        Box::pin(async move {
            match found {
                None => Ok(Vec::new()),
                Some(records) => records.ok_or_else(|| TxtError("timeout".into())),
            }
        })
    }
}

pub struct World {
    pub redis: Redis,
    pub store: Store,
    pub api_store: Store,
    pub zone: Arc<Zone>,
    pub folder: tempfile::TempDir,
    pub config: Config,
    pub address: SocketAddr,
    pub admin: String,
    pub key: String,
    pub reader: String,
    pub stranger: String,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

pub fn links() -> ReturnPathKeys {
    ReturnPathKeys::new(vec![('a', [3; 32])]).unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub async fn with(
        change: impl FnOnce(&mut Config),
        change_store: impl FnOnce(&mut store::Config),
    ) -> Self {
        // The answers name the level, and it must be true.
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let mut store_config = redis.config();
        change_store(&mut store_config);
        // What the test prepares is confirmed at once, whatever the API's level.
        let mut plain = store_config.clone();
        plain.durability = store::Durability::Always;
        let store = Store::open(&plain).await.unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            upload_idle_s: 5,
            ..Config::default()
        };
        change(&mut config);
        let zone = Arc::new(Zone::default());
        zone.0.lock().unwrap().insert(NAME.into(), Some(vec![RECORD.into()]));
        let mut world = Self {
            admin: make_key(&store, "root", "house", Right::Admin).await,
            key: make_key(&store, "marketing", "acme", Right::Campaigns).await,
            reader: make_key(&store, "board", "acme", Right::Read).await,
            stranger: make_key(&store, "rival", "evil", Right::Campaigns).await,
            redis,
            api_store: Store::open(&store_config).await.unwrap(),
            store,
            zone,
            folder: tempfile::tempdir().unwrap(),
            config,
            address: "127.0.0.1:1".parse().unwrap(),
            stop: CancellationToken::new(),
            running: None,
        };
        world.add_sender("news.example", "acme").await;
        world.start().await;
        world
    }

    pub async fn start(&mut self) {
        let parts = Parts {
            store: self.api_store.clone(),
            txt: self.zone.clone(),
            links: links(),
            history: ledger::Questions::new(self.history()),
            staging: self.folder.path().join("staging"),
            beside: None,
        };
        let api = Api::bind(self.config.clone(), parts).await.unwrap();
        self.address = api.local_addr().unwrap();
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        self.running = Some(tokio::spawn(async move { api.run(stop).await.unwrap() }));
    }

    /// Where history would be.
    pub fn history(&self) -> ledger::Config {
        ledger::Config { folder: self.folder.path().join("ledger"), ..ledger::Config::default() }
    }

    pub async fn stop(&mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
    }

    pub async fn add_sender(&self, domain: &str, tenant: &str) {
        let domain: Domain = domain.parse().unwrap();
        let key = SigningKey {
            selector: "s1".into(),
            algorithm: "rsa".into(),
            pkcs8: b"not looked at here".to_vec(),
        };
        let seal = SealKeys::new(vec![('a', [1; 32])]);
        let mut record = SenderRecord::new(tenant);
        record.add(Selector::new(&seal, &domain, &key, RECORD.into(), Timestamp(1))).unwrap();
        self.store.put_sender(&domain, &record).await.unwrap();
    }

    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        Request {
            world: self,
            head: format!("{method} {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n"),
            body: Vec::new(),
        }
        .header("authorization", &format!("Bearer {}", self.key))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send().await
    }

    pub async fn post(&self, path: &str) -> Reply {
        self.request("POST", path).send().await
    }

    /// A new campaign with fields `first` and `points` (default 0); its path.
    pub async fn campaign(&self) -> String {
        let reply = self.request("POST", "/v1/campaigns").json(&definition()).send().await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.header("location").to_owned()
    }

    pub async fn upload(&self, path: &str, offset: u64, bytes: &[u8]) -> Reply {
        self.request("POST", &format!("{path}/recipients"))
            .header("content-type", "application/x-ndjson")
            .header("upload-offset", &offset.to_string())
            .body(bytes)
            .send()
            .await
    }

    /// A campaign whose recipients are accepted.
    pub async fn ready(&self, lines: &str) -> String {
        let path = self.campaign().await;
        let reply = self.upload(&path, 0, lines.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let reply = self.post(&format!("{path}/recipients/close")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        path
    }

    pub async fn until_status(&self, path: &str, status: &str) -> Value {
        for _ in 0..100 {
            let view = self.get(path).await.json();
            if view["status"] == status {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} never became {status}: {}", self.get(path).await.text());
    }

    /// Redis was away: each connection of the pool finds out for itself.
    pub async fn until_ready(&self) {
        let mut in_a_row = 0;
        for _ in 0..200 {
            let ok = self.get("/readyz").await.status == 200;
            in_a_row = if ok { in_a_row + 1 } else { 0 };
            if in_a_row == 20 {
                return;
            }
        }
        panic!("the API never became ready again");
    }

    /// Every event of every outbox.
    pub async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for shard in self.store.all_shards() {
            let frames = self.store.outbox(shard, store::Position::default(), 10_000).await;
            events.extend(frames.unwrap().into_iter().flat_map(|(_, f)| f).map(|s| s.event));
        }
        events
    }
}

async fn make_key(store: &Store, name: &str, tenant: &str, right: Right) -> String {
    let key = ApiKey::generate();
    let record =
        ApiKeyRecord { name: name.into(), tenant: tenant.into(), right, created_at: Timestamp(1) };
    store.put_api_key(&key, &record).await.unwrap();
    key.0
}

pub fn definition() -> Value {
    json!({
        "name": "Spring",
        "from": { "name": "News", "address": "news@news.example" },
        "subject": "Hello {{ first }}",
        "text": "You have {{ points }} points.\n",
        "fields": ["first", "points"],
        "defaults": { "points": "0" },
    })
}

pub fn line(address: &str) -> String {
    format!("{{\"email\":\"{address}\",\"merge\":{{\"first\":\"Ann\"}}}}\n")
}

/// A request being written. Nothing is added that is not said.
pub struct Request<'w> {
    world: &'w World,
    head: String,
    body: Vec<u8>,
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn with_key(mut self, key: &str) -> Self {
        self.head = self.head.replace(&self.world.key, key);
        self
    }

    pub fn without_key(mut self) -> Self {
        let lines = self.head.split_inclusive("\r\n");
        self.head = lines.filter(|l| !l.starts_with("authorization")).collect();
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string().as_bytes())
    }

    pub fn body(mut self, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self
    }

    pub async fn send(self) -> Reply {
        let head = format!("{}content-length: {}\r\n\r\n", self.head, self.body.len());
        let stream = TcpStream::connect(self.world.address).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        // The answer may come before the body has gone: a refusal does not wait.
        let sending = tokio::spawn(async move {
            to.write_all(head.as_bytes()).await?;
            to.write_all(&self.body).await?;
            // Dropped, it would say that we are gone.
            Ok::<_, std::io::Error>(to)
        });
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes);
        let _ = tokio::time::timeout(Duration::from_secs(60), read).await.expect("an answer");
        sending.abort();
        Reply::parse(&bytes)
    }

    /// Sends these octets without saying beforehand how many they are.
    pub async fn send_chunked(self, octets: &[u8]) -> Reply {
        let head = format!("{}transfer-encoding: chunked\r\n\r\n{:x}\r\n", self.head, octets.len());
        let mut stream = TcpStream::connect(self.world.address).await.unwrap();
        stream.write_all(&[head.as_bytes(), octets, b"\r\n0\r\n\r\n"].concat()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Reply::parse(&answer)
    }

    /// Promises `promised` octets, sends fewer, and waits for the answer.
    pub async fn promise(self, promised: usize, bytes: &[u8]) -> Reply {
        let head = format!("{}content-length: {promised}\r\n\r\n", self.head);
        let mut stream = TcpStream::connect(self.world.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Reply::parse(&answer)
    }

    /// Promises `promised` octets, sends fewer, and hangs up.
    pub async fn break_off(self, promised: usize) {
        let head = format!("{}content-length: {promised}\r\n\r\n", self.head);
        let mut stream = TcpStream::connect(self.world.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&self.body).await.unwrap();
        stream.flush().await.unwrap();
        // What was sent should arrive before the end does.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub struct Reply {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let status = head[9..12].parse().unwrap();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body: body.into_bytes() }
    }

    pub fn text(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().filter_map(|l| l.split_once(": ")).find(|(n, _)| *n == name);
        found.map_or("", |(_, value)| value)
    }

    /// Asserts a problem of this kind and hands it out.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:malleposte:{code}"), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    whole
}
