//! Scenario files: which providers there are, how they behave, how often. Read from
//! TOML, checked, and from then on only looked at.

mod manner;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

pub use manner::{Block, Delays, Fates, Greylist, Hangups, Limits, Manner, Move, SenderQuota, Tls};

/// A pretend internet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the scenario is called.
    pub name: String,
    /// Every decision is a function of this and an address or a name.
    #[serde(default = "one")]
    pub seed: u64,
    /// What is refused that a lenient server would let pass.
    #[serde(default)]
    pub strict: Strict,
    /// How much the book keeps of each recipient.
    #[serde(default)]
    pub record: Keep,
    /// Larger messages are refused (SIZE, RFC 1870), in octets.
    #[serde(default = "twenty_mib")]
    pub message_octets_max: usize,
    /// A silent client is let go after this time.
    #[serde(default = "minute")]
    pub idle_ms: u64,
    /// What is wrong with the long tail's DNS.
    #[serde(default)]
    pub dns: Dns,
    /// How mail comes back.
    #[serde(default)]
    pub returns: Returns,
    /// Ways to behave, by name.
    pub manner: BTreeMap<String, Manner>,
    /// Providers with domains and mail exchangers of their own.
    #[serde(default)]
    pub provider: Vec<Provider>,
    /// Groups of small hosters among whom the long tail is spread.
    #[serde(default)]
    pub hosting: Vec<Hosting>,
}

/// What an attentive server refuses, with a 550 that names the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strict {
    /// Bare CR or LF, NUL, lines over 998 octets, dots that are not stuffed.
    pub lines: bool,
    /// A DKIM signature that does not verify with the key in the pretend DNS, is not
    /// aligned with From, or leaves out a field that must be signed.
    pub dkim: bool,
    /// Bulk mail without what bulk mail needs: one-click unsubscription, Feedback-ID.
    pub bulk: bool,
    /// Mail for a domain that another host answers for.
    pub astray: bool,
}

impl Strict {
    /// Whether bodies are looked into.
    #[must_use]
    pub const fn reads_bodies(self) -> bool {
        self.lines || self.dkim || self.bulk
    }
}

/// How much the book keeps of each recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Counts, the return path, the Message-ID, the replies: about 600 octets each.
    #[default]
    Full,
    /// Counts and whether anything changed between attempts: about 400 octets each.
    Identity,
}

/// What is wrong with the DNS of the long tail; shares (0 to 1) of its domains beyond
/// the `spared` most popular.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Time to live of every answer, in seconds.
    pub ttl_s: u32,
    /// The most popular tail domains always work, so that one draw does not cost a campaign.
    pub spared: u32,
    /// No such domain.
    pub nxdomain: f64,
    /// A null MX (RFC 7505).
    pub null_mx: f64,
    /// SERVFAIL, until `trouble_ms` after the first question.
    pub servfail: f64,
    /// No answer, until `trouble_ms` after the first question.
    pub silent: f64,
    /// Every domain of the tail has a mail exchanger of its own name, at its hoster's address:
    /// as many sites as domains.
    pub own_mx: bool,
    /// No MX, only an address: the implicit MX (RFC 5321, 5.1).
    pub implicit_mx: f64,
    /// After this time SERVFAIL and silence turn into answers; 0 means never.
    pub trouble_ms: u64,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            ttl_s: 300,
            spared: 50,
            nxdomain: 0.0,
            null_mx: 0.0,
            servfail: 0.0,
            silent: 0.0,
            own_mx: false,
            implicit_mx: 0.0,
            trouble_ms: 5_000,
        }
    }
}

/// How reports, complaints and absence notices are sent back.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Returns {
    /// At least this long after the delivery.
    pub delay_ms: u64,
    /// And up to this much more, by chance.
    pub spread_ms: u64,
    /// Connections to the bounce processor at the same time.
    pub connections: usize,
    /// Tries for each, a second and more apart, before it is given up.
    pub tries: u32,
}

impl Default for Returns {
    fn default() -> Self {
        Self { delay_ms: 500, spread_ms: 2_000, connections: 4, tries: 30 }
    }
}

/// A provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it is called in counters.
    pub name: String,
    /// The domains it receives mail for.
    pub domains: Vec<String>,
    /// Its mail exchangers.
    pub mx: Vec<Exchanger>,
    /// The way it behaves.
    pub manner: String,
    /// The whole long tail lives here too. Then there can be no hosters.
    #[serde(default)]
    pub tail: bool,
}

/// A mail exchanger.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchanger {
    /// Its name in the pretend DNS.
    pub host: String,
    /// Its address: in 127.0.0.0/8, and no other exchanger's.
    pub address: Ipv4Addr,
    /// MX preference.
    #[serde(default = "ten")]
    pub preference: u16,
    /// Nobody listens there.
    #[serde(default)]
    pub down: bool,
}

/// A group of small hosters that behave alike. Hoster k of all groups has the address
/// 127.0.2.1 + k; its host is `mx.NAME-k.pretend.test`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosting {
    /// What the group is called in counters.
    pub name: String,
    /// How many there are.
    pub count: u16,
    /// The way they behave.
    pub manner: String,
}

impl Scenario {
    /// A scenario by its file.
    ///
    /// # Errors
    /// When the file cannot be read or says something impossible.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read scenario {:?}", path.display()))?;
        Self::parse(&text).with_context(|| format!("scenario {:?}", path.display()))
    }

    /// A scenario by its text.
    ///
    /// # Errors
    /// When it is not TOML or says something impossible.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// One of the scenarios that come with the product: `demo`, `chaos`, `strict`, `throughput`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        let text = match name {
            "demo" => include_str!("../../scenarios/demo.toml"),
            "chaos" => include_str!("../../scenarios/chaos.toml"),
            "strict" => include_str!("../../scenarios/strict.toml"),
            "throughput" => include_str!("../../scenarios/throughput.toml"),
            _ => bail!("no scenario {name:?}: there are demo, chaos, strict and throughput"),
        };
        Self::parse(text).with_context(|| format!("scenario {name:?}"))
    }

    fn check(&self) -> Result<()> {
        let mut addresses = std::collections::BTreeSet::new();
        for provider in &self.provider {
            let name = &provider.name;
            ensure!(!provider.mx.is_empty(), "provider {name:?} has no mx");
            self.manner_named(&provider.manner)?;
            for domain in &provider.domains {
                domain
                    .parse::<mail::Domain>()
                    .with_context(|| format!("provider {name:?}: {domain:?}"))?;
            }
            for mx in &provider.mx {
                let a = mx.address;
                ensure!(a.is_loopback(), "provider {name:?}: {a} is not in 127.0.0.0/8");
                ensure!(addresses.insert(a), "provider {name:?}: {a} is another exchanger's");
            }
        }
        for hosting in &self.hosting {
            self.manner_named(&hosting.manner)?;
        }
        let tails = self.provider.iter().filter(|p| p.tail).count();
        ensure!(tails + self.hosting.len().min(1) <= 1, "the long tail can live in one place only");
        let hosters: u32 = self.hosting.iter().map(|h| u32::from(h.count)).sum();
        ensure!(hosters <= 2_000, "{hosters} hosters are too many: 2000 at most");
        for (name, manner) in &self.manner {
            manner.check().with_context(|| format!("manner {name:?}"))?;
        }
        Ok(())
    }

    pub(crate) fn manner_named(&self, name: &str) -> Result<&Manner> {
        self.manner.get(name).with_context(|| format!("there is no manner {name:?}"))
    }
}

const fn one() -> u64 {
    1
}

const fn ten() -> u16 {
    10
}

const fn minute() -> u64 {
    60_000
}

const fn twenty_mib() -> usize {
    20 << 20
}
