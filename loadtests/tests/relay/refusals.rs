//! What a relay finds out by itself is told as what it is, whatever the names in its words: to
//! people in sentences that say what to do, to the pace not at all.

use std::time::{Duration, Instant};

use loadtests::internet::Fault;
use mail::event::EventKind;
use mail::plain::{Lang, explain_event};
use mail::{Category, Event, Hygiene, Phase, Scope};

use crate::relay::sources::source;
use crate::relay::support::World;

const SMALL: &str = r#"
name = "small"
record = "identity"
message_octets_max = 1000

[manner.sink]
tls = "none"

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.26" }]
manner = "sink"
tail = true
"#;

/// The first event of a kind that tells of a recipient.
pub(crate) async fn first(world: &World, kind: EventKind, recipient: &str) -> Event {
    let start = Instant::now();
    loop {
        let told = world.told(kind).await;
        if let Some(event) = told.into_iter().find(|event| event.recipient == recipient) {
            return event;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{recipient} is not {kind:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sentence for whoever sent the campaign.
pub(crate) fn sentence(event: &Event) -> &'static str {
    explain_event(&event.rule, event.category, Lang::En).unwrap().what
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_here_is_told_as_what_it_is() {
    let mut world = World::start_in(SMALL).await;
    let zone = world.internet.zone();
    // Words that mean something else where a server says them.
    zone.add_null_mx("virus.takes-none.example");
    zone.add_fault("spamhaus.nobody.example", Fault::Nxdomain);
    zone.add_txt("mailbox-full.bare.example", "no exchanger and no address");
    zone.add_mx("greylisted.loop.example", 10, "relay.malleposte.test");
    zone.add_fault("spam-detected.mute.example", Fault::ServFail);
    world.relay("relay-a", |_| {});
    let (failed, deferred) = (EventKind::Failed, EventKind::Deferred);
    let (count, none) = (Hygiene::Count, Hygiene::None);
    let cases = [
        (
            "virus.takes-none.example",
            failed,
            "556 5.1.10 ",
            Category::NoDomain,
            count,
            "takes no mail",
        ),
        (
            "spamhaus.nobody.example",
            failed,
            "550 5.1.2 ",
            Category::NoDomain,
            count,
            "no such domain",
        ),
        (
            "mailbox-full.bare.example",
            failed,
            "550 5.1.2 ",
            Category::NoDomain,
            count,
            "no server for mail",
        ),
        (
            "greylisted.loop.example",
            failed,
            "554 5.4.6 ",
            Category::Network,
            none,
            "come back to our own",
        ),
        (
            "spam-detected.mute.example",
            deferred,
            "451 4.4.3 ",
            Category::Network,
            none,
            "found out",
        ),
        ("a.pretend.example", failed, "550 5.3.4 ", Category::TooBig, none, "larger than"),
    ];
    for (domain, kind, reply, category, hygiene, words) in cases {
        let to = format!("u@{domain}");
        world.campaign("t", &[&to], false).await;
        let event = first(&world, kind, &to).await;
        let told = event.reply.as_ref().unwrap().to_string();
        assert!(told.starts_with(reply), "{told}");
        assert_eq!((event.category, event.hygiene), (Some(category), Some(hygiene)), "{event:?}");
        let is_about_message = category == Category::TooBig;
        let scope = if is_about_message { Scope::Message } else { Scope::Site };
        let phase = if is_about_message { Phase::Local } else { Phase::Dns };
        assert_eq!((event.scope, event.phase), (Some(scope), Some(phase)), "{event:?}");
        assert!(sentence(&event).contains(words), "{}", sentence(&event));
    }
    let lost = world.create(|record| record.pool = "nowhere".into()).await;
    world.fill(lost, &["w@a.pretend.example"], false).await;
    world.run(lost).await;
    let event = first(&world, deferred, "w@a.pretend.example").await;
    assert!(sentence(&event).contains("does not exist on our servers"), "{event:?}");
    assert!(world.told(EventKind::PaceChanged).await.is_empty());
    assert!(world.told(EventKind::SuppressionAdded).await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_our_own_address_is_not_told_of_the_recipients_server() {
    let mut world = World::start_in(SMALL).await;
    // Every exchanger of this internet has an IPv4 address and no other.
    world.relay("relay-a", |config| config.sources = vec![source("out6", "::1")]);
    world.campaign("t", &["u@a.pretend.example"], false).await;
    let event = first(&world, EventKind::Deferred, "u@a.pretend.example").await;
    assert_eq!((event.category, event.scope), (Some(Category::Network), Some(Scope::Source)));
    assert!(
        event.note.contains("out6") && sentence(&event).contains("that we send from"),
        "{event:?}"
    );
    world.stop().await;
}
