use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Phase;
use crate::category::Category;
use crate::classify::{Said, Signal, classify};
use crate::id::CampaignId;
use crate::time::Timestamp;

const T0: Timestamp = Timestamp(1_700_000_000_000);
const SITE: &str = "mx.example.net";

fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn key(kind: Kind, name: &str) -> Key {
    Key { kind, name: name.into(), site: SITE.into() }
}

fn hold() -> Hold {
    Hold::new(key(Kind::SenderDomain, "news.example"), "acme", T0)
}

fn news(said: u32, passed: u32, cause: Cause) -> News<'static> {
    News { said, passed, cause: Some(cause), answer: "421 4.7.28 your DKIM domain" }
}

fn config() -> Config {
    Config::default()
}

fn mail<'a>(links: &'a [String]) -> Mail<'a> {
    Mail { sender: "news.example", tenant: "acme", campaign: CampaignId(7), links }
}

fn found(line: &str, links: &[String]) -> Option<(String, Cause)> {
    let found = classify(&Said::from_line(Phase::Dot, line));
    let blame = blame(found.signal, found.category, &mail(links), SITE, line)?;
    Some((blame.key.to_string(), blame.cause))
}

#[test]
fn an_answer_is_held_against_what_it_names_and_nothing_else() {
    let links = ["shop.example".to_owned()];
    let sender = "sender-domain news.example at mx.example.net";
    let cases = [
        (
            "421 4.7.28 unusual rate of unsolicited mail originating from your DKIM domain",
            sender,
            Cause::Quota,
        ),
        (
            "421 4.7.28 unusual rate of mail originating from your SPF domain [x]",
            sender,
            Cause::Quota,
        ),
        (
            "421 4.7.0 suspicious due to the very low reputation of the sending domain",
            sender,
            Cause::Reputation,
        ),
        (
            "550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy",
            sender,
            Cause::Auth,
        ),
        (
            "421 4.7.28 unusual rate of mail containing one of your URL domains",
            "link-domain shop.example at mx.example.net",
            Cause::Quota,
        ),
        (
            "554 5.7.1 Message rejected as spam by content filter",
            "campaign c7 at mx.example.net",
            Cause::Content,
        ),
    ];
    for (line, blamed, cause) in cases {
        assert_eq!(found(line, &links), Some((blamed.to_owned(), cause)), "{line}");
    }
    for line in [
        "421 4.7.28 unusual rate of unsolicited mail originating from your IP address",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly.",
        "550 5.1.1 user unknown",
        "554 5.7.1 blocked using zen.spamhaus.org",
        "451 Sender rate limit exceeded, please try again later",
    ] {
        assert_eq!(found(line, &links), None, "{line}");
    }
}

#[test]
fn a_link_that_is_not_named_is_the_campaigns_unless_there_is_only_one() {
    let line = "421 4.7.28 unusual rate of mail containing one of your URL domains";
    let two = ["shop.example".to_owned(), "img.shop.example".to_owned()];
    let campaign = Some(("campaign c7 at mx.example.net".to_owned(), Cause::LinkQuota));
    assert_eq!(found(line, &two), campaign);
    assert_eq!(found(line, &[]), campaign);
    let named = format!("{line} [img.shop.example 36]");
    let link = Some(("link-domain img.shop.example at mx.example.net".to_owned(), Cause::Quota));
    assert_eq!(found(&named, &two), link, "a name within another name is not named");
}

#[test]
fn three_answers_and_a_share_hold_and_less_does_not() {
    let mut one = hold();
    assert_eq!(one.hear(&config(), at(1), &news(2, 0, Cause::Quota)), None);
    assert_eq!(one.hear(&config(), at(2), &news(1, 30, Cause::Quota)), None, "one in ten");
    assert_eq!(one.hear(&config(), at(3), &news(6, 0, Cause::Quota)), Some(Change::Set));
    assert_eq!(one.standing(at(3)), Standing::Held(at(303)));
    assert_eq!(one.standing(at(303)), Standing::Trial);
    assert_eq!(one.reason, "9 of 39 answers within 3 s say that its quota there is used up");
    let mut slowly = hold();
    for minute in 0..20 {
        let said = slowly.hear(&config(), at(minute * 61), &news(1, 0, Cause::Quota));
        assert_eq!(said, None, "one a minute");
    }
    let mut filtered = hold();
    let said = filtered.hear(&config(), at(1), &news(10, 30, Cause::Content));
    assert_eq!(said, None, "a filter that refuses a quarter");
}

#[test]
fn a_hold_ends_by_a_trial_or_lasts_twice_as_long() {
    let mut one = hold();
    one.hear(&config(), at(0), &news(3, 0, Cause::Quota));
    assert_eq!(one.hear(&config(), at(10), &news(50, 0, Cause::Quota)), None, "it was on its way");
    assert_eq!(one.hear(&config(), at(301), &news(1, 0, Cause::Quota)), Some(Change::Again));
    assert_eq!(one.standing(at(302)), Standing::Held(at(901)));
    assert_eq!(one.hear(&config(), at(902), &news(0, 2, Cause::Quota)), None);
    assert_eq!(one.hear(&config(), at(903), &news(0, 1, Cause::Quota)), Some(Change::Lifted));
    assert_eq!(one.standing(at(903)), Standing::Free);
    // Soon after it is the same trouble; the next day another one.
    let mut soon = one.clone();
    assert_eq!(soon.hear(&config(), at(1000), &news(3, 0, Cause::Quota)), Some(Change::Set));
    assert_eq!(soon.standing(at(1000)), Standing::Held(at(2200)));
    assert_eq!(one.hear(&config(), at(90_000), &news(3, 0, Cause::Quota)), Some(Change::Set));
    assert_eq!(one.standing(at(90_000)), Standing::Held(at(90_300)));
}

#[test]
fn what_a_person_let_go_is_not_held_again_at_once() {
    let mut one = hold();
    one.hear(&config(), at(0), &news(3, 0, Cause::Quota));
    one.cancel(at(5), Duration::from_secs(3600));
    assert_eq!(one.standing(at(5)), Standing::Free);
    assert_eq!(one.hear(&config(), at(3604), &news(99, 0, Cause::Quota)), None);
    assert!(!one.is_forgotten(&config(), at(3604)), "the respite is remembered");
    assert!(one.is_forgotten(&config(), at(3605)));
    assert_eq!(one.hear(&config(), at(3605), &news(3, 0, Cause::Quota)), Some(Change::Set));
}

#[test]
fn what_nobody_speaks_of_any_more_is_forgotten() {
    let mut one = hold();
    one.hear(&config(), at(0), &news(1, 0, Cause::Quota));
    assert!(one.is_watched(&config(), at(60)) && !one.is_forgotten(&config(), at(60)));
    assert!(one.is_forgotten(&config(), at(61)));
    one.hear(&config(), at(61), &news(3, 0, Cause::Quota));
    assert!(!one.is_forgotten(&config(), at(400)), "on trial");
    assert!(one.is_forgotten(&config(), at(90_000)), "nobody came to it");
}

#[test]
fn three_sender_domains_of_a_tenant_hold_the_tenant_there() {
    let of = |name: &str, site: &str| {
        let key = Key { kind: Kind::SenderDomain, name: name.into(), site: site.into() };
        let mut hold = Hold::new(key, "acme", T0);
        hold.hear(&config(), at(0), &news(3, 0, Cause::Quota));
        hold
    };
    let mut all = vec![of("a.example", SITE), of("b.example", SITE), of("c.example", "elsewhere")];
    assert_eq!(tenant_hold(&all, &all[0], at(1)), None);
    all.push(of("d.example", SITE));
    let tenant = tenant_hold(&all, &all[0], at(1)).expect("held");
    assert_eq!(tenant.key, key(Kind::Tenant, "acme"));
    assert_eq!(tenant.standing(at(1)), Standing::Held(at(300)));
    assert_eq!(
        tenant.reason,
        "3 of its sender domains are held there: a.example, b.example, d.example"
    );
    all.push(tenant);
    assert_eq!(tenant_hold(&all, &all[0], at(2)), None, "once");
    let last = all.len() - 1;
    all[last].cancel(at(3), Duration::from_secs(60));
    assert_eq!(tenant_hold(&all, &all[0], at(4)), None, "a person has let it go");
    assert!(tenant_hold(&all, &all[0], at(64)).is_some());
}

#[test]
fn absurd_settings_are_refused_in_words() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("refused").to_string()
    };
    assert_eq!(Config::default().check(), Ok(()));
    assert_eq!(refused(|c| c.answers_min = 1), "answers_min 1 must be 2 to 1000");
    assert!(refused(|c| c.quota_share = 0.0).starts_with("quota_share 0 must lie between"));
    assert!(refused(|c| c.refusal_share = f64::NAN).starts_with("refusal_share NaN"));
    assert_eq!(refused(|c| c.quota_s = 20_000), "quota_s 20000 must be 1 to 14400");
    assert!(refused(|c| c.window_s = 0).starts_with("window_s 0"));
    assert!(refused(|c| c.max_s = u64::MAX).starts_with("max_s"));
}

proptest! {
    #[test]
    fn a_hold_needs_its_answers_and_never_lasts_too_long(
        heard in prop::collection::vec((0u64..4000, 0u32..4, 0u32..4, prop::bool::ANY), 1..60)
    ) {
        let (mut one, mut now, mut said) = (hold(), T0, 0);
        for (pause, refused, passed, is_quota) in heard {
            now = now + Duration::from_secs(pause);
            let cause = if is_quota { Cause::Quota } else { Cause::Content };
            said += refused;
            let change = one.hear(&config(), now, &news(refused, passed, cause));
            if change == Some(Change::Set) {
                prop_assert!(said >= config().answers_min);
            }
            if let Standing::Held(until) = one.standing(now) {
                prop_assert!(until.since(now).as_secs() <= config().max_s);
            }
            if change == Some(Change::Lifted) {
                prop_assert_eq!(one.standing(now), Standing::Free);
            }
        }
        // Whatever happened, mail that passes ends it.
        now = now + Duration::from_secs(config().max_s);
        one.hear(&config(), now, &news(0, 9, Cause::Quota));
        one.hear(&config(), now, &news(0, 9, Cause::Quota));
        prop_assert_eq!(one.standing(now), Standing::Free);
    }

    #[test]
    fn a_hold_names_what_the_answer_names(signal in 0usize..Signal::ALL.len(), category in 0usize..Category::ALL.len()) {
        let links = ["shop.example".to_owned()];
        let (signal, category) = (Signal::ALL[signal], Category::ALL[category]);
        let blamed = blame(signal, category, &mail(&links), SITE, "no").map(|b| b.key);
        let expected = match signal {
            Signal::SenderDomain => Some(key(Kind::SenderDomain, "news.example")),
            Signal::LinkDomain => Some(key(Kind::LinkDomain, "shop.example")),
            Signal::Content => Some(key(Kind::Campaign, "c7")),
            _ => None,
        };
        prop_assert_eq!(&blamed, &expected);
        if let Some(key) = blamed {
            prop_assert!(mail(&links).keys(SITE).contains(&key));
        }
    }
}
