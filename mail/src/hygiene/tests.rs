use proptest::prelude::*;

use super::*;
use crate::id::ShardId;

const DAY: u64 = 86_400_000;
const START: u64 = 1_000 * DAY;

fn news(seq: u64, day: u64, what: What) -> News {
    let delivery = DeliveryId { shard: ShardId(0), seq };
    News { delivery, at: Timestamp(START + day * DAY), what }
}

fn failed(category: Category) -> What {
    let hygiene = match category {
        Category::NoMailbox | Category::Moved => Hygiene::Suppress,
        Category::ReputationBlock => Hygiene::None,
        _ => Hygiene::Count,
    };
    What::Failed { category, hygiene }
}

fn after(all: &[News]) -> Decision {
    let mut record = AddressRecord::default();
    for news in all {
        record.note(news);
    }
    let last = all.iter().map(|n| n.at).max().unwrap_or_default();
    record.verdict(last, &Policy::default())
}

fn suppressed(reason: Reason) -> Decision {
    Decision::Suppress { reason }
}

#[test]
fn a_missing_mailbox_ends_at_once_and_a_block_never() {
    assert_eq!(after(&[news(1, 0, failed(Category::NoMailbox))]), suppressed(Reason::NoMailbox));
    let blocked: Vec<News> =
        (0..50).map(|i| news(i, i, failed(Category::ReputationBlock))).collect();
    assert_eq!(after(&blocked), Decision::Keep);
}

#[test]
fn settings_that_would_never_or_always_suppress_are_refused() {
    let wrong = |policy: Policy| policy.check().expect_err("refused");
    let good = Policy::default();
    assert_eq!(good.check(), Ok(()));
    assert_eq!(
        Policy { soft_failures: 8, dead_failures: 1, dead_hours: 0, ..good }.check(),
        Ok(())
    );
    assert_eq!(wrong(Policy { soft_failures: 1, ..good }), "soft_failures is 1: 2 to 8");
    assert_eq!(wrong(Policy { dead_failures: 9, ..good }), "dead_failures is 9: 1 to 8");
    assert_eq!(wrong(Policy { memory_days: 0, ..good }), "memory_days is 0: 1 to 3650");
    assert!(wrong(Policy { memory_days: 7, ..good }).contains("soft_days (7)"));
    assert!(wrong(Policy { dead_failures: 1, ..good }).contains("set dead_hours = 0"));
    assert!(
        wrong(Policy { soft_days: 0, memory_days: 1, dead_hours: 24, ..good }).contains("(24)")
    );
}

#[test]
fn even_the_strictest_number_is_remembered_where_each_counts_half() {
    let policy = Policy { soft_failures: 8, soft_days: 30, ..Policy::default() };
    let mut record = AddressRecord::default();
    // Two a day, for three months.
    for n in 0..180 {
        record.note(&news(n, n / 2, failed(Category::Undetermined)));
    }
    let verdict = record.verdict(Timestamp(START + 90 * DAY), &policy);
    assert_eq!(verdict, suppressed(Reason::RepeatedFailures));
}

#[test]
fn soft_failures_need_number_and_time() {
    let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
    assert!(matches!(after(&[full(1, 0), full(2, 9)]), Decision::Count { failures: 2, .. }));
    assert!(matches!(after(&[full(1, 0), full(2, 1), full(3, 2)]), Decision::Count { .. }));
    let enough = [full(1, 0), full(2, 3), full(3, 7)];
    assert_eq!(after(&enough), suppressed(Reason::RepeatedFailures));
    let unclear = |seq, day| news(seq, day, failed(Category::Undetermined));
    assert!(matches!(
        after(&[unclear(1, 0), unclear(2, 9), unclear(3, 20)]),
        Decision::Count { .. }
    ));
}

#[test]
fn a_report_that_is_read_again_is_no_later_failure() {
    let gone = |seq, day| news(seq, day, failed(Category::NoDomain));
    let again = [gone(1, 0), gone(2, 0), gone(1, 5), gone(2, 9)];
    assert!(matches!(after(&again), Decision::Count { failures: 2, .. }));
    let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
    let again = [full(1, 0), full(2, 0), full(3, 0), full(3, 8)];
    assert!(matches!(after(&again), Decision::Count { failures: 3, .. }));
}

#[test]
fn a_dead_domain_needs_a_day_between() {
    let gone = |seq, day| news(seq, day, failed(Category::NoDomain));
    assert!(matches!(after(&[gone(1, 0), gone(2, 0)]), Decision::Count { .. }));
    assert_eq!(after(&[gone(1, 0), gone(2, 1)]), suppressed(Reason::NoDomain));
}

#[test]
fn a_delivery_forgives_soft_failures_unless_it_came_back() {
    let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
    let all = [full(1, 0), full(2, 3), news(3, 5, What::Delivered), full(4, 7)];
    assert!(matches!(after(&all), Decision::Count { failures: 1, .. }));
    let returned = [full(1, 0), full(2, 3), news(4, 5, What::Delivered), full(4, 7)];
    assert_eq!(after(&returned), suppressed(Reason::RepeatedFailures));
}

#[test]
fn a_complaint_is_stronger_than_a_bounce() {
    let all = [news(1, 0, What::Complained), news(2, 1, failed(Category::NoMailbox))];
    assert_eq!(after(&all), suppressed(Reason::Complaint));
}

#[test]
fn old_failures_are_forgotten() {
    let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
    assert!(matches!(
        after(&[full(1, 0), full(2, 100), full(3, 101)]),
        Decision::Count { failures: 2, .. }
    ));
}

#[test]
fn a_record_survives_its_storage() {
    let mut record = AddressRecord::default();
    record.note(&news(1, 0, failed(Category::MailboxFull)));
    record.note(&news(2, 1, What::Delivered));
    let text = serde_json::to_string(&record).expect("json");
    assert_eq!(serde_json::from_str::<AddressRecord>(&text).expect("a record"), record);
    assert!(!record.is_newer_than_this_program());
}

fn any_what() -> impl Strategy<Value = What> {
    prop_oneof![
        Just(What::Delivered),
        Just(What::Unsubscribed),
        Just(failed(Category::MailboxFull)),
        Just(failed(Category::NoDomain)),
        Just(failed(Category::Undetermined)),
        Just(failed(Category::ReputationBlock)),
    ]
}

proptest! {
    #[test]
    fn the_verdict_depends_on_neither_order_nor_repetition(
        all in prop::collection::vec((0u64..6, 0u64..30, any_what()), 1..12),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        seed: u64,
    ) {
        let all: Vec<News> = all.iter().map(|(seq, day, what)| news(*seq, *day, *what)).collect();
        let mut shuffled = all.clone();
        shuffled.extend(repeated.iter().map(|i| all[i.index(all.len())]));
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(after(&all), after(&shuffled));
    }
}
