//! Mails that came back, into the books: together, once, and whatever was there before.

use mail::classify::{Said, classify};
use mail::event::EventKind::{Returned as ReturnedEvent, SuppressionAdded};
use mail::event::{Event, EventKind};
use mail::hygiene::{Decision, News, Policy, Reason, What};
use mail::{CampaignId, DeliveryId, Phase, ShardId, Timestamp};
use store::{
    AddressChange, AddressNews, Position, Return, Returned, Store, SuppressionRecord, Taken,
};

use crate::support;

const DAY: u64 = 86_400_000;
const CAMPAIGN: CampaignId = CampaignId(1);

/// What a test hands in, owned.
struct Report {
    address: &'static str,
    delivery: DeliveryId,
    what: What,
    at: Timestamp,
    event: Event,
}

/// A reply's meaning as news.
fn failed(reply: &str) -> What {
    What::failed(&classify(&Said::from_line(Phase::Rcpt, reply)))
}

fn gone() -> What {
    failed("550 5.1.1 user unknown")
}

fn full() -> What {
    failed("552 5.2.2 mailbox full")
}

impl Report {
    fn new(store: &Store, address: &'static str, seq: u64, what: What, day: u64) -> Self {
        let (_, domain) = address.rsplit_once('@').unwrap();
        let at = Timestamp(day * DAY);
        let delivery = DeliveryId { shard: store.shard_of(domain), seq };
        Self { address, delivery, what, at, event: Event::new(EventKind::Returned, at) }
    }

    fn as_return(&self) -> Return<'_> {
        let news = News { delivery: self.delivery, at: self.at, what: self.what };
        let about = AddressNews {
            tenant: "acme",
            address: self.address,
            news,
            campaign: CAMPAIGN,
            evidence: "said so",
            service: "bounces",
        };
        let kind = Returned::Failure { dead: self.what == gone() };
        let (delivery, event) = (self.delivery, &self.event);
        Return { delivery, campaign: CAMPAIGN, kind, about: Some(about), event }
    }
}

async fn take(store: &Store, reports: &[Report], day: u64) -> Vec<Taken> {
    let mails: Vec<Return<'_>> = reports.iter().map(Report::as_return).collect();
    let taken = store.take_back(&mails, Timestamp(day * DAY), &Policy::default()).await;
    taken.into_iter().map(Result::unwrap).collect()
}

async fn told(store: &Store) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    for shard in store.all_shards() {
        for (_, events) in store.outbox(shard, Position::default(), 1000).await.unwrap() {
            kinds.extend(events.into_iter().map(|settled| settled.event.kind));
        }
    }
    kinds
}

#[tokio::test]
async fn mails_of_all_shards_are_taken_together_and_once() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let addresses = ["a@one.example", "b@two.example", "c@three.example", "d@four.example"];
    let reports: Vec<Report> = addresses
        .iter()
        .zip(1..)
        .map(|(address, seq)| Report::new(&store, address, seq, gone(), 1))
        .collect();
    let shards: std::collections::BTreeSet<ShardId> =
        reports.iter().map(|report| report.delivery.shard).collect();
    assert!(shards.len() > 1, "all in one shard");
    let suppressed = Some(Decision::Suppress { reason: Reason::NoMailbox });
    let first = Taken { first: true, decision: suppressed };
    assert_eq!(take(&store, &reports, 1).await, [first; 4]);
    let again = Taken { first: false, decision: suppressed };
    assert_eq!(take(&store, &reports, 2).await, [again; 4]);
    for address in addresses {
        let listed = store.listing("acme", address).await.unwrap().unwrap();
        assert_eq!((listed.reason.as_str(), listed.evidence.as_str()), ("no-mailbox", "said so"));
    }
    let (accounts, counts) = store.campaign_counts(CAMPAIGN).await.unwrap();
    assert_eq!((accounts.returned, counts.returned_dead), (4, 4));
    let expected = [[ReturnedEvent; 4], [SuppressionAdded; 4]].concat();
    let mut kinds = told(&store).await;
    kinds.sort_by_key(|kind| *kind == SuppressionAdded);
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn several_mails_about_one_address_add_up_whether_they_come_together_or_not() {
    for together in [true, false] {
        let redis = support::Redis::start();
        let store = Store::open(&redis.config()).await.unwrap();
        let reports: Vec<Report> = [(1, 1), (2, 4), (3, 9)]
            .into_iter()
            .map(|(seq, day)| Report::new(&store, "full@one.example", seq, full(), day))
            .collect();
        let decisions: Vec<Decision> = if together {
            let taken = take(&store, &reports, 9).await;
            taken.into_iter().filter_map(|taken| taken.decision).collect()
        } else {
            let mut decisions = Vec::new();
            for report in reports {
                let day = report.at.0 / DAY;
                decisions.extend(take(&store, &[report], day).await[0].decision);
            }
            decisions
        };
        assert!(matches!(decisions[0], Decision::Count { failures: 1, .. }), "{decisions:?}");
        assert_eq!(decisions[2], Decision::Suppress { reason: Reason::RepeatedFailures });
        let (accounts, counts) = store.campaign_counts(CAMPAIGN).await.unwrap();
        assert_eq!((accounts.returned, counts.returned_dead), (3, 0));
        assert_eq!(told(&store).await.len(), 4, "three returns and one suppression");
    }
}

#[tokio::test]
async fn a_crowd_of_mails_about_one_address_is_taken_in_one_go() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let reports: Vec<Report> =
        (1..=40).map(|seq| Report::new(&store, "full@one.example", seq, full(), 1)).collect();
    assert!(take(&store, &reports, 1).await.iter().all(|taken| taken.first));
    assert_eq!(told(&store).await.len(), 40);
    assert!(store.listing("acme", "full@one.example").await.unwrap().is_none(), "all of one day");
}

#[tokio::test]
async fn what_is_enough_is_written_again_where_it_has_ended() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let address = "a@one.example";
    take(&store, &[Report::new(&store, address, 1, gone(), 1)], 1).await;
    // Somebody gave it an end.
    let listed = store.listing("acme", address).await.unwrap().unwrap();
    let ended = SuppressionRecord { expires_at: Some(Timestamp(5 * DAY)), ..listed };
    let history = store.address_history(Some("acme"), address).await.unwrap();
    let change = AddressChange {
        tenant: Some("acme"),
        address,
        history_before: &history,
        history_after: &history,
        listing_before: None,
        suppression: Some(Some(&ended)),
        events: &[],
    };
    assert!(store.change_address(&change).await.unwrap());
    let is_suppressed = async |day| {
        let shard = store.shard_of("one.example");
        let addresses = [address.to_owned()];
        store.suppressed(shard, "acme", &addresses, Timestamp(day * DAY)).await.unwrap()[0]
    };
    assert!(is_suppressed(4).await && !is_suppressed(6).await);
    // Before its end nothing is written anew, after it everything.
    take(&store, &[Report::new(&store, address, 2, gone(), 4)], 4).await;
    assert!(!is_suppressed(6).await);
    take(&store, &[Report::new(&store, address, 3, gone(), 7)], 7).await;
    assert!(is_suppressed(8).await && is_suppressed(800).await);
}

#[tokio::test]
async fn an_address_of_another_shard_than_its_delivery_is_weighed_all_the_same() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let mut report = Report::new(&store, "a@one.example", 1, gone(), 1);
    report.delivery.shard = ShardId((report.delivery.shard.0 + 1) % store.shards());
    let taken = take(&store, &[report], 1).await;
    assert!(taken[0].first);
    assert!(store.listing("acme", "a@one.example").await.unwrap().is_some());
    assert_eq!(told(&store).await.len(), 2);
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_taken_and_each_is_told_so() {
    let mut redis = support::Redis::start();
    let mut config = redis.config();
    config.answer_timeout_ms = 300;
    let store = Store::open(&config).await.unwrap();
    redis.kill();
    let reports: Vec<Report> = ["a@one.example", "b@one.example"]
        .into_iter()
        .zip(1..)
        .map(|(address, seq)| Report::new(&store, address, seq, gone(), 1))
        .collect();
    let mails: Vec<Return<'_>> = reports.iter().map(Report::as_return).collect();
    let taken = store.take_back(&mails, Timestamp(DAY), &Policy::default()).await;
    assert_eq!(taken.len(), 2);
    assert!(taken.iter().all(Result::is_err));
}
