//! Alarms from what is seen to who is told, on a real Redis, with a web service and a mail server of
//! one's own. Time is told, so nobody waits for it.

use std::sync::Mutex;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bounce_processor::NextHop;
use ledger::ShardFrames;
use mail::alarm::{Alarm, Condition};
use mail::queue::Judgement;
use mail::{CampaignId, DeliveryId};
use serde_json::Value;
use store::{OutboxFrame, Settled};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::redis_child::RedisChild;
use crate::watch::Campaigns;
use crate::wiring::open_store;

/// What a web service was told: the id, and the body. The first request is turned away.
type Told = Arc<Mutex<Vec<(String, Value)>>>;

async fn service(turned_away: usize) -> (u16, Told) {
    let told = Told::default();
    let taken = Arc::clone(&told);
    let take = move |headers: HeaderMap, body: String| async move {
        let id = headers["webhook-id"].to_str().expect("an id").to_owned();
        assert!(headers["webhook-signature"].to_str().expect("a signature").starts_with("v1,"));
        let mut taken = taken.lock().expect("no panic");
        taken.push((id, serde_json::from_str(&body).expect("JSON")));
        if taken.len() <= turned_away { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let routes = axum::Router::new().route("/hook", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (port, told)
}

/// A mail server that takes everything: the mails as they came.
async fn mail_server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mails = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&mails);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 ready\r\n").await.expect("greeted");
            let (mut line, mut mail, mut is_data) = (String::new(), String::new(), false);
            while stream.read_line(&mut line).await.expect("a line") > 0 {
                let text = std::mem::take(&mut line);
                mail.push_str(&text);
                let reply = match (is_data, text.trim_end()) {
                    (true, ".") => {
                        taken.lock().expect("no panic").push(std::mem::take(&mut mail));
                        is_data = false;
                        "250 taken\r\n"
                    }
                    (true, _) => continue,
                    (false, "DATA") => {
                        is_data = true;
                        "354 go on\r\n"
                    }
                    (false, _) => "250 ok\r\n",
                };
                stream.write_all(reply.as_bytes()).await.expect("answered");
            }
        }
    });
    (port, mails)
}

fn nothing(at: Timestamp) -> Sights {
    Sights {
        servers: Vec::new(),
        relays: Vec::new(),
        campaigns: Campaigns::default(),
        oldest_key_s: 0.0,
        paces: Vec::new(),
        outbox_fullness: 0.0,
        feedback_waiting: 0,
        orders: mail::orders::Orders::new(Vec::new(), at),
        at,
    }
}

struct Watched {
    redis: RedisChild,
    config: Config,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Watched {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        config.follow();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("written");
        config.alarms.webhook_secret_file = secret;
        change(&mut config);
        let redis = RedisChild::start(&config.redis, folder.path()).await.expect("started");
        config.store.url = redis.url();
        // The disk under the tests is what it is: nobody looks at it.
        config.data_dir = folder.path().join("nowhere");
        let store = open_store(&config.store).await.expect("open");
        Self { redis, config, store, _folder: folder }
    }

    fn alarms(&self) -> Alarms {
        let ways = Ways::new(&self.config.alarms, &self.config.dns).expect("ways");
        let ledger = Ledger::open(&self.config.ledger).expect("a history");
        Alarms::new(&self.store, &self.config, ledger, ways)
    }

    /// Looks every ten seconds of told time, at a platform without a relay.
    async fn look(&self, alarms: &mut Alarms, seconds: std::ops::Range<u64>) {
        for second in seconds.step_by(10) {
            let at = Timestamp(1_000_000_000_000 + second * 1000);
            alarms.look(Look::All(&nothing(at)), at).await;
        }
    }

    /// Looks on, in real time, until all news is taken.
    async fn until_told(&self, alarms: &mut Alarms, second: u64) {
        for _ in 0..200 {
            alarms.put_off.clear();
            self.look(alarms, second..second + 10).await;
            if self.store.alarms().await.expect("alarms").untold.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the news is not taken");
    }
}

fn raised(record: &AlarmRecord) -> Vec<Condition> {
    let alarms = record.book.alarms();
    alarms.iter().filter(|alarm| alarm.is_raised()).map(|alarm| alarm.condition).collect()
}

#[tokio::test]
async fn an_alarm_is_told_every_way_until_it_is_taken_and_over_a_restart() {
    let ((hook, told), (smtp, mails)) = (service(1).await, mail_server().await);
    let watched = Watched::start(|config| {
        config.alarms.webhook = format!("http://127.0.0.1:{hook}/hook");
        config.alarms.mail_to = vec!["ann@example.org".into(), "bob@example.org".into()];
        config.alarms.next_hop = NextHop { port: smtp, ..NextHop::default() };
        config.alarms.language = "fr".into();
    })
    .await;
    let mut alarms = watched.alarms();
    watched.look(&mut alarms, 0..180).await;
    assert!(raised(&watched.store.alarms().await.expect("alarms")).is_empty());
    watched.look(&mut alarms, 180..190).await;
    let record = watched.store.alarms().await.expect("alarms");
    assert_eq!((raised(&record), record.untold.len()), (vec![Condition::NoRelay], 1));
    // Whoever looks next goes on where this one ended.
    drop(alarms);
    let mut alarms = watched.alarms();
    watched.until_told(&mut alarms, 190).await;
    let told = told.lock().expect("no panic").clone();
    assert!(told.len() >= 2 && told.iter().all(|(id, _)| *id == told[0].0), "{told:?}");
    assert_eq!(told[0].1["type"], "alarm.raised");
    assert_eq!(told[0].1["data"]["evidence"], "0 relays are live");
    let mails = mails.lock().expect("no panic").clone();
    for name in ["ann", "bob"] {
        let to = format!("RCPT TO:<{name}@example.org>");
        // What went out when the first one ended may come twice, under one Message-ID.
        assert!(mails.iter().any(|mail| mail.contains(&to)), "{mails:#?}");
    }
    watched.redis.stop().await.expect("stopped");
}

#[tokio::test]
async fn what_is_silenced_is_kept_and_told_to_nobody() {
    let (hook, told) = service(0).await;
    let watched = Watched::start(|config| {
        config.alarms.webhook = format!("http://127.0.0.1:{hook}/hook");
    })
    .await;
    let at = Timestamp(1_000_000_000_000);
    let until = at + Duration::from_secs(400);
    let silenced = watched.store.silence(Some(Condition::NoRelay), "", until, ("ann", "known"), at);
    assert_eq!(silenced.await.expect("silenced").by, "ann");
    let mut alarms = watched.alarms();
    watched.look(&mut alarms, 0..390).await;
    let record = watched.store.alarms().await.expect("alarms");
    assert_eq!((raised(&record), record.untold.len()), (vec![Condition::NoRelay], 0));
    watched.look(&mut alarms, 400..410).await;
    watched.until_told(&mut alarms, 410).await;
    assert_eq!(told.lock().expect("no panic").len(), 1);
    watched.redis.stop().await.expect("stopped");
}

#[tokio::test]
async fn without_redis_it_is_told_that_redis_is_away_and_nothing_is_taken_back() {
    let (hook, told) = service(0).await;
    let watched = Watched::start(|config| {
        config.alarms.webhook = format!("http://127.0.0.1:{hook}/hook");
    })
    .await;
    let mut alarms = watched.alarms();
    watched.look(&mut alarms, 0..190).await;
    watched.until_told(&mut alarms, 190).await;
    for second in (200..700).step_by(10) {
        let at = Timestamp(1_000_000_000_000 + second * 1000);
        alarms.look(Look::Away, at).await;
        alarms.put_off.clear();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let types = |told: &Told| -> Vec<String> {
        let told = told.lock().expect("no panic");
        told.iter()
            .map(|(_, body)| format!("{} {}", body["type"], body["data"]["condition"]))
            .collect()
    };
    let expected = ["\"alarm.raised\" \"NoRelay\"", "\"alarm.raised\" \"RedisAway\""];
    assert_eq!(types(&told), expected, "NoRelay is not seen, and not over");
    watched.redis.stop().await.expect("stopped");
}

#[tokio::test]
async fn what_was_kept_is_read_before_it_is_written_over() {
    let (hook, told) = service(0).await;
    let watched = Watched::start(|config| {
        config.alarms.webhook = format!("http://127.0.0.1:{hook}/hook");
    })
    .await;
    let mut alarms = watched.alarms();
    watched.look(&mut alarms, 0..190).await;
    watched.until_told(&mut alarms, 190).await;
    // Another begins while Redis is away, and sees it come back.
    let mut alarms = watched.alarms();
    let at = |second: u64| Timestamp(1_000_000_000_000 + second * 1000);
    alarms.look(Look::Away, at(210)).await;
    watched.look(&mut alarms, 220..300).await;
    let record = watched.store.alarms().await.expect("alarms");
    assert_eq!(raised(&record), [Condition::NoRelay]);
    assert_eq!(told.lock().expect("no panic").len(), 1, "it was told already");
    watched.redis.stop().await.expect("stopped");
}

#[test]
fn of_one_alarm_the_oldest_news_goes_first_and_what_was_not_tried_before_what_was() {
    let news = |subject: &str, what, second: u64| {
        let alarm = mail::alarm::Alarm {
            condition: Condition::SilentRelay,
            subject: subject.into(),
            standing: mail::alarm::Standing::Raised,
            since: Timestamp(0),
            raised_at: None,
            told_at: None,
            value: 0.0,
            says: String::new(),
        };
        Untold { news: News { what, alarm, at: Timestamp(second * 1000) }, told: Vec::new() }
    };
    use mail::alarm::What::{Cleared, Raised};
    let untold = [news("a", Raised, 1), news("b", Raised, 2), news("a", Cleared, 3)];
    let id = |n: usize| untold[n].news.id();
    let now = Instant::now();
    let later = now + Duration::from_secs(600);
    let which = |put_off: &[(usize, u32, Instant)]| {
        let put_off = put_off.iter().map(|(n, tries, at)| (id(*n), (*tries, *at))).collect();
        next(&untold, &put_off).map(|untold| untold.news.id())
    };
    assert_eq!(which(&[]), Some(id(0)));
    assert_eq!(which(&[(0, 3, now)]), Some(id(1)), "what was not tried goes first");
    assert_eq!(which(&[(0, 3, later), (1, 1, now)]), Some(id(1)));
    assert_eq!(which(&[(0, 3, later), (1, 1, later)]), None, "no end before its beginning");
}

#[tokio::test]
async fn a_site_whose_people_complain_is_told_of_though_complaints_do_not_name_it() {
    let watched = Watched::start(|_| {}).await;
    let mut alarms = watched.alarms();
    let at = crate::commands::now();
    let about = |kind, seq: u64, at: u64| Event {
        campaign: Some(CampaignId(1)),
        delivery: Some(DeliveryId { shard: ShardId(0), seq }),
        recipient: format!("user{seq}@example.org"),
        ..Event::new(kind, Timestamp(at))
    };
    let delivered = |seq| Event {
        site: if seq <= 1000 { "many.example" } else { "few.example" }.into(),
        ..about(EventKind::Delivered, seq, at.0 - 2000)
    };
    let complained = |seq| about(EventKind::Complained, seq, at.0 - 1000);
    // Five of a thousand at one site; five of ten at another, which are too few to judge by.
    let complaints = (1..=5).chain(1001..=1005).map(complained);
    let events = (1..=1010).map(delivered).chain(complaints);
    let settled = events.map(|event| Settled { event, judgement: Judgement::Applied });
    let position = format!("{}-0", at.0).parse().expect("a position");
    let frame = OutboxFrame { position, events: Ok(settled.collect()), raw: Vec::new() };
    let frames = [ShardFrames { shard: ShardId(0), frames: vec![frame] }];
    let ledger = Ledger::open(&watched.config.ledger).expect("a history");
    ledger.writer().expect("a writer").write(&frames).expect("written");

    watched.look(&mut alarms, 0..1200).await;
    let record = watched.store.alarms().await.expect("alarms");
    let of = |alarm: &&Alarm| alarm.condition == Condition::SiteComplaints;
    let told: Vec<&Alarm> = record.book.alarms().into_iter().filter(of).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].is_raised() && told[0].subject == "many.example", "{told:?}");
    let says = "within a week 5 of 1000 deliveries were reported as spam (0.50 %)";
    assert_eq!(told[0].says, says);
    let shown: Vec<_> =
        alarms.complaints().iter().map(|one| (one.site.as_str(), one.share)).collect();
    assert_eq!(shown, [("many.example", 0.005)]);
}
