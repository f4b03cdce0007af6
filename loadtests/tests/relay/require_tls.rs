//! Campaigns that demand TLS all the way (REQUIRETLS, RFC 8689): which exchanger brings them, what
//! fails for good, and what only waits.

use mail::event::EventKind;
use mail::{CampaignId, Category, Event, Hygiene, Scope};

use crate::relay::refusals::{first, sentence};
use crate::relay::support::World;
use crate::relay::tls::{authorities, policy, policy_host, relay};
use crate::relay::web::Web;

/// One exchanger that promises to go on as it is asked, one that does not, one whose TLS is broken.
const PROVIDERS: &str = r#"
name = "require-tls"
record = "identity"

[manner.promise]
tls = "offered"
require_tls = true

[manner.deaf]
tls = "offered"

[manner.broken]
tls = "broken"

[[provider]]
name = "promise"
domains = ["promise.pretend.example"]
mx = [{ host = "mx-promise.pretend.test", address = "127.0.0.31" }]
manner = "promise"

[[provider]]
name = "deaf"
domains = ["deaf.pretend.example"]
mx = [{ host = "mx-deaf.pretend.test", address = "127.0.0.32" }]
manner = "deaf"

[[provider]]
name = "broken"
domains = ["broken.pretend.example"]
mx = [{ host = "mx-broken.pretend.test", address = "127.0.0.33" }]
manner = "broken"
tail = true
"#;

/// A domain with these exchangers, the first preferred, that tells of a policy.
fn domain(world: &World, domain: &str, exchangers: &[&str]) {
    let zone = world.internet.zone();
    for (preference, exchanger) in (10..).zip(exchangers) {
        zone.add_mx(domain, preference, &format!("mx-{exchanger}.pretend.test"));
    }
    zone.add_txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=20260101;");
    zone.add_a(&format!("mta-sts.{domain}"), std::net::Ipv4Addr::LOCALHOST);
}

async fn start(policies: &[(&str, &str)]) -> (World, Web, tempfile::NamedTempFile) {
    let host = policy_host(policies).await;
    let world = World::start_in(PROVIDERS).await;
    world.internet.keep_messages(100);
    let authorities = authorities(&world, &host);
    (world, host, authorities)
}

/// A running campaign to one recipient that demands TLS all the way.
async fn demanding(world: &World, to: &str) -> CampaignId {
    let id = world.create(|record| record.require_tls = true).await;
    world.fill(id, &[to], false).await;
    world.run(id).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchanger_that_promises_it_brings_it_though_another_is_preferred_and_connected() {
    let (mut world, host, authorities) =
        start(&[("mta-sts.both.pretend.example", &policy("enforce", "*.pretend.test"))]).await;
    domain(&world, "both.pretend.example", &["deaf", "promise"]);
    relay(&mut world, "r1", &host, &authorities);
    for (requires, exchanger) in [(false, "mx-deaf"), (true, "mx-promise"), (false, "")] {
        let to = format!("{requires}-{exchanger}@both.pretend.example");
        let id = match requires {
            true => demanding(&world, &to).await,
            false => world.campaign("t", &[&to], false).await,
        };
        world.until(id, 20, |n| n.delivered == 1).await;
        let event = first(&world, EventKind::Delivered, &to).await;
        assert!(event.mx.starts_with(exchanger) && event.tls.ends_with(" mta-sts"), "{event:?}");
        let kept = world.internet.take_kept();
        let said = kept[0].parameters.split(' ').any(|word| word == "REQUIRETLS");
        assert_eq!((kept.len(), said), (1, requires), "{:?}", kept[0].parameters);
    }
    world.stop().await;
}

fn is_told(event: &Event, reply: &str, category: Category, words: &str) {
    let told = event.reply.as_ref().unwrap().to_string();
    assert!(told.starts_with(reply), "{told}");
    assert_eq!((event.category, event.hygiene), (Some(category), Some(Hygiene::None)), "{event:?}");
    assert!(sentence(event).contains(words), "{}", sentence(event));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_promises_or_proves_fails_and_what_lacks_tls_now_waits() {
    let (mut world, host, authorities) = start(&[
        ("mta-sts.nobody.pretend.example", &policy("enforce", "mx-deaf.pretend.test")),
        ("mta-sts.garbled.pretend.example", &policy("testing", "mx-broken.pretend.test")),
        ("mta-sts.mixed.pretend.example", &policy("testing", "*.pretend.test")),
        ("mta-sts.unsure.pretend.example", ""),
    ])
    .await;
    domain(&world, "nobody.pretend.example", &["deaf"]);
    domain(&world, "garbled.pretend.example", &["broken"]);
    domain(&world, "mixed.pretend.example", &["deaf", "broken"]);
    domain(&world, "unsure.pretend.example", &["promise"]);
    relay(&mut world, "r1", &host, &authorities);
    // What goes without TLS marks the exchanger as one that has none; that is not for those who insist.
    let plain = world.campaign("t", &["plain@garbled.pretend.example"], false).await;
    world.until(plain, 20, |n| n.delivered == 1).await;
    for (name, reply, words) in [
        ("nobody", "550 5.7.30 ", "promises nothing"),
        // Neither a policy nor signed records, though the server would do.
        ("promise", "550 5.7.10 ", "are proved"),
    ] {
        let to = format!("u@{name}.pretend.example");
        let id = demanding(&world, &to).await;
        let counters = world.until(id, 20, |n| n.waiting == 0).await;
        assert_eq!((counters.failed, counters.deferrals), (1, 0), "{name}");
        let event = first(&world, EventKind::Failed, &to).await;
        is_told(&event, reply, Category::Policy, words);
        assert_eq!(event.scope, Some(Scope::Message));
    }
    for name in ["garbled", "mixed", "unsure"] {
        let to = format!("u@{name}.pretend.example");
        let id = demanding(&world, &to).await;
        let event = first(&world, EventKind::Deferred, &to).await;
        is_told(&event, "451 4.7.10 ", Category::Network, "at the moment");
        let counters = world.counters(id).await;
        assert_eq!((counters.delivered, counters.failed), (0, 0), "{name}");
    }
    assert_eq!(world.internet.take_kept().len(), 1, "the plain one");
    assert!(world.told(EventKind::PaceChanged).await.is_empty());
    world.stop().await;
}
