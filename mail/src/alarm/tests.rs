//! Readings one after the other, and what is told of them.

use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn reading(condition: Condition, value: f64) -> Reading {
    Reading { condition, subject: "x".into(), value, says: format!("it is {value}") }
}

/// Looks every ten seconds at these values; what was told, with the second.
fn told(condition: Condition, values: &[f64], silences: &[Silence]) -> Vec<(u64, What)> {
    let mut book = Book::default();
    let mut told = Vec::new();
    for (n, value) in values.iter().enumerate() {
        let now = Timestamp(n as u64 * 10_000);
        let news = book.look(&[reading(condition, *value)], Condition::ALL, silences, DAY, now);
        told.extend(news.into_iter().map(|news| (now.secs(), news.what)));
    }
    told
}

fn silence(until_s: u64) -> Silence {
    Silence {
        id: 1,
        condition: Some(Condition::OutboxFull),
        subject: String::new(),
        until: Timestamp(until_s * 1000),
        by: "ann".into(),
        why: "known".into(),
        at: Timestamp(0),
    }
}

#[test]
fn an_alarm_is_raised_once_after_its_time_and_cleared_once_after_its_own() {
    let values = [vec![0.95; 30], vec![0.5; 30]].concat();
    let expected = [(120, What::Raised), (300 + 120, What::Cleared)];
    assert_eq!(told(Condition::OutboxFull, &values, &[]), expected);
    // Low values are bad of others.
    let values = [vec![0.01; 30], vec![0.5; 30]].concat();
    assert_eq!(told(Condition::DiskFull, &values, &[]), expected);
}

#[test]
fn what_flutters_about_a_bound_is_told_once() {
    let fluttering: Vec<f64> = (0..300).map(|n| if n % 2 == 0 { 0.91 } else { 0.89 }).collect();
    assert_eq!(told(Condition::OutboxFull, &fluttering, &[]).len(), 1);
    let short: Vec<f64> = (0..300).map(|n| if n % 5 == 0 { 0.91 } else { 0.5 }).collect();
    assert_eq!(told(Condition::OutboxFull, &short, &[]), []);
}

#[test]
fn what_is_silenced_is_told_when_the_silence_is_over_and_it_still_is_so() {
    let bad = vec![0.95; 100];
    assert_eq!(told(Condition::OutboxFull, &bad, &[silence(500)]), [(500, What::Raised)]);
    let over = [vec![0.95; 30], vec![0.1; 70]].concat();
    assert_eq!(told(Condition::OutboxFull, &over, &[silence(500)]), []);
    // Another condition is not covered.
    assert_eq!(told(Condition::OutboxFilling, &bad, &[silence(5000)]).len(), 1);
}

#[test]
fn what_lasts_is_told_again_and_what_is_gone_is_cleared() {
    let mut book = Book::default();
    let mut told = Vec::new();
    for minute in 0..3 * 1440 {
        let readings = [reading(Condition::NoRelay, 0.0)];
        let seen = if minute < 2 * 1440 + 5 { &readings[..] } else { &[] };
        let news = book.look(seen, Condition::ALL, &[], DAY, Timestamp(minute * 60_000));
        told.extend(news.into_iter().map(|news| (minute, news.what, news.id())));
    }
    let what: Vec<What> = told.iter().map(|(_, what, _)| *what).collect();
    assert_eq!(what, [What::Raised, What::Reminded, What::Reminded, What::Cleared]);
    assert_eq!(told[0].2, "NoRelay-x-raised-180");
    assert!(book.alarms().is_empty());
}

#[test]
fn who_sees_nothing_of_it_says_nothing_of_it() {
    let mut book = Book::default();
    for n in 0..100 {
        let (bad, now) = ([reading(Condition::OutboxFull, 0.95)], Timestamp(n * 10_000));
        let seen = if n < 30 { &bad[..] } else { &[] };
        let looked_at = if n < 30 { Condition::ALL } else { &[Condition::DiskLow] };
        let news = book.look(seen, looked_at, &[], DAY, now);
        assert_eq!(news.len(), usize::from(n == 12));
    }
    assert!(book.alarms()[0].is_raised());
}

#[test]
fn rules_leave_room_between_their_bounds() {
    for condition in Condition::ALL {
        let rule = condition.rule();
        assert!(rule.raise != rule.clear, "{condition}");
        assert_eq!(rule.is_high_bad, rule.clear < rule.raise, "{condition}");
    }
}

#[test]
fn time_that_nobody_watched_and_a_clock_set_back_raise_and_hold_nothing() {
    let (mut book, bad) = (Book::default(), [reading(Condition::OutboxFull, 0.95)]);
    let look = |book: &mut Book, second: u64| {
        book.look(&bad, Condition::ALL, &[], DAY, Timestamp(second * 1000)).len()
    };
    assert_eq!(look(&mut book, 1000), 0);
    book.begin_anew(Timestamp(5_000_000));
    assert_eq!(look(&mut book, 5000), 0, "nobody knows how it was meanwhile");
    assert_eq!(look(&mut book, 5120), 1);
    let mut book = Book::default();
    assert_eq!(look(&mut book, 90_000), 0);
    assert_eq!(look(&mut book, 10), 0);
    assert_eq!(look(&mut book, 130), 1, "the clock was wrong before");
}

#[test]
fn who_was_told_that_it_began_hears_that_it_is_over_through_a_silence() {
    let (mut book, mut told) = (Book::default(), Vec::new());
    for n in 0..60 {
        let silences = if n > 20 { vec![silence(5000)] } else { Vec::new() };
        let value = if n < 30 { 0.95 } else { 0.1 };
        let seen = [reading(Condition::OutboxFull, value)];
        let now = Timestamp(n * 10_000);
        told.extend(book.look(&seen, Condition::ALL, &silences, DAY, now));
    }
    let what: Vec<What> = told.iter().map(|news| news.what).collect();
    assert_eq!(what, [What::Raised, What::Cleared]);
}

proptest! {
    /// Whatever is measured and silenced: raised and cleared take turns, beginning with raised, and a
    /// book that was written down and read again goes on as if nothing had been.
    #[test]
    fn raised_and_cleared_take_turns(
        runs in prop::collection::vec((0..100u32, 1..12usize, any::<bool>()), 0..40),
    ) {
        let (mut book, mut is_raised, mut n) = (Book::default(), false, 0);
        for (hundredths, length, is_silent) in runs {
            let value = f64::from(hundredths) / 100.0;
            let silences = if is_silent { vec![silence(u64::MAX / 1000)] } else { Vec::new() };
            for _ in 0..length {
                n += 1;
                let seen = [reading(Condition::OutboxFull, value)];
                let now = Timestamp(n * 30_000);
                for news in book.look(&seen, Condition::ALL, &silences, DAY, now) {
                    prop_assert_eq!(news.what == What::Cleared, is_raised);
                    is_raised = !is_raised;
                }
                let written = serde_json::to_string(&book).expect("written");
                let read: Book = serde_json::from_str(&written).expect("read");
                prop_assert_eq!(&read, &book);
                book = read;
            }
        }
    }
}
