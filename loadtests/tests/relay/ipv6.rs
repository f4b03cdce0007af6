//! IPv6: mail goes by it, first where a host has both kinds of addresses, and one that leads
//! nowhere holds nothing up.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mail::CampaignId;
use mail::event::EventKind;

use crate::others::is_here;
use crate::relay::broken_peers::one_by_one;
use crate::relay::server::{Server, Tls, silence};
use crate::relay::support::World;

/// The address of the pretend internet's first provider.
const IPV4: &str = "127.0.0.11";

/// The place of an exchanger at the one IPv6 address that a host has for itself, if it has it.
fn place(world: &World) -> Option<SocketAddr> {
    let place = SocketAddr::from((Ipv6Addr::LOCALHOST, world.internet.smtp_port()));
    let has = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    is_here(has, "IPv6 (::1) on this host").then_some(place)
}

/// `six.pretend.example` with an IPv6 address alone, `both.pretend.example` with both.
fn announce(world: &World) {
    let zone = world.internet.zone();
    for name in ["six", "both"] {
        let host = format!("mx.{name}.pretend.test");
        zone.add_mx(&format!("{name}.pretend.example"), 10, &host);
        zone.add_aaaa(&host, Ipv6Addr::LOCALHOST);
    }
    zone.add_a("mx.both.pretend.test", IPV4.parse().unwrap());
}

async fn send(world: &World, n: usize, domain: &str) -> CampaignId {
    let to: Vec<String> = (0..n).map(|n| format!("u{n}@{domain}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.campaign("t", &to, true).await
}

/// Where a campaign's messages were delivered, each place once.
async fn places(world: &World, campaign: CampaignId) -> Vec<String> {
    let told = world.told(EventKind::Delivered).await;
    let own = told.into_iter().filter(|event| event.campaign == Some(campaign));
    let mut places: Vec<String> = own.map(|event| event.mx).collect();
    places.sort();
    places.dedup();
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_over_ipv6_first_and_where_there_is_nothing_else() {
    let mut world = World::start().await;
    let Some(place) = place(&world) else { return world.stop().await };
    announce(&world);
    let server = Server::start(place, &["PIPELINING"], Tls::None).await;
    world.relay("relay-a", |_| {});
    for name in ["six", "both"] {
        let campaign = send(&world, 20, &format!("{name}.pretend.example")).await;
        let n = world.until(campaign, 20, |n| n.delivered == 20).await;
        assert_eq!(n.deferrals, 0, "{name}");
        assert_eq!(places(&world, campaign).await, [format!("mx.{name}.pretend.test [::1]")]);
    }
    let heard = server.lines("RCPT");
    assert_eq!(heard.len(), 40);
    assert!(heard.iter().all(|heard| heard.from == Ipv6Addr::LOCALHOST), "{heard:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_that_is_refused_or_silent_holds_nothing_up() {
    for is_silent in [false, true] {
        let mut world = World::start().await;
        let Some(place) = place(&world) else { return world.stop().await };
        announce(&world);
        let _silence = if is_silent { Some(silence(place).await) } else { None };
        // A connection for each message.
        world.relay("relay-a", |config| one_by_one(config, 1));
        let began = Instant::now();
        let campaign = send(&world, 15, "both.pretend.example").await;
        let n = world.until(campaign, 30, |n| n.delivered == 15).await;
        assert_eq!(n.deferrals, 0, "silent: {is_silent}");
        assert_eq!(places(&world, campaign).await, [format!("mx.both.pretend.test [{IPV4}]")]);
        // A second for the first connection, and none for those after it.
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        world.stop().await;
    }
}
