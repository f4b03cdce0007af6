//! A bounce processor over a real Redis, and a client that says what it is told to.
#![allow(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../store/tests/support/mod.rs"]
mod redis;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bounce_processor::{Bounces, Config, Parts};
use dns::Resolver;
use mail::event::EventKind;
use mail::hygiene::Policy;
use mail::verp::ReturnPathKeys;
use mail::{Address, CampaignId, DeliveryId, Event, ShardId};
use store::{Position, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub(crate) use redis::Redis;

pub(crate) const DOMAIN: &str = "bounces.example.org";
pub(crate) const ANN: &str = "ann@example.net";
pub(crate) const DELIVERY: DeliveryId = DeliveryId { shard: ShardId(1), seq: 0x1f40 };

pub(crate) struct Platform {
    pub(crate) redis: Redis,
    pub(crate) store: Store,
    pub(crate) keys: ReturnPathKeys,
    pub(crate) links: ReturnPathKeys,
    pub(crate) campaign: CampaignId,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) lmtp: Option<std::net::SocketAddr>,
    pub(crate) mailbox: PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Platform {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// What is said of settings that cannot be used.
    pub(crate) async fn refused(change: impl FnOnce(Config) -> Config) -> String {
        let redis = Redis::start();
        let store = Store::open(&redis.config()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = change(config(&folder.path().join("mailbox")));
        Bounces::bind(&config, parts(&store)).await.unwrap_err().to_string()
    }

    pub(crate) async fn start_with(change: impl FnOnce(Config) -> Config) -> Self {
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let mut of_store = redis.config();
        of_store.answer_timeout_ms = 1000;
        let store = Store::open(&of_store).await.unwrap();
        let campaign = store.create_campaign(&redis::campaign()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mailbox = folder.path().join("mailbox");
        let config = change(config(&mailbox));
        let parts = parts(&store);
        let (keys, links) = (parts.return_path_keys.clone(), parts.unsubscribe_keys.clone());
        let bounces = Bounces::bind(&config, parts).await.unwrap();
        let (address, stop) = (bounces.local_addr(), CancellationToken::new());
        let lmtp = bounces.lmtp_addr();
        let token = stop.clone();
        let task = tokio::spawn(async move { bounces.run(token).await.unwrap() });
        Self {
            redis,
            store,
            keys,
            links,
            campaign,
            address,
            lmtp,
            mailbox,
            stop,
            task,
            _folder: folder,
        }
    }

    pub(crate) async fn stop(self) -> Redis {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap();
        self.redis
    }

    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// The return path of Ann's message.
    pub(crate) fn path(&self) -> String {
        self.path_of(DELIVERY, ANN)
    }

    pub(crate) fn path_of(&self, delivery: DeliveryId, address: &str) -> String {
        let address: Address = address.parse().unwrap();
        format!("{}@{DOMAIN}", self.keys.encode(delivery, self.campaign, &address))
    }

    pub(crate) async fn client(&self) -> Client {
        let mut client = Client(TcpStream::connect(self.address).await.unwrap());
        assert!(client.answer().await.starts_with("220 "));
        assert!(client.say("EHLO mx.example.net").await.contains("250 ENHANCEDSTATUSCODES"));
        client
    }

    /// Hands a report in; answers the reply to the final dot, or to the recipient if that was refused.
    pub(crate) async fn send(&self, to: &str, mail: &str) -> String {
        self.send_from("", to, mail).await
    }

    pub(crate) async fn send_from(&self, from: &str, to: &str, mail: &str) -> String {
        let mut client = self.client().await;
        assert!(client.say(&format!("MAIL FROM:<{from}>")).await.starts_with("250"));
        let admitted = client.say(&format!("RCPT TO:<{to}>")).await;
        if !admitted.starts_with("250") {
            return admitted;
        }
        assert!(client.say("DATA").await.starts_with("354"));
        let answer = client.say(&format!("{mail}\r\n.")).await;
        assert!(client.say("QUIT").await.starts_with("221"));
        answer
    }

    /// Why an address is suppressed.
    pub(crate) async fn suppressed(&self, address: &str) -> Option<String> {
        self.store.listing("acme", address).await.unwrap().map(|s| s.reason)
    }

    /// Everything told, all shards.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for shard in self.store.all_shards() {
            let frames = self.store.outbox(shard, Position::default(), 1000).await.unwrap();
            events.extend(frames.into_iter().flat_map(|(_, f)| f).map(|s| s.event));
        }
        events
    }

    pub(crate) async fn kinds(&self) -> Vec<EventKind> {
        let mut kinds: Vec<EventKind> = self.events().await.iter().map(|e| e.kind).collect();
        kinds.sort_unstable();
        kinds
    }

    pub(crate) async fn returned(&self) -> u64 {
        self.store.campaign_counters(self.campaign).await.unwrap().returned
    }

    /// What a person is to read: all folders of the mailbox.
    pub(crate) fn kept(&self) -> Vec<String> {
        ["", ".Replies", ".Unmatched"].iter().flat_map(|folder| self.kept_in(folder)).collect()
    }

    pub(crate) fn kept_in(&self, folder: &str) -> Vec<String> {
        let files = std::fs::read_dir(self.mailbox.join(folder).join("new")).unwrap();
        files.map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect()
    }
}

pub(crate) fn config(mailbox: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        domains: vec![DOMAIN.into()],
        mailbox: mailbox.to_owned(),
        greeting_delay_ms: 0,
        ..Config::default()
    }
}

pub(crate) fn parts(store: &Store) -> Parts {
    let keys = |key| ReturnPathKeys::new(vec![('a', [key; 32])]).unwrap();
    Parts {
        store: store.clone(),
        return_path_keys: keys(7),
        unsubscribe_keys: keys(8),
        policy: Policy::default(),
        resolver: Arc::new(Resolver::new(&dns::Config::default()).unwrap()),
        host: "here".into(),
    }
}

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.raw(format!("{line}\r\n").as_bytes()).await;
        self.answer().await
    }

    pub(crate) async fn raw(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// One reply, all its lines; empty when the connection has ended.
    pub(crate) async fn answer(&mut self) -> String {
        let mut text = String::new();
        let read = async {
            loop {
                let mut octet = [0];
                match self.0.read(&mut octet).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => text.push(octet[0] as char),
                }
                let last = text.trim_end_matches(['\r', '\n']).rsplit('\n').next().unwrap_or("");
                if text.ends_with('\n') && last.as_bytes().get(3) == Some(&b' ') {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("no answer in 30 s");
        text
    }
}

/// A failure report by RFC 3464 about one recipient.
pub(crate) fn dsn(recipient: &str, status: &str, diagnostic: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nTo: <return@path>\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n\
         Auto-Submitted: auto-replied\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\r\n\
         --x\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; {diagnostic}\r\n\r\n\
         --x--\r\n"
    )
}

/// A complaint by RFC 5965 that quotes a header.
pub(crate) fn arf(kind: &str, fields: &str, quoted: &str) -> String {
    format!(
        "From: fbl@mx.example.net\r\nTo: <return@path>\r\nSubject: Abuse report\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nUnwanted.\r\n\r\n\
         --x\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: {kind}\r\nUser-Agent: Loop/1\r\nVersion: 1\r\n{fields}\r\n\
         --x\r\nContent-Type: message/rfc822\r\n\r\n{quoted}\r\n\r\nHello\r\n\
         --x--\r\n"
    )
}
