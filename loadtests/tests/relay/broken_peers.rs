//! Servers that offer what they cannot do: that costs one connection, and not one for each.

use std::net::{Ipv4Addr, SocketAddr};

use mail::event::EventKind;

use crate::relay::server::{Server, Tls};
use crate::relay::support::World;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 31);

/// A server of `odd.pretend.example`, beside the pretend internet's.
pub(crate) async fn odd(world: &World, offers: &'static [&'static str], tls: Tls) -> Server {
    let zone = world.internet.zone();
    zone.add_mx("odd.pretend.example", 10, "mx.odd.pretend.test");
    zone.add_a("mx.odd.pretend.test", ADDRESS);
    Server::start(SocketAddr::from((ADDRESS, world.internet.smtp_port())), offers, tls).await
}

/// One connection at a time, of so many messages.
pub(crate) fn one_by_one(config: &mut relay::Config, messages: u32) {
    config.pace.connections_start = 1;
    config.pace.connections_max = 1;
    config.pace.messages_per_connection_max = messages;
    config.pace.rate_start = 1000.0;
}

/// Sends to sixty, over connections of five messages; answers how often the server was told each
/// of the words.
async fn sixty(offers: &'static [&'static str], tls: Tls, words: [&str; 3]) -> [usize; 3] {
    let mut world = World::start().await;
    let server = odd(&world, offers, tls).await;
    world.relay("relay-a", |config| one_by_one(config, 5));
    let to: Vec<String> = (0..60).map(|n| format!("u{n}@odd.pretend.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let campaign = world.campaign("t", &to, true).await;
    world.until(campaign, 40, |n| n.delivered == 60).await;
    let told = world.told(EventKind::Delivered).await;
    let is_plain = words[1] == "STARTTLS";
    assert!(told.iter().all(|event| (event.tls == "plain") == is_plain), "{told:?}");
    world.stop().await;
    words.map(|word| server.lines(word).len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_tls_is_tried_once_and_not_with_each_connection() {
    let words = ["(connected)", "STARTTLS", "DATA"];
    let [connections, tries, messages] = sixty(&["PIPELINING"], Tls::Broken, words).await;
    assert_eq!((tries, messages), (1, 60));
    assert!(connections >= 13, "{connections}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_is_not_known_is_sent_once_and_not_with_each_connection() {
    let words = ["(connected)", "BDAT", "DATA"];
    let offers: &[&str] = &["PIPELINING", "CHUNKING"];
    let [connections, tries, messages] = sixty(offers, Tls::None, words).await;
    assert_eq!((tries, messages), (1, 60));
    assert!(connections >= 13, "{connections}");
}
