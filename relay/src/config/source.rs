//! Egress sources as the configuration has them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use mail::egress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::smtp::{Protocol, SecretFrom, Via};

/// A local address to send from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name in pools, events and metrics.
    pub name: String,
    /// The address to send from: this host's, or with `via` the proxy's. None: the system chooses.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The name said in EHLO; it should resolve to the address and back.
    #[serde(default)]
    pub ehlo: String,
    /// Its part of a pool's recipients beside the other sources there, 0.01 to 100. Changing it
    /// moves no more recipients to another address than it must.
    #[serde(default = "ordinary_weight")]
    pub weight: f64,
    /// The proxy that has the address, so that several relays can share it: `socks5://host:port`, or
    /// `haproxy://host:port`, which is told address and destination (PROXY protocol, version 2).
    #[serde(default)]
    pub via: String,
    /// Who logs in to a SOCKS5 proxy, if it wants that.
    #[serde(default)]
    pub via_user: String,
    /// The file that holds the password for it. An absolute path.
    #[serde(default)]
    pub via_secret_file: PathBuf,
    /// Warm-up plans that it follows, by provider: `{ "*" = "sendgrid", gmail = "amazon-ses" }`. `*`
    /// is every provider, and every site that is nobody's, that is not named; "none" is no plan. What
    /// a plan has no room for goes from the pool's other sources. See docs/PACE.md.
    #[serde(default)]
    pub warmup: BTreeMap<String, String>,
}

fn ordinary_weight() -> f64 {
    egress::WEIGHT
}

impl Source {
    /// A source of this name that leaves the address to the system.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            address: None,
            ehlo: String::new(),
            weight: egress::WEIGHT,
            via: String::new(),
            via_user: String::new(),
            via_secret_file: PathBuf::new(),
            warmup: BTreeMap::new(),
        }
    }

    /// The proxy that has its address, if there is one.
    ///
    /// # Errors
    /// What is wrong with it, by the source's name.
    pub fn via(&self) -> Result<Option<Via>, String> {
        let wrong = |why: String| Err(format!("relay.sources: {:?}: {why}", self.name));
        let has_login = !self.via_user.is_empty();
        let has_file = self.via_secret_file.is_absolute();
        if self.via.is_empty() {
            return match has_login || has_file {
                true => wrong("via_user and via_secret_file are given and via is not".into()),
                false => Ok(None),
            };
        }
        let mut via: Via = match self.via.parse() {
            Ok(via) => via,
            Err(error) => return wrong(format!("via: {error}")),
        };
        match (via.protocol, has_login, has_file) {
            (Protocol::HaProxy, false, false) if self.address.is_none() => {
                wrong("with haproxy:// an address is needed: it is told which one to use".into())
            }
            (Protocol::HaProxy, true, _) | (Protocol::HaProxy, _, true) => {
                wrong("only socks5:// knows users".into())
            }
            (Protocol::Socks5, true, false) | (Protocol::Socks5, false, true) => {
                wrong("via_user and via_secret_file, an absolute path, go together".into())
            }
            (_, has_login, _) => {
                let secret = SecretFrom::File(self.via_secret_file.clone());
                via.login = has_login.then(|| (self.via_user.clone(), secret));
                Ok(Some(via))
            }
        }
    }
}
