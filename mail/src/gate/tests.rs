use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn gates() -> Gates {
    Gates::new(&Config::default()).expect("the defaults")
}

fn counts(accepted: u64, delivered: u64, dead: u64, complained: u64) -> Counts {
    Counts { accepted, delivered, dead, returned_dead: 0, complained }
}

fn level(counts: &Counts) -> Option<(Gate, Level)> {
    gates().judge(counts).map(|found| (found.gate, found.level))
}

#[test]
fn a_list_that_is_a_fifth_dead_is_stopped_after_the_canary_and_not_before() {
    assert_eq!(level(&counts(10_000, 159, 40, 0)), None, "199 answered");
    let found = gates().judge(&counts(10_000, 160, 40, 0)).expect("stopped");
    assert_eq!((found.gate, found.level), (Gate::Bounces, Level::Pause));
    assert_eq!(
        found.to_string(),
        "40 of 200 addresses that answered are dead (20 %), surely more than 10 %"
    );
}

#[test]
fn a_share_must_surely_be_over_the_line() {
    // 12 % of 200 may be 10 % in truth; of 2000 it is not.
    assert_eq!(level(&counts(1000, 176, 24, 0)), Some((Gate::Bounces, Level::Warn)));
    assert_eq!(level(&counts(1000, 1760, 240, 0)), Some((Gate::Bounces, Level::Pause)));
    // One complaint of 300 is chance, three are not, ten are too many.
    assert_eq!(level(&counts(1000, 300, 0, 1)), None);
    assert_eq!(level(&counts(1000, 300, 0, 3)), Some((Gate::Complaints, Level::Warn)));
    assert_eq!(level(&counts(1000, 300, 0, 10)), Some((Gate::Complaints, Level::Pause)));
}

#[test]
fn what_comes_back_later_counts_like_what_was_refused() {
    let late = Counts { returned_dead: 40, ..counts(10_000, 200, 0, 0) };
    assert_eq!(level(&late), Some((Gate::Bounces, Level::Pause)));
}

#[test]
fn the_canary_grows_with_the_campaign_within_its_bounds() {
    let all = [(0, 200), (100, 200), (50_000, 500), (1_000_000, 2000)];
    for (accepted, canary) in all {
        assert_eq!(gates().canary(accepted), canary, "{accepted}");
    }
    assert_eq!(level(&counts(150, 0, 150, 0)), None, "smaller than any canary");
}

#[test]
fn only_dead_addresses_are_held_against_a_list() {
    let dead: Vec<&str> =
        Category::ALL.iter().filter(|c| is_dead(**c, Hygiene::Count)).map(|c| c.as_str()).collect();
    assert_eq!(dead, ["no-mailbox", "moved", "mailbox-disabled"]);
    assert!(!is_dead(Category::NoMailbox, Hygiene::None));
}

#[test]
fn who_lets_it_go_on_is_not_contradicted_by_what_he_knew() {
    let bad = counts(10_000, 160, 40, 0);
    let Step::Pause(paused, note) = Memory::default().step(&gates(), &bad, NOW) else {
        panic!("not paused")
    };
    assert_eq!(paused.pause(), Some(&note));
    // What was under way comes in meanwhile; then somebody lets it go on.
    let meanwhile = counts(10_000, 170, 50, 0);
    let Step::Resumed(resumed) = paused.step(&gates(), &meanwhile, NOW) else {
        panic!("not resumed")
    };
    assert_eq!((resumed.pause(), resumed.base), (None, meanwhile));
    assert_eq!(resumed.step(&gates(), &meanwhile, NOW), Step::Nothing);
    let a_little_more = counts(10_000, 200, 199, 0);
    assert_eq!(resumed.step(&gates(), &a_little_more, NOW), Step::Nothing, "no canary since");
    let better = counts(10_000, 1170, 60, 0);
    assert_eq!(resumed.step(&gates(), &better, NOW), Step::Nothing);
    // As bad as before among what came since.
    let Step::Pause(again, note) = resumed.step(&gates(), &counts(10_000, 330, 90, 0), NOW) else {
        panic!("not paused again")
    };
    assert!(note.reason.starts_with("40 of 200 ") && note.reason.ends_with(" it was resumed"));
    assert_eq!(again.found.len(), 2);
}

#[test]
fn a_warning_is_given_once() {
    let worrying = counts(10_000, 185, 15, 0);
    let worrying = Counts { delivered: worrying.delivered * 10, dead: 150, ..worrying };
    let Step::Warn(warned, note) = Memory::default().step(&gates(), &worrying, NOW) else {
        panic!("not warned")
    };
    assert_eq!((note.level, warned.pause()), (Level::Warn, None));
    assert_eq!(warned.step(&gates(), &worrying, NOW), Step::Nothing);
    let bad = Counts { dead: 600, ..worrying };
    assert!(matches!(warned.step(&gates(), &bad, NOW), Step::Pause(..)));
}

#[test]
fn gates_that_are_off_stop_nothing() {
    let off = Gates::new(&Config { enabled: false, ..Config::default() }).expect("gates");
    assert_eq!(off.judge(&counts(10_000, 0, 5000, 0)), None);
}

#[test]
fn absurd_gates_are_refused_in_words() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Gates::new(&config).expect_err("refused").to_string()
    };
    assert_eq!(
        refused(|c| c.bounces_warn = 5.0),
        "bounces_warn 5 and bounces_pause 0.1 must rise from above 0 to 1: they are shares, 0.05 being 5 %"
    );
    assert!(refused(|c| c.complaints_pause = 0.0).starts_with("complaints_warn 0.001"));
    assert!(refused(|c| c.bounces_pause = f64::NAN).starts_with("bounces_warn"));
    assert!(refused(|c| c.canary_share = 1.5).starts_with("canary_share 1.5"));
    assert!(refused(|c| c.canary_share = f64::NAN).starts_with("canary_share NaN"));
    assert!(refused(|c| c.canary_min = 3).starts_with("canary_min 3"));
    assert!(refused(|c| c.canary_max = 100).starts_with("canary_min 200 and canary_max 100"));
}

#[test]
fn a_memory_survives_its_storage_and_one_from_before_reads() {
    let bad = counts(10_000, 160, 40, 0);
    let Step::Pause(paused, _) = Memory::default().step(&gates(), &bad, NOW) else { panic!() };
    let text = serde_json::to_string(&paused).expect("json");
    assert_eq!(serde_json::from_str::<Memory>(&text).expect("a memory"), paused);
    assert_eq!(serde_json::from_str::<Memory>("{}").expect("a memory"), Memory::default());
}

fn any_counts() -> impl Strategy<Value = Counts> {
    (1u64..2_000_000, 0u64..5000, 0u64..5000, 0u64..5000, 0u64..5000).prop_map(
        |(accepted, delivered, dead, returned_dead, complained)| Counts {
            accepted,
            delivered,
            dead,
            returned_dead: returned_dead.min(delivered),
            complained: complained.min(delivered),
        },
    )
}

/// How bad it is, in one number.
fn gravity(counts: &Counts) -> u8 {
    match gates().judge(counts).map(|found| found.level) {
        None => 0,
        Some(Level::Warn) => 1,
        Some(Level::Pause) => 2,
    }
}

proptest! {
    #[test]
    fn nobody_is_stopped_below_the_canary(counts in any_counts()) {
        if counts.delivered + counts.dead < gates().canary(counts.accepted) {
            prop_assert_eq!(gates().judge(&counts), None);
        }
    }

    #[test]
    fn nobody_is_stopped_below_the_line(counts in any_counts()) {
        if let Some(found) = gates().judge(&counts) {
            prop_assert!(found.bad as f64 / found.of as f64 > found.line, "{}", found);
        }
    }

    #[test]
    fn worse_news_never_help_and_better_never_hurt(counts in any_counts(), more in 1u64..500) {
        let worse = Counts { dead: counts.dead + more, ..counts };
        prop_assert!(gravity(&worse) >= gravity(&counts));
        let canary = gates().canary(counts.accepted);
        if counts.delivered >= canary {
            let better = Counts { delivered: counts.delivered + more, ..counts };
            prop_assert!(gravity(&better) <= gravity(&counts));
            let room = counts.delivered - counts.complained;
            let worse = Counts { complained: counts.complained + more.min(room), ..counts };
            prop_assert!(gravity(&worse) >= gravity(&counts));
        }
    }

    #[test]
    fn whoever_counts_the_parts_finds_the_same(parts in prop::collection::vec(any_counts(), 1..6), seed: usize) {
        let sum = |parts: &[Counts]| parts.iter().fold(Counts::default(), |sum, p| sum.plus(p));
        let mut turned = parts.clone();
        turned.rotate_left(seed % parts.len());
        prop_assert_eq!(gates().judge(&sum(&parts)), gates().judge(&sum(&turned)));
    }
}
