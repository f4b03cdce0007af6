//! What relays count of their TLS sessions adds up, and each report is for one of them.

use std::time::Duration;

use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyKind, ResultType};
use mail::{Domain, Timestamp};
use store::{Store, TlsCounted, TlsReportState};

use crate::support;
use crate::topologies;

const LEASE: Duration = Duration::from_secs(900);

/// Redis forgets by its own clock, so days are those around now.
fn today() -> Day {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Day::of(Timestamp(since.as_millis() as u64))
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

fn policy(n: usize) -> Policy {
    Policy::tlsa([format!("3 1 1 {n:04}")])
}

fn failure(n: usize) -> Failure {
    Failure { mx: format!("mx{n}.example"), ..Failure::bare(ResultType::CertificateExpired) }
}

fn some(failures: usize) -> Counts {
    let mut counts = Counts::default();
    counts.count(policy(0), None);
    counts.count(Policy::bare(PolicyKind::NoPolicyFound), None);
    (0..failures).for_each(|n| counts.count(policy(0), Some(failure(n))));
    counts
}

async fn count(store: &Store, day: Day, name: &str, counts: &Counts) {
    let domain = domain(name);
    let due = day.end() + Duration::from_secs(60);
    let answers = store.count_tls(&[TlsCounted { day, domain: &domain, counts, due }]).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()));
}

#[tokio::test]
async fn the_counts_of_two_relays_add_up() {
    let redis = support::Redis::start();
    let one = Store::open(&redis.config()).await.unwrap();
    let other = Store::open(&redis.config()).await.unwrap();
    let day = today();
    let names: Vec<Domain> = (0..50).map(|n| domain(&format!("d{n}.example"))).collect();
    let counts = some(3);
    let due = day.end();
    let all: Vec<TlsCounted<'_>> =
        names.iter().map(|domain| TlsCounted { day, domain, counts: &counts, due }).collect();
    for store in [&one, &other, &one] {
        assert!(store.count_tls(&all).await.into_iter().all(|answer| answer.unwrap()));
    }
    let mut thrice = counts.clone();
    (0..2).for_each(|_| thrice.merge(counts.clone()));
    assert_eq!(other.tls_counts(day, &names).await.unwrap(), vec![thrice.clone(); 50]);
    let told = other.tls_domains(day).await.unwrap();
    assert_eq!(told.len(), 50);
    assert!(told.iter().all(|(_, state)| *state == TlsReportState::default()));
    let found = other.tls_day(day, &names[7]).await.unwrap().unwrap();
    assert_eq!(found.counts, thrice);
    assert_eq!(other.tls_day(day.before(), &names[7]).await.unwrap(), None);
    assert_eq!(other.tls_day(day, &domain("none.example")).await.unwrap(), None);
}

#[tokio::test]
async fn a_claim_is_exclusive_and_is_taken_over_when_it_runs_out() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let day = today().before();
    for name in ["a.example", "b.example", "c.example"] {
        count(&store, day, name, &some(1)).await;
    }
    let shards: Vec<_> = store.all_shards().collect();
    let claim_all = async |now: Timestamp| {
        let mut claimed = Vec::new();
        loop {
            let more = store.claim_tls_reports(&shards, now, LEASE).await.unwrap();
            if more.is_empty() {
                break;
            }
            claimed.extend(more.into_iter().map(|(of, domain)| {
                assert_eq!(of, day);
                domain.to_string()
            }));
        }
        claimed.sort_unstable();
        claimed
    };
    let due = day.end() + Duration::from_secs(60);
    assert!(claim_all(day.end()).await.is_empty(), "before their time nobody has them");
    let all = ["a.example", "b.example", "c.example"];
    assert_eq!(claim_all(due).await, all);
    assert!(claim_all(due + LEASE / 2).await.is_empty(), "nobody else has them meanwhile");
    let sent = TlsReportState { attempts: 1, ended_at: Some(due), ..TlsReportState::default() };
    store.tls_reported(day, &domain("a.example"), &sent).await.unwrap();
    let later = due + LEASE * 10;
    let put_off = TlsReportState { attempts: 1, next_at: Some(later), ..TlsReportState::default() };
    store.tls_reported(day, &domain("b.example"), &put_off).await.unwrap();
    assert_eq!(claim_all(due + LEASE).await, ["c.example"], "its relay is dead");
    assert_eq!(claim_all(later).await, ["b.example", "c.example"]);
    let told = store.tls_domains(day).await.unwrap();
    assert_eq!(told[0], (domain("a.example"), sent.clone()));
    assert_eq!(told[1], (domain("b.example"), put_off));
    // What is counted after the report has gone is seen, and no second report.
    count(&store, day, "a.example", &some(1)).await;
    assert!(!claim_all(later + LEASE * 2).await.contains(&"a.example".to_owned()));
    let found = store.tls_day(day, &domain("a.example")).await.unwrap().unwrap();
    assert_eq!((found.state, found.counts.failed()), (sent, 2));
}

#[tokio::test]
async fn counts_of_domains_on_several_servers_are_told_and_read_together() {
    let cluster = topologies::cluster::Cluster::start().await;
    let store = Store::open(&cluster.config()).await.unwrap();
    let (day, counts) = (today().before(), some(2));
    let names: Vec<Domain> = (0..60).map(|n| domain(&format!("d{n}.example"))).collect();
    let due = day.end();
    let all: Vec<TlsCounted<'_>> =
        names.iter().map(|domain| TlsCounted { day, domain, counts: &counts, due }).collect();
    assert!(store.count_tls(&all).await.into_iter().all(|answer| answer.unwrap()));
    assert_eq!(store.tls_counts(day, &names).await.unwrap(), vec![counts; 60]);
    assert_eq!(store.tls_domains(day).await.unwrap().len(), 60);
    let shards: Vec<_> = store.all_shards().collect();
    let mut claimed = 0;
    loop {
        match store.claim_tls_reports(&shards, due, LEASE).await.unwrap().len() {
            0 => break,
            more => claimed += more,
        }
    }
    assert_eq!(claimed, 60);
}

#[tokio::test]
async fn however_much_many_relays_count_a_domains_record_is_bounded_and_its_sums_are_right() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let day = today();
    for relay in 0..60 {
        let mut counts = Counts::default();
        counts.count(policy(relay), None);
        (0..80).for_each(|n| counts.count(policy(relay), Some(failure(relay * 1000 + n))));
        count(&store, day, "a.example", &counts).await;
    }
    let client = redis_client(&redis);
    let key = format!("{{mp:{}}}:tlsrpt:{day}:a.example", store.shard_of("a.example").0);
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let fields: u64 = redis::cmd("HLEN").arg(&key).query_async(&mut conn).await.unwrap();
    assert!((2000..2200).contains(&fields), "{fields}");
    let left_ms: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut conn).await.unwrap();
    let days = Duration::from_millis(left_ms as u64).as_secs_f64() / 86_400.0;
    assert!((4.0..=5.0).contains(&days), "{days}");
    let counts = &store.tls_counts(day, &[domain("a.example")]).await.unwrap()[0];
    assert_eq!((counts.successes(), counts.failed()), (60, 60 * 80));
}

fn redis_client(redis: &support::Redis) -> redis::Client {
    redis::Client::open(redis.url()).unwrap()
}

#[tokio::test]
async fn a_newer_programs_record_is_left_alone() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let day = today();
    count(&store, day, "a.example", &some(1)).await;
    let key = format!("{{mp:{}}}:tlsrpt:{day}", store.shard_of("a.example").0);
    let mut conn = redis_client(&redis).get_multiplexed_async_connection().await.unwrap();
    let newer: &[u8] = &[9, 1, 2, 3];
    let _: () = redis::cmd("HSET")
        .arg(&key)
        .arg("a.example")
        .arg(newer)
        .query_async(&mut conn)
        .await
        .unwrap();
    let error = store.tls_day(day, &domain("a.example")).await.unwrap_err();
    assert!(matches!(error, store::StoreError::Newer { version: 9, .. }), "{error}");
}
