//! The scenarios that come with the product: they start, and promise what they should.

use loadtests::generator::Generator;
use loadtests::internet::End;
use loadtests::{Internet, Listen, Scenario};

#[tokio::test]
async fn every_named_scenario_starts_and_ends() {
    for name in ["demo", "chaos", "strict", "throughput"] {
        let scenario = Scenario::named(name).expect("a scenario");
        let internet = Internet::start(scenario, Listen::default()).await.expect("it starts");
        internet.stop().await;
    }
}

#[tokio::test]
async fn the_demo_means_well_with_more_than_four_in_five() {
    let scenario = Scenario::named("demo").expect("a scenario");
    let internet = Internet::start(scenario, Listen::default()).await.expect("it starts");
    let n = 20_000;
    let (mut delivered, mut reports, mut categories) = (0, 0, std::collections::HashSet::new());
    for recipient in Generator::new(1, n).iter() {
        let meant = internet.meant(&recipient.address);
        reports += u64::from(meant.report.is_some());
        match meant.end {
            End::Delivered | End::Returned(_) => delivered += 1,
            End::Failed(category) => drop(categories.insert(category)),
            End::Unreachable(_) => {
                panic!("{}: nothing waits for ever in the demo", recipient.address)
            }
        }
    }
    assert!(delivered > n * 9 / 10, "{delivered}");
    assert!(reports > n / 200, "{reports}");
    assert!(categories.len() >= 6, "{categories:?}");
}

#[test]
fn a_scenario_that_cannot_be_is_refused_with_the_reason() {
    let refused = |text: &str| {
        let error = Scenario::parse(&format!("name = \"x\"\n{text}")).expect_err("refused");
        format!("{error:#}")
    };
    let provider = "[[provider]]\nname = \"p\"\ndomains = [\"p.example\"]\nmanner = \"m\"\n";
    for (text, reason) in [
        (format!("[manner.m]\n{provider}mx = []"), "has no mx"),
        (
            format!(
                "[manner.n]\n{provider}mx = [{{ host = \"h.example\", address = \"127.0.0.9\" }}]"
            ),
            "no manner \"m\"",
        ),
        (
            format!(
                "[manner.m]\n{provider}mx = [{{ host = \"h.example\", address = \"10.0.0.9\" }}]"
            ),
            "not in 127.0.0.0/8",
        ),
        ("[manner.m]\nfates = { full = 0.7, busy = 0.7 }".to_owned(), "more than all"),
        ("[manner.m]\nreplies = { full = \"250 fine\" }".to_owned(), "not a 4xx or 5xx"),
        ("[manner.m]\nratte = 1".to_owned(), "unknown field"),
    ] {
        let said = refused(&text);
        assert!(said.contains(reason), "{said}");
    }
    assert!(Scenario::named("demmo").is_err());
}
