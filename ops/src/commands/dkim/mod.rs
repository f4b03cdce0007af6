//! `malleposte dkim`: sender domains, their signing keys, and the DNS records that
//! prove them. Arguments here; `keys` changes them, `tell` prints and checks.

mod keys;
mod tell;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use mail::Domain;
use message::Algorithm;
use store::Selector;

pub(crate) use keys::add;

use super::Global;
use crate::wiring::{Keys, connect};

/// Sender domains: make signing keys, print their DNS records, check and rotate them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte dkim add news.example             makes a key, prints the TXT record to publish
  malleposte dkim check news.example           is every record there?
  malleposte dkim rotate news.example          makes the next key; publish it, then
  malleposte dkim activate news.example mp2    signs with it, once DNS shows it
  malleposte dkim remove news.example mp1      a week later
  malleposte dkim list")]
pub(super) struct Dkim {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key for a domain and print the DNS record to publish
    Add {
        /// The domain in the From address
        domain: String,
        /// What to sign with: every receiver verifies RSA (2048 bits), some Ed25519
        #[arg(long, value_enum, default_value = "rsa")]
        algorithm: Algorithms,
        /// Name of the key in DNS, the next free of mp1, mp2 … without it; with `both` the
        /// Ed25519 key gets `-ed25519` added
        #[arg(long)]
        selector: Option<String>,
        /// Whose domain it is
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Print the DNS records of a domain again
    Show {
        /// The domain
        domain: String,
    },
    /// Ask DNS for the record of each key; status 1 when one that signs is not right
    Check {
        /// The domain
        domain: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Make the next key for each algorithm that a domain signs with, and print its record
    Rotate {
        /// The domain
        domain: String,
        /// Only this algorithm
        #[arg(long, value_enum)]
        algorithm: Option<Algorithms>,
    },
    /// Sign with a published key from now on; the one before it retires
    #[command(alias = "use")]
    Activate {
        /// The domain
        domain: String,
        /// The name of the key
        selector: String,
        /// Although DNS does not show it: receivers will not verify what it signs
        #[arg(long)]
        force: bool,
    },
    /// Sign with a key no more, when another algorithm's signs too
    Retire {
        /// The domain
        domain: String,
        /// The name of the key
        selector: String,
    },
    /// Forget a key that does not sign
    Remove {
        /// The domain
        domain: String,
        /// The name of the key
        selector: String,
        /// Although mail that it signed may still be on its way
        #[arg(long)]
        force: bool,
    },
    /// All sender domains and their keys, or those of one
    List {
        /// The domain
        domain: Option<String>,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

/// What a domain is to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Algorithms {
    /// What every receiver verifies
    Rsa,
    /// Smaller and faster (RFC 8463); receivers that do not know it see no signature
    Ed25519,
    /// Two signatures
    Both,
}

impl Algorithms {
    fn list(self) -> &'static [Algorithm] {
        match self {
            Self::Rsa => &[Algorithm::Rsa],
            Self::Ed25519 => &[Algorithm::Ed25519],
            Self::Both => &[Algorithm::Rsa, Algorithm::Ed25519],
        }
    }
}

impl Dkim {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let store = connect(&config).await?;
            match self.verb {
                Verb::Add { domain, algorithm, selector, tenant } => {
                    let domain = parse(&domain)?;
                    let seal = Keys::open(&config)?.seal();
                    let wish = keys::Wish {
                        algorithms: algorithm.list(),
                        selector: selector.as_deref(),
                        tenant: &tenant,
                    };
                    let made = keys::make(&store, &seal, &domain, &wish).await?;
                    tell::made(&domain, &made);
                }
                Verb::Show { domain } => {
                    let domain = parse(&domain)?;
                    let sender = keys::known(&store, &domain).await?;
                    tell::records(&domain, &sender.selectors.iter().collect::<Vec<&Selector>>());
                }
                Verb::Check { domain, json } => {
                    return tell::check(&store, &config, &parse(&domain)?, json).await;
                }
                Verb::Rotate { domain, algorithm } => {
                    let domain = parse(&domain)?;
                    let seal = Keys::open(&config)?.seal();
                    let only = algorithm.map(Algorithms::list);
                    let made = keys::rotate(&store, &seal, &domain, only).await?;
                    tell::made(&domain, &made);
                }
                Verb::Activate { domain, selector, force } => {
                    keys::activate(&store, &config, &parse(&domain)?, &selector, force).await?;
                }
                Verb::Retire { domain, selector } => {
                    keys::retire(&store, &parse(&domain)?, &selector).await?;
                }
                Verb::Remove { domain, selector, force } => {
                    keys::remove(&store, &parse(&domain)?, &selector, force).await?;
                }
                Verb::List { domain, json } => {
                    let domain = domain.as_deref().map(parse).transpose()?;
                    tell::list(&store, domain.as_ref(), json).await?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn parse(domain: &str) -> anyhow::Result<Domain> {
    domain
        .parse()
        .map_err(|_| anyhow::anyhow!("{domain:?} is not a domain name, such as news.example"))
}
