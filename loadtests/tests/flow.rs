//! A relay, a real Redis and the pretend internet, without the API in front: what was
//! queued arrives, and the queue's accounts agree with the internet's book.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtests::{Generator, Internet, Listen, Scenario};
use mail::queue::{BatchId, CampaignState, Counters, Enqueue, Enqueued, Lane};
use mail::verp::ReturnPathKeys;
use mail::{Address, CampaignId, Event, ShardId, Timestamp, event::EventKind};
use store::{
    BatchBuilder, CampaignRecord, Frame, SealKeys, Selector, SenderRecord, SigningKey, StartAt,
    Store, TemplateRecord,
};
use tokio_util::sync::CancellationToken;

const SENDER: &str = "news.malleposte.test";

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis() as u64)
}

fn seal() -> SealKeys {
    SealKeys::new(vec![('a', [7; 32])])
}

fn keys() -> ReturnPathKeys {
    ReturnPathKeys::new(vec![('a', [9; 32])]).unwrap()
}

async fn add_sender(store: &Store, internet: &Internet) {
    let domain = SENDER.parse().unwrap();
    let (pkcs8, record) = message::generate_rsa_2048().unwrap();
    let key = SigningKey { selector: "mp1".into(), algorithm: "rsa".into(), pkcs8 };
    let selector = Selector::new(&seal(), &domain, &key, record.clone(), now());
    let sender =
        SenderRecord { tenant: "t".into(), selectors: vec![selector], proved_at: Some(now()) };
    store.put_sender(&domain, &sender).await.unwrap();
    internet.zone().add_txt(&format!("mp1._domainkey.{SENDER}"), &record);
}

async fn add_campaign(store: &Store) -> CampaignId {
    let template = loadtests::generator::Template::of_size(3000);
    let record = CampaignRecord {
        tenant: "t".into(),
        name: "flow".into(),
        template: TemplateRecord {
            from_name: "News".into(),
            from_address: format!("news@{SENDER}").parse().unwrap(),
            reply_to: None,
            subject: template.subject,
            text: Some(template.text),
            html: Some(template.html),
            headers: vec![],
            fields: loadtests::generator::MERGE_FIELDS.map(String::from).to_vec(),
        },
        pool: "default".into(),
        priority: 1,
        start: StartAt::Now,
        lifetime_s: None,
        window: None,
        created_at: now(),
        created_by: "test".into(),
    };
    store.create_campaign(&record).await.unwrap()
}

/// All recipients of a shard in mixed batches.
async fn enqueue(store: &Store, campaign: CampaignId, recipients: &Generator) {
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

fn relay_config(port: u16) -> relay::Config {
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
        ..relay::Config::default()
    }
}

fn parts(store: &Store, dns: SocketAddr) -> relay::Parts {
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
        host: "relay.malleposte.test".into(),
    }
}

async fn wait_until_done(store: &Store, campaign: CampaignId, patience: Duration) -> Counters {
    let start = Instant::now();
    loop {
        let counters = store.campaign_counters(campaign).await.unwrap();
        assert_eq!(counters.imbalance(), 0, "{counters:?}");
        if counters.waiting == 0 {
            return counters;
        }
        assert!(start.elapsed() < patience, "still waiting: {counters:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_reaches_everybody_it_can() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()))
        .try_init();
    let redis = support::Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let scenario = Scenario::named("demo").unwrap();
    let internet = Internet::start(scenario, Listen::default()).await.unwrap();
    let store = Store::open(&redis.config()).await.unwrap();
    add_sender(&store, &internet).await;
    let campaign = add_campaign(&store).await;
    let recipients = Generator::new(1, 600);
    enqueue(&store, campaign, &recipients).await;
    store.set_campaign_state(campaign, CampaignState::Running, 1).await.unwrap();
    let stopping = CancellationToken::new();
    let config = relay_config(internet.smtp_port());
    let relay =
        tokio::spawn(relay::run(config, parts(&store, internet.dns_address()), stopping.clone()));

    let counters = wait_until_done(&store, campaign, Duration::from_secs(90)).await;
    stopping.cancel();
    relay.await.unwrap().unwrap();

    let book = internet.book().summary();
    assert_eq!(counters.accepted, 600);
    assert!(internet.book().violations().is_empty(), "{:?}", internet.book().violations());
    assert_eq!(book.unstable, 0, "Message-ID and return path stay the same");
    let mut wrong = Vec::new();
    for r in recipients.iter() {
        let meant = internet.meant(&r.address);
        let taken = internet.book().recipient(&r.address).is_some_and(|e| e.taken > 0);
        let should = matches!(
            meant.end,
            loadtests::internet::End::Delivered | loadtests::internet::End::Returned(_)
        );
        if taken != should {
            wrong.push((r.address.clone(), meant, taken));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(book.delivered, counters.delivered);
    assert!(book.duplicates <= book.unheard, "{book:?}");
    internet.stop().await;
}
