//! What these tests share: a store with a sender and campaigns, recipients in batches, a
//! relay in this process.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis as redis_client;
use loadtests::{Generator, Internet, Listen, Scenario};
use mail::hygiene::Policy;
use mail::queue::{BatchId, CampaignState, Counters, Enqueue, Enqueued, Lane};
use mail::verp::ReturnPathKeys;
use mail::{Address, CampaignId, Event, ShardId, Timestamp, event::EventKind};
use store::{
    BatchBuilder, CampaignRecord, Frame, SealKeys, Selector, SenderRecord, SigningKey, Store,
    TemplateRecord,
};
use tokio_util::sync::CancellationToken;

pub(crate) const SENDER: &str = "news.malleposte.test";

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis() as u64)
}

pub(crate) fn seal() -> SealKeys {
    SealKeys::new(vec![('a', [7; 32])])
}

pub(crate) fn keys() -> ReturnPathKeys {
    ReturnPathKeys::new(vec![('a', [9; 32])]).unwrap()
}

pub(crate) async fn add_sender(store: &Store, internet: &Internet) {
    let domain = SENDER.parse().unwrap();
    let (pkcs8, record) = message::generate_rsa_2048().unwrap();
    let key = SigningKey { selector: "mp1".into(), algorithm: "rsa".into(), pkcs8 };
    let mut sender = SenderRecord::new("t");
    sender.add(Selector::new(&seal(), &domain, &key, record.clone(), now())).unwrap();
    sender.proved_at = Some(now());
    store.put_sender(&domain, &sender).await.unwrap();
    internet.zone().add_txt(&format!("mp1._domainkey.{SENDER}"), &record);
}

pub(crate) async fn add_campaign(store: &Store) -> CampaignId {
    store.create_campaign(&campaign_record()).await.unwrap()
}

fn campaign_record() -> CampaignRecord {
    let template = loadtests::generator::Template::of_size(3000);
    let mut record = crate::redis::campaign();
    record.tenant = "t".into();
    record.created_at = now();
    record.template = TemplateRecord {
        derive_text: false,
        from_name: "News".into(),
        from_address: format!("news@{SENDER}").parse().unwrap(),
        subject: template.subject,
        text: Some(template.text),
        html: Some(template.html),
        fields: loadtests::generator::MERGE_FIELDS.map(String::from).to_vec(),
        ..record.template
    };
    record
}

/// All recipients of a shard in mixed batches.
pub(crate) async fn enqueue(store: &Store, campaign: CampaignId, recipients: &Generator) {
    let mut shards: Vec<Vec<loadtests::generator::Recipient>> =
        vec![Vec::new(); usize::from(store.shards())];
    for r in recipients.iter() {
        let domain = r.address.rsplit_once('@').unwrap().1;
        shards[usize::from(store.shard_of(domain).0)].push(r);
    }
    for (shard, recipients) in shards.into_iter().enumerate() {
        let shard = ShardId(shard as u16);
        for (chunk, part) in recipients.chunks(200).enumerate() {
            let mut batch = BatchBuilder::new(3);
            for r in part {
                let address: Address = r.address.parse().unwrap();
                let values: Vec<&str> = r.merge.iter().map(|(_, v)| v.as_str()).collect();
                batch.push(&address, "", "", &values);
            }
            let first = store.reserve(shard, part.len() as u64).await.unwrap();
            let mut event = Event::new(EventKind::Accepted, now());
            event.campaign = Some(campaign);
            event.count = part.len() as u32;
            let enqueue = Enqueue {
                lane: Lane { campaign, domain: None },
                chunk: chunk as u64,
                batch: BatchId(first.0),
                count: part.len() as u16,
                suppressed: vec![],
                priority: 1,
            };
            let blob = batch.encode(campaign, shard, first, now());
            let answer = store.enqueue(shard, &[(enqueue, blob, Frame::encode(&[event]))]).await;
            assert_eq!(answer.unwrap(), [Enqueued::Stored]);
        }
    }
}

pub(crate) fn relay_config(port: u16) -> relay::Config {
    relay::Config {
        return_path_domain: "returns.malleposte.test".into(),
        public_url: "https://mail.malleposte.test".into(),
        port,
        allow_private: true,
        retry: mail::retry::Config {
            first_s: 1,
            max_s: 4,
            lifetime_s: 40,
            greylist_s: 2,
            busy_mailbox_s: 3,
            ..Default::default()
        },
        // Whatever else runs on this machine is not what these tests are about.
        load: mail::load::Config { enabled: false, ..Default::default() },
        ..relay::Config::default()
    }
}

pub(crate) fn parts(store: &Store, dns: SocketAddr) -> relay::Parts {
    let config = dns::Config {
        servers: vec![dns],
        timeout_ms: 1000,
        failure_ttl_s: 2,
        ..Default::default()
    };
    relay::Parts {
        store: store.clone(),
        resolver: Arc::new(dns::Resolver::new(&config).unwrap()),
        seal: seal(),
        return_path_keys: keys(),
        unsubscribe_keys: keys(),
        policy: Policy::default(),
        host: "relay.malleposte.test".into(),
    }
}

/// The queue's counters against the events that it told, at the same position. Nobody has read
/// or trimmed those: an empty history is as old as the outbox.
pub(crate) async fn assert_accounts(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    let config = ledger::Config { folder: folder.path().join("history"), ..Default::default() };
    let balance = ledger::Ledger::open(&config).unwrap().balance(store).await.unwrap();
    assert_eq!((balance.imbalance, balance.uncompared.len()), (0, 0), "{balance:?}");
}

pub(crate) async fn wait_until_done(
    store: &Store,
    campaign: CampaignId,
    patience: Duration,
) -> Counters {
    let start = Instant::now();
    loop {
        let counters = store.campaign_counters(campaign).await.unwrap();
        assert_eq!(counters.imbalance(), 0, "{counters:?}");
        if counters.waiting == 0 {
            assert_accounts(store).await;
            return counters;
        }
        assert!(start.elapsed() < patience, "still waiting: {counters:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Two providers that take everything: `a.pretend.example` and `b.pretend.example`.
const TWO: &str = r#"
name = "two"
record = "identity"

[manner.sink]
tls = "none"

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.11" }]
manner = "sink"

[[provider]]
name = "b"
domains = ["b.pretend.example"]
mx = [{ host = "mx.b.pretend.test", address = "127.0.0.12" }]
manner = "sink"
tail = true
"#;

/// A store, a relay and the two providers.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) internet: Internet,
    relays: Vec<(CancellationToken, tokio::task::JoinHandle<()>)>,
    redis: crate::redis::Redis,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_in(TWO).await
    }

    /// In this pretend internet.
    pub(crate) async fn start_in(scenario: &str) -> Self {
        let redis = crate::redis::Redis::start();
        let scenario = Scenario::parse(scenario).unwrap();
        let internet = Internet::start(scenario, Listen::default()).await.unwrap();
        let store = Store::open(&redis.config()).await.unwrap();
        add_sender(&store, &internet).await;
        Self { store, internet, relays: Vec::new(), redis }
    }

    pub(crate) fn relay(&mut self, name: &str, adjust: impl FnOnce(&mut relay::Config)) {
        self.relay_sealed(name, seal(), adjust);
    }

    /// With a resolver of its own, and with reports about TLS.
    pub(crate) fn relay_resolving(&mut self, dns: &dns::Config) {
        self.relay_resolving_as(dns, |_| {});
    }

    /// The same with other settings.
    pub(crate) fn relay_resolving_as(
        &mut self,
        dns: &dns::Config,
        adjust: impl FnOnce(&mut relay::Config),
    ) {
        let mut config = relay_config(self.internet.smtp_port());
        config.tls_reports.from = format!("tls-reports@{SENDER}");
        adjust(&mut config);
        let resolver = Arc::new(dns::Resolver::new(dns).unwrap());
        let parts = relay::Parts { resolver, ..parts(&self.store, self.internet.dns_address()) };
        let stop = CancellationToken::new();
        let run = relay::run(config, parts, stop.clone());
        self.relays.push((stop, tokio::spawn(async move { run.await.unwrap() })));
    }

    /// With this platform key.
    pub(crate) fn relay_sealed(
        &mut self,
        name: &str,
        seal: SealKeys,
        adjust: impl FnOnce(&mut relay::Config),
    ) {
        let mut config = relay_config(self.internet.smtp_port());
        config.name = name.into();
        adjust(&mut config);
        let stop = CancellationToken::new();
        let parts = relay::Parts { seal, ..parts(&self.store, self.internet.dns_address()) };
        let run = relay::run(config, parts, stop.clone());
        self.relays.push((stop, tokio::spawn(async move { run.await.unwrap() })));
    }

    /// A running campaign with these recipients, in a lane of their own or the shared one.
    pub(crate) async fn campaign(&self, tenant: &str, to: &[&str], own_lane: bool) -> CampaignId {
        let campaign = self.create(|record| record.tenant = tenant.into()).await;
        self.fill(campaign, to, own_lane).await;
        self.run(campaign).await;
        campaign
    }

    pub(crate) async fn create(&self, adjust: impl FnOnce(&mut CampaignRecord)) -> CampaignId {
        let mut record = campaign_record();
        adjust(&mut record);
        self.store.create_campaign(&record).await.unwrap()
    }

    pub(crate) async fn run(&self, campaign: CampaignId) {
        self.store.set_campaign_state(campaign, CampaignState::Running, 1).await.unwrap();
    }

    /// Recipients of one domain as one batch.
    pub(crate) async fn fill(&self, campaign: CampaignId, to: &[&str], own_lane: bool) -> BatchId {
        let zoned: Vec<(&str, &str)> = to.iter().map(|address| (*address, "")).collect();
        self.fill_zoned(campaign, BatchBuilder::new(3), &zoned, own_lane).await
    }

    pub(crate) async fn fill_zoned(
        &self,
        campaign: CampaignId,
        mut batch: BatchBuilder,
        to: &[(&str, &str)],
        own_lane: bool,
    ) -> BatchId {
        let domain = to[0].0.rsplit_once('@').unwrap().1;
        let shard = self.store.shard_of(domain);
        for (address, zone) in to {
            batch.push(&address.parse().unwrap(), "", zone, &["x", "y", "z"]);
        }
        let first = self.store.reserve(shard, to.len() as u64).await.unwrap();
        let blob = batch.encode(campaign, shard, first, now());
        self.enqueue(campaign, shard, first, to.len(), own_lane.then_some(domain), blob).await;
        first
    }

    pub(crate) async fn enqueue(
        &self,
        campaign: CampaignId,
        shard: ShardId,
        batch: BatchId,
        count: usize,
        lane: Option<&str>,
        blob: Vec<u8>,
    ) {
        let record = self.store.campaign(campaign).await.ok().flatten();
        let priority = record.map_or(1, |campaign| campaign.record.priority);
        let event = Event {
            campaign: Some(campaign),
            count: count as u32,
            ..Event::new(EventKind::Accepted, now())
        };
        // Batches of one campaign in one shard are numbered; the next number is found by trying.
        for chunk in 0..1_000 {
            let enqueue = Enqueue {
                lane: Lane { campaign, domain: lane.map(|domain| domain.parse().unwrap()) },
                chunk,
                batch,
                count: count as u16,
                suppressed: vec![],
                priority,
            };
            let frame = Frame::encode(std::slice::from_ref(&event));
            let answer = self.store.enqueue(shard, &[(enqueue, blob.clone(), frame)]).await;
            if answer.unwrap() == [Enqueued::Stored] {
                return;
            }
        }
        panic!("the batch was not stored");
    }

    /// A command of Redis that the store has no name for.
    pub(crate) async fn raw(&self, command: &str, words: &[&str]) {
        let client = redis_client::Client::open(self.redis.url()).unwrap();
        let mut conn = client.get_multiplexed_async_connection().await.unwrap();
        let _: redis_client::Value =
            redis_client::cmd(command).arg(words).query_async(&mut conn).await.unwrap();
    }

    pub(crate) async fn counters(&self, campaign: CampaignId) -> Counters {
        let counters = self.store.campaign_counters(campaign).await.unwrap();
        assert_eq!(counters.imbalance(), 0, "{counters:?}");
        counters
    }

    /// Waits until this holds of a campaign's accounts.
    pub(crate) async fn until(
        &self,
        campaign: CampaignId,
        seconds: u64,
        holds: impl Fn(&Counters) -> bool,
    ) -> Counters {
        let start = Instant::now();
        loop {
            let counters = self.counters(campaign).await;
            if holds(&counters) {
                return counters;
            }
            let waited = start.elapsed();
            assert!(waited < Duration::from_secs(seconds), "after {waited:?}: {counters:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The events that tell of a kind of thing, over all shards.
    pub(crate) async fn told(&self, kind: EventKind) -> Vec<Event> {
        let mut told = Vec::new();
        for shard in self.store.all_shards() {
            let frames = self.store.outbox(shard, store::Position::default(), 10_000).await;
            let events = frames.unwrap().into_iter().flat_map(|(_, settled)| settled);
            told.extend(events.map(|s| s.event).filter(|e| e.kind == kind));
        }
        told
    }

    /// Ends the relays that run; others may follow.
    pub(crate) async fn stop_relays(&mut self) {
        for (stop, relay) in self.relays.drain(..) {
            stop.cancel();
            relay.await.unwrap();
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop_relays().await;
        assert_accounts(&self.store).await;
        self.internet.stop().await;
    }
}
