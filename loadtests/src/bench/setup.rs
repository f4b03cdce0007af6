//! How the platform under test is set up, and its configuration files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::{DURABILITY, SHARDS};
use crate::internet::Internet;
use crate::scenario::Scenario;

/// The sender domain of every measured campaign.
pub(super) const SENDER: &str = "news.malleposte.test";

/// What messages are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signing {
    /// Nothing.
    None,
    /// RSA, 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// Ed25519 alone.
    Ed25519,
}

impl Signing {
    /// Whether there is a signature.
    #[must_use]
    pub fn is_dkim(self) -> bool {
        self != Self::None
    }

    pub(super) fn algorithm(self) -> &'static str {
        match self {
            Self::None | Self::Rsa2048 => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// How the platform is set up.
pub(super) struct Setup {
    pub(super) tls: bool,
    pub(super) signing: Signing,
    pub(super) connections: u32,
    pub(super) messages_per_connection: u32,
    pub(super) shards: u16,
    /// Messages a second to each site: fixed, and far beyond what can be where it is not
    /// what is measured.
    pub(super) rate: f64,
    /// The pretend internet.
    pub(super) scenario: Scenario,
    /// More of the configuration, as tables.
    pub(super) more: String,
}

/// Neither a rate nor connections are given: the pace finds them.
pub(super) const FOUND: f64 = 0.0;

/// A rate that never binds.
const NO_RATE: f64 = 1_000_000.0;

impl Setup {
    /// Neither TLS nor signatures, twenty connections, and a rate that never binds.
    pub(super) fn plain(scenario: Scenario) -> Self {
        Self {
            tls: false,
            signing: Signing::None,
            connections: 20,
            messages_per_connection: 5000,
            shards: SHARDS,
            rate: NO_RATE,
            scenario,
            more: String::new(),
        }
    }
}

/// What differs from the defaults: addresses, durability named, and a pace that never
/// binds, because the pace is not what is measured.
pub(super) fn settings(
    setup: &Setup,
    internet: &Internet,
    redis_url: &str,
    api: SocketAddr,
) -> String {
    let Setup { signing, connections, messages_per_connection, shards, rate, more, .. } = setup;
    let (dns, smtp) = (internet.dns_address(), internet.smtp_port());
    let sign = signing.is_dkim();
    // A rate that is fixed does not fall either, whatever a busy machine makes of it.
    let rate_min = if *rate < NO_RATE { *rate } else { 0.1 };
    let pace = format!(
        "[relay.pace]\nrate_start = {rate:.1}\nrate_min = {rate_min:.1}\nrate_max = {rate:.1}\n\
         connections_start = {connections}\nconnections_max = {connections}\n\
         messages_per_connection_max = {messages_per_connection}\n"
    );
    let pace = if *rate == FOUND { String::new() } else { pace };
    format!(
        "[store]\nurl = {redis_url:?}\ndurability = {DURABILITY:?}\nshards = {shards}\n\
         [api]\nlisten = \"{api}\"\npublic_url = \"https://mail.malleposte.test\"\n\
         [dns]\nservers = [\"{dns}\"]\n\
         [relay]\nname = \"relay\"\nreturn_path_domain = \"returns.malleposte.test\"\n\
         port = {smtp}\nallow_private = true\nsign = {sign}\n{pace}{more}"
    )
}

pub(super) fn write(
    folder: &Path,
    name: &str,
    text: &str,
    page: Option<SocketAddr>,
) -> Result<PathBuf> {
    let page = page.map_or("off".to_owned(), |page| page.to_string());
    let data = folder.join("data");
    let text = format!(
        "data_dir = {data:?}\n{text}[metrics]\nlisten = \"{page}\"\n[log]\nlevel = \"warn\"\n"
    );
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, text)?;
    Ok(file)
}
