//! The files that a redundant platform is put up with, held against the program: no
//! container engine is needed. A flag, subcommand, port, key, mount or metric that one of
//! them names and the program does not know is a failure here.

mod compose;
mod doors;
mod image;
mod running;
mod topology;
mod units;

use std::collections::HashSet;
use std::time::Duration;

use clap::Parser;
use compose::{Compose, Service, make_secrets, root, text};
use ops::commands::Cli;
use ops::run::frame::BLOCKING_ENDS_WITHIN;
use ops::wiring::{GRACE, RELAY_GRACE};

/// The command line as the program reads it.
fn assert_command(place: &str, words: &[String]) {
    let line = std::iter::once("malleposte".to_owned()).chain(words.iter().cloned());
    if let Err(e) = Cli::try_parse_from(line) {
        panic!("{place}: malleposte {}: {e}", words.join(" "));
    }
}

#[test]
fn every_command_of_compose_is_one_of_the_program_and_its_settings_are_known() {
    let secrets = tempfile::tempdir().unwrap();
    make_secrets(secrets.path());
    let compose = Compose::read();
    assert_eq!(compose.ours().count(), 6, "two relays, bounces, two APIs, ledger");
    for service in compose.ours() {
        assert_command(&service.name, &service.command);
        let config = service.config(secrets.path());
        assert!(
            !config.secrets.platform.is_empty() && !config.store.password.is_empty()
                || !config.store.password_file.is_empty(),
            "{}",
            service.name
        );
        let data = config.data_dir.to_str().unwrap();
        let keeps = service.mounts.iter().any(|(_, inside)| inside == data);
        assert_eq!(keeps, !service.name.starts_with("relay-"), "{}: volume", service.name);
        let is_relay = service.name.starts_with("relay-");
        let drain = if is_relay { RELAY_GRACE } else { GRACE } + BLOCKING_ENDS_WITHIN;
        assert!(service.stop_grace.unwrap_or(Duration::from_secs(10)) >= drain);
        if is_relay {
            assert_eq!(config.relay.name, service.name);
        }
    }
}

#[test]
fn what_compose_mounts_names_and_waits_for_exists() {
    let made = tempfile::tempdir().unwrap();
    make_secrets(made.path());
    let compose = Compose::read();
    let (mut addresses, mut volumes) = (HashSet::new(), HashSet::new());
    for service in compose.services.values() {
        let name = &service.name;
        assert!(addresses.insert(&service.address), "{name}: {} is taken", service.address);
        assert!(service.address.starts_with("172.29.25."), "{name}: outside of the subnet");
        for (host, inside) in &service.mounts {
            if host.starts_with("./") {
                assert!(root().join(host).exists(), "{name}: {host} does not exist");
            } else {
                assert!(compose.declares("volumes", host), "{name}: volume {host}");
                // History has one that writes it, and some that ask.
                let is_asked = host == "history" && name.starts_with("api-");
                assert!(is_asked || volumes.insert(host), "{name}: volume {host} has two owners");
            }
            assert!(inside.starts_with('/'), "{name}: {inside}");
        }
        for secret in &service.secrets {
            let file = compose.whole["secrets"][secret]["file"].as_str();
            let file = file.unwrap_or_else(|| panic!("{name}: secret {secret}"));
            assert!(file.starts_with("./ops/deploy/secrets/"), "{file}");
            let base = file.rsplit('/').next().unwrap();
            assert!(made.path().join(base).exists(), "secrets.sh does not make {base}");
        }
        for network in &service.networks {
            assert!(compose.declares("networks", network), "{name}: network {network}");
        }
        for (other, condition) in &service.depends_on {
            let other = compose.services.get(other);
            let other = other.unwrap_or_else(|| panic!("{name} waits for {other:?}"));
            assert_eq!(condition, "service_healthy");
            assert!(!other.health.is_empty(), "{name} waits for {}'s health", other.name);
        }
        assert_health(service);
    }
}

/// The check is a command of our program, or of one that the image is known to have.
fn assert_health(service: &Service) {
    let [kind, program, words @ ..] = service.health.as_slice() else {
        panic!("{}: no health check", service.name)
    };
    assert_eq!(kind, "CMD", "{}", service.name);
    match (service.image.split(':').next().unwrap(), program.as_str()) {
        ("malleposte", "malleposte") => {
            assert_command(&service.name, words);
            let kind = service.command[0].as_str();
            assert_eq!(words, ["health", kind], "{}", service.name);
        }
        ("redis", "sh") => assert!(service.on_host(&words[0]).unwrap().exists()),
        ("haproxy", "bash") | ("prom/prometheus" | "grafana/grafana", "wget") => {}
        (image, program) => panic!("{}: does {image} have {program}?", service.name),
    }
}

#[test]
fn redis_sentinels_and_the_address_of_the_store_speak_of_one_another() {
    let secrets = tempfile::tempdir().unwrap();
    make_secrets(secrets.path());
    let compose = Compose::read();
    let primary = &compose.services["redis-1"].address;
    let sentinel = text("ops/deploy/redis/sentinel.conf");
    let monitor = format!("sentinel monitor malleposte {primary} 6379 2");
    assert!(sentinel.lines().any(|l| l == monitor), "{monitor}");
    let words: Vec<&str> = sentinel.lines().filter(|l| l.starts_with("sentinel ")).collect();
    assert!(words.iter().all(|l| l.split(' ').nth(2) == Some("malleposte")), "{words:?}");
    for replica in ["redis-2", "redis-3"] {
        let of = &compose.services[replica].environment["REPLICA_OF"];
        assert_eq!(*of, format!("{primary} 6379"));
    }
    let sentinels: Vec<String> = (compose.services.keys())
        .filter(|n| n.starts_with("sentinel-"))
        .map(|n| format!("{n}:26379"))
        .collect();
    assert_eq!(sentinels.len(), 3);
    let url = format!("redis+sentinel://{}/malleposte", sentinels.join(","));
    for service in compose.ours() {
        assert_eq!(service.config(secrets.path()).store.url, url, "{}", service.name);
    }
}
