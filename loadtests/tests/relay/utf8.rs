//! Addresses beyond ASCII (RFC 6531): where a server takes them they arrive, signed and as they
//! were written; where none does nothing is sent, and it is said whose address it is.

use mail::event::EventKind;
use mail::plain::{Lang, explain_event};
use mail::{Category, Event, Hygiene, Phase, Scope};

use crate::relay::support::{SENDER, World};

const PROVIDERS: &str = r#"
name = "utf8"
record = "identity"

[strict]
lines = true
dkim = true

[manner.old]
tls = "none"

[manner.new]
tls = "none"
smtputf8 = true

[[provider]]
name = "new"
domains = ["new.pretend.example"]
mx = [{ host = "mx.new.pretend.test", address = "127.0.0.24" }]
manner = "new"

[[provider]]
name = "old"
domains = ["old.pretend.example"]
mx = [{ host = "mx.old.pretend.test", address = "127.0.0.25" }]
manner = "old"
tail = true
"#;

fn is_refused_here(event: &Event, status: &str, scope: Scope) {
    let reply = event.reply.as_ref().unwrap().to_string();
    assert!(reply.starts_with(status) && reply.contains("SMTPUTF8"), "{reply}");
    assert_eq!((event.category, event.phase), (Some(Category::Protocol), Some(Phase::Local)));
    assert_eq!((event.hygiene, event.scope), (Some(Hygiene::None), Some(scope)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_beyond_ascii_goes_where_it_is_taken_and_fails_clearly_elsewhere() {
    let mut world = World::start_in(PROVIDERS).await;
    world.internet.keep_messages(10);
    world.relay("relay-a", |_| {});
    let sender = format!("j\u{fc}rgen@{SENDER}");
    for (is_reply_to, header) in [(false, "\r\nFrom: "), (true, "\r\nReply-To: ")] {
        let address = sender.parse().unwrap();
        let id = world
            .create(|record| match is_reply_to {
                true => record.template.reply_to = Some(address),
                false => record.template.from_address = address,
            })
            .await;
        let to = ["ann@new.pretend.example"];
        world.fill(id, &to, false).await;
        world.fill(id, &["bob@old.pretend.example"], false).await;
        world.run(id).await;
        let counters = world.until(id, 20, |n| n.waiting == 0).await;
        assert_eq!((counters.delivered, counters.failed, counters.deferrals), (1, 1, 0));

        let kept = world.internet.take_kept();
        assert_eq!(kept.len(), 1);
        assert!(
            kept[0].parameters.ends_with(" BODY=8BITMIME SMTPUTF8"),
            "{:?}",
            kept[0].parameters
        );
        let wire = String::from_utf8(kept[0].wire.clone()).unwrap();
        let field = wire.split(header).nth(1).and_then(|rest| rest.split("\r\n").next());
        assert!(field.unwrap().contains(&sender), "{wire}");

        let told = world.told(EventKind::Failed).await;
        let event = told.iter().find(|event| event.campaign == Some(id)).unwrap();
        is_refused_here(event, "550 5.6.9 ", Scope::Message);
        let plain = explain_event(&event.rule, event.category, Lang::En).unwrap();
        assert!(plain.what.contains("sender's address"), "{plain:?}");
    }
    assert!(world.internet.book().violations().is_empty());
    assert!(world.told(EventKind::PaceChanged).await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_beyond_ascii_is_asked_for_another_address_and_spoils_nothing() {
    let mut world = World::start_in(PROVIDERS).await;
    world.internet.keep_messages(10);
    world.relay("relay-a", |_| {});
    let people = ["j\u{fc}rgen@old.pretend.example", "bob@old.pretend.example"];
    let id = world.campaign("t", &people, false).await;
    let counters = world.until(id, 20, |n| n.waiting == 0).await;
    assert_eq!((counters.delivered, counters.failed, counters.deferrals), (1, 1, 0));
    let told = world.told(EventKind::Failed).await;
    is_refused_here(&told[0], "550 5.6.7 ", Scope::Recipient);
    let plain = explain_event(&told[0].rule, told[0].category, Lang::Fr).unwrap();
    assert!(plain.what.starts_with("L'adresse du destinataire"), "{plain:?}");
    assert!(world.store.listing("t", people[0]).await.unwrap().is_none());
    let kept = world.internet.take_kept();
    assert_eq!((kept.len(), kept[0].parameters.contains("SMTPUTF8")), (1, false));
    world.stop().await;
}
