//! What the resolver may be told, each setting with its reason.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which addresses of a host are wanted, and in what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv6 and IPv4 in turn, as RFC 8305 (4) wants it, so that IPv6 that leads nowhere costs one
    /// address and not all: none where this host has no route, a second where it is silent.
    #[default]
    Ipv6First,
    /// IPv4 and IPv6 in turn: for a host whose IPv6 address has no reverse name, which providers
    /// demand of IPv6 senders.
    Ipv4First,
    /// IPv4 alone, for hosts without IPv6.
    Ipv4Only,
    /// IPv6 alone.
    Ipv6Only,
}

/// Whether answers are proved by DNSSEC, which is what DANE stands on (RFC 7672).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dnssec {
    /// They are not, and no TLSA record is asked for. The default, because few machines have a
    /// resolver that validates.
    #[default]
    Off,
    /// The name servers' word is taken (the AD bit). They must be given in `servers`, and lie on
    /// this machine, so that nobody can speak in their name: an unbound next door.
    TrustAd,
}

/// The resolver's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name servers as `address:port`; none means those of this machine. A resolver of
    /// one's own next door is best: block lists and providers limit the public ones.
    pub servers: Vec<SocketAddr>,
    /// Milliseconds to wait for one answer. Less loses answers of slow domains, which
    /// are then tried again much later.
    pub timeout_ms: u64,
    /// Times a server is asked before it counts as silent.
    pub attempts: usize,
    /// Questions under way at one time. Protects the name server from a campaign that
    /// begins with 50,000 domains.
    pub concurrent: usize,
    /// Answers remembered: domains and hosts each. A domain takes a few hundred octets.
    pub cache_entries: usize,
    /// Seconds an answer is remembered at most, whatever its time to live.
    pub ttl_max_s: u64,
    /// Seconds that "no such domain" and "no such record" are remembered at most. Domains
    /// that were mistyped stay so; a new one should not wait long.
    pub negative_ttl_max_s: u64,
    /// Seconds that a failure (no answer, or an error) is remembered: without it each
    /// recipient of a broken domain would wait for the timeout again.
    pub failure_ttl_s: u64,
    /// Which addresses are wanted, and which family begins; the two take turns. A source with an
    /// address of its own connects to those of that address's family alone. Where this host's
    /// IPv6 address has no reverse name, which many providers demand of IPv6 senders and not of
    /// others, choose "ipv4-first" or "ipv4-only".
    pub family: Family,
    /// Whether DNSSEC is used, and with it DANE: "off", or "trust-ad" of a resolver on this machine
    /// that validates, which `servers` must name.
    pub dnssec: Dnssec,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout_ms: 5000,
            attempts: 2,
            concurrent: 256,
            cache_entries: 20_000,
            ttl_max_s: 3600,
            negative_ttl_max_s: 300,
            failure_ttl_s: 30,
            family: Family::default(),
            dnssec: Dnssec::default(),
        }
    }
}

/// Why there is no resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number that cannot be worked with.
    #[error("{name} {value} must lie between {min} and {max}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// No `servers`, and this machine names none.
    #[error("no name servers: give dns.servers, or put some in /etc/resolv.conf ({0})")]
    System(String),
    /// A resolver is trusted that others may speak for.
    #[error(
        "dns.dnssec \"trust-ad\" needs dns.servers, all of them on this machine (127.0.0.0/8 or ::1): {0}"
    )]
    Untrusted(String),
}

impl Config {
    /// Whether a resolver can work with these settings.
    pub fn check(&self) -> Result<(), ConfigError> {
        let day = 86_400;
        for (name, value, min, max) in [
            ("timeout_ms", self.timeout_ms, 10, 60_000),
            ("attempts", self.attempts as u64, 1, 10),
            ("concurrent", self.concurrent as u64, 1, 10_000),
            ("cache_entries", self.cache_entries as u64, 100, 10_000_000),
            ("ttl_max_s", self.ttl_max_s, 0, 7 * day),
            ("negative_ttl_max_s", self.negative_ttl_max_s, 0, day),
            ("failure_ttl_s", self.failure_ttl_s, 0, 3600),
        ] {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::Range { name, value, min, max });
            }
        }
        if self.dnssec == Dnssec::TrustAd {
            let stranger = self.servers.iter().find(|server| !server.ip().is_loopback());
            if let Some(stranger) = stranger {
                return Err(ConfigError::Untrusted(format!("{stranger} is not")));
            }
            if self.servers.is_empty() {
                return Err(ConfigError::Untrusted("none is given".to_owned()));
            }
        }
        Ok(())
    }
}
