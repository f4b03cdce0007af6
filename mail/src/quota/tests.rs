use proptest::prelude::*;

use super::*;

/// A midnight.
const T0: Timestamp = Timestamp(1_700_006_400_000);
const MINUTE: u64 = 60_000;

fn follows(text: &str) -> Follows {
    let plan = Plan::parse(&format!("title = 'T'\n{text}")).expect("a plan");
    Follows { name: "p".to_owned(), plan }
}

fn most(hour: Option<u64>, day: Option<u64>) -> Ceilings {
    Ceilings { hour, day }
}

#[test]
fn an_hour_and_a_day_have_their_ceilings_and_say_when_there_is_more() {
    let mut quota = Quota::default();
    let ask = Ask { wanted: 80, ceilings: most(Some(100), Some(150)), ..Ask::default() };
    let at = |minutes: u64| Timestamp(T0.0 + minutes * MINUTE);
    let first = quota.take(at(0), &ask);
    assert_eq!((first.granted, first.until), (80, None));
    let second = quota.take(at(1), &ask);
    assert_eq!(second.granted, 20);
    assert_eq!(second.until, Some(at(61)), "the minute of the first lies wholly behind");
    assert_eq!(quota.take(at(60), &ask).granted, 0);
    let of_day = quota.take(at(62), &ask);
    assert_eq!(of_day.granted, 50, "150 in a day");
    let until = of_day.until.expect("nothing is left of the day");
    assert!((24 * 60..=24 * 60 + 15).contains(&(until.since(T0).as_secs() / 60)), "{until:?}");
    assert_eq!(quota.take(until, &ask).granted, 80);
}

#[test]
fn what_was_not_sent_is_there_again_and_a_lower_ceiling_holds_at_once() {
    let mut quota = Quota::default();
    let ask = |wanted, back, hour| Ask {
        wanted,
        back,
        ceilings: most(Some(hour), None),
        ..Ask::default()
    };
    assert_eq!(quota.take(T0, &ask(100, 0, 100)).granted, 100);
    assert_eq!(quota.take(T0, &ask(100, 30, 100)).granted, 30);
    let lowered = quota.take(T0, &ask(1, 0, 10));
    assert_eq!((lowered.granted, lowered.until.is_some()), (0, true));
    let more_than_there_was = quota.take(T0, &ask(0, 1000, 100));
    assert_eq!(more_than_there_was.granted, 0);
    assert_eq!(quota.used(T0), (0, 0));
}

#[test]
fn a_source_follows_its_plan_and_ceilings_stand_above_it() {
    let follows = follows("per = 'day'\nceilings = [10, 20]");
    let mut quota = Quota::default();
    let mut now = T0;
    let mut take = |wanted, hours: u64, hour| {
        now = now + Duration::from_secs(hours * 3600);
        let ceilings = most(hour, None);
        quota.take(now, &Ask { wanted, ceilings, follows: Some(&follows), ..Ask::default() })
    };
    let first = take(50, 0, None);
    assert_eq!((first.granted, first.day, first.turned), (10, Some(1), Some(Turned::Began)));
    let next = take(50, 25, None);
    assert_eq!((next.granted, next.day, next.turned), (20, Some(2), Some(Turned::Rose)));
    let warm = take(50, 25, Some(30));
    assert_eq!((warm.granted, warm.day, warm.turned), (30, None, Some(Turned::Warm)));
    let again = take(50, 31 * 24, None);
    assert_eq!((again.granted, again.turned), (10, Some(Turned::Began)), "a month of silence");
}

#[test]
fn another_plan_begins_anew_and_a_relay_without_one_leaves_the_progress() {
    let one = follows("per = 'hour'\nceilings = [10, 20]");
    let other = Follows { name: "q".to_owned(), ..one.clone() };
    let mut quota = Quota::default();
    let ask = |follows| Ask { wanted: 5, follows, ..Ask::default() };
    quota.take(T0, &ask(Some(&one)));
    let later = T0 + Duration::from_secs(90_000);
    assert_eq!(quota.take(later, &ask(Some(&one))).day, Some(2));
    assert_eq!(quota.take(later, &ask(None)).ceilings, Ceilings::default());
    assert_eq!(quota.take(later, &ask(Some(&one))).day, Some(2));
    let anew = quota.take(later, &ask(Some(&other)));
    assert_eq!((anew.day, anew.turned), (Some(1), Some(Turned::Began)));
}

proptest! {
    /// However relays ask and whenever: no hour and no day, wherever it begins, has more than its
    /// ceiling, and whoever waits until the time that was told is granted something.
    #[test]
    fn no_window_has_more_than_its_ceiling(
        steps in proptest::collection::vec((0u64..40 * MINUTE, 0u64..60), 1..200),
        hour in 1u64..100,
        day in 1u64..400,
    ) {
        let (mut quota, mut now) = (Quota::default(), T0);
        let mut sent: Vec<(u64, u64)> = Vec::new();
        for (pause, wanted) in steps {
            now = Timestamp(now.0 + pause);
            let ask = Ask { wanted, ceilings: most(Some(hour), Some(day)), ..Ask::default() };
            let answer = quota.take(now, &ask);
            sent.push((now.0, answer.granted));
            prop_assert_eq!(answer.until.is_some(), answer.granted < wanted);
            for (span, most) in [(60 * MINUTE, hour), (24 * 60 * MINUTE, day)] {
                let within = sent.iter().filter(|(at, _)| at + span > now.0);
                prop_assert!(within.map(|(_, n)| n).sum::<u64>() <= most);
            }
            if let Some(until) = answer.until {
                prop_assert!(until > now);
                let ask = Ask { wanted: 1, ..ask };
                prop_assert_eq!(quota.clone().take(until, &ask).granted, 1);
            }
        }
    }

    /// A clock that jumps never lets more go at once, and keeps nothing back for longer than two days.
    #[test]
    fn a_clock_that_jumps_does_no_harm(
        steps in proptest::collection::vec((0u64..400_000_000, 0u64..60), 1..60),
        day in 1u64..100,
    ) {
        let mut quota = Quota::default();
        for (at, wanted) in steps {
            let now = Timestamp(T0.0 + at);
            let ask = Ask { wanted, ceilings: most(None, Some(day)), ..Ask::default() };
            prop_assert!(quota.take(now, &ask).granted <= day);
            let much_later = now + Duration::from_secs(2 * 86_400 + 1800);
            let wanted = Ask { wanted: day, ..ask };
            prop_assert_eq!(quota.clone().take(much_later, &wanted).granted, day);
        }
    }
}
