//! `malleposte dkim`: sender domains, their signing keys, and the DNS records that
//! prove them.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use dns::{Resolver, Txt};
use mail::Domain;
use store::{Selector, SenderRecord, SigningKey, Store};

use super::Global;
use crate::config::Config;
use crate::wiring::{Keys, connect};

/// Sender domains: make signing keys, print their DNS records, check them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte dkim add news.example      makes a key, prints the TXT record to publish
  malleposte dkim check news.example    is the record there?
  malleposte dkim list")]
pub(super) struct Dkim {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key for a domain (RSA, 2048 bits) and print the DNS record to publish
    Add {
        /// The domain in the From address
        domain: String,
        /// Name of the key in DNS; each key of a domain needs its own
        #[arg(long, default_value = "mp1")]
        selector: String,
        /// Whose domain it is
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Print the DNS records of a domain again
    Show {
        /// The domain
        domain: String,
    },
    /// Ask DNS whether the records are published; status 1 when not
    Check {
        /// The domain
        domain: String,
    },
    /// Sign with another key of the domain from now on; its record must be published
    Use {
        /// The domain
        domain: String,
        /// The name of the key
        selector: String,
    },
    /// All sender domains
    List,
}

impl Dkim {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let store = connect(&config).await?;
            match self.verb {
                Verb::Add { domain, selector, tenant } => {
                    let domain = parse(&domain)?;
                    let keys = Keys::open(&config)?;
                    let record = add(&store, &keys, &domain, &selector, &tenant).await?;
                    print_records(&domain, &[record]);
                    Ok(ExitCode::SUCCESS)
                }
                Verb::Show { domain } => {
                    let domain = parse(&domain)?;
                    let sender = known(&store, &domain).await?;
                    print_records(&domain, &sender.selectors);
                    Ok(ExitCode::SUCCESS)
                }
                Verb::Check { domain } => check(&store, &config, &parse(&domain)?).await,
                Verb::Use { domain, selector } => {
                    switch(&store, &config, &parse(&domain)?, &selector).await
                }
                Verb::List => list(&store).await,
            }
        })
    }
}

fn parse(domain: &str) -> anyhow::Result<Domain> {
    domain
        .parse()
        .map_err(|_| anyhow::anyhow!("{domain:?} is not a domain name, such as news.example"))
}

async fn known(store: &Store, domain: &Domain) -> anyhow::Result<SenderRecord> {
    let sender = store.sender(domain).await?;
    sender.with_context(|| {
        format!("{domain} is no sender domain: run `malleposte dkim add {domain}`")
    })
}

/// Makes a key for a domain. The first key of a domain signs at once; a later one when it is
/// told to with `use`.
///
/// # Errors
/// When the domain is another tenant's, or has a key of this name already.
pub(crate) async fn add(
    store: &Store,
    keys: &Keys,
    domain: &Domain,
    selector: &str,
    tenant: &str,
) -> anyhow::Result<Selector> {
    let none =
        || SenderRecord { tenant: tenant.to_owned(), selectors: Vec::new(), proved_at: None };
    let mut sender = store.sender(domain).await?.unwrap_or_else(none);
    if sender.tenant != tenant {
        bail!("{domain} belongs to tenant {:?}, not to {tenant:?}", sender.tenant);
    }
    if sender.selectors.iter().any(|s| s.name == selector) {
        bail!("{domain} has a key {selector:?} already: choose another name with --selector");
    }
    let (pkcs8, record) = message::generate_rsa_2048()?;
    let key = SigningKey { selector: selector.to_owned(), algorithm: "rsa".to_owned(), pkcs8 };
    // A selector that cannot be signed with is refused before it is kept.
    message::Signer::rsa(&key.pkcs8, domain, selector)?;
    let made = Selector::new(&keys.seal(), domain, &key, record, super::now());
    // The first one signs: a second is published before it is used.
    sender.selectors.push(made.clone());
    store.put_sender(domain, &sender).await?;
    Ok(made)
}

fn print_records(domain: &Domain, selectors: &[Selector]) {
    let what = if selectors.len() == 1 { "this TXT record" } else { "these TXT records" };
    println!("Publish {what}; mail from {domain} is taken once it can be seen:\n");
    for selector in selectors {
        println!("{}._domainkey.{domain}. TXT {}", selector.name, quoted(&selector.record));
    }
}

/// A TXT record's strings hold 255 octets each (RFC 1035, 3.3).
fn quoted(record: &str) -> String {
    let parts = record.as_bytes().chunks(255).map(String::from_utf8_lossy);
    parts.map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(" ")
}

async fn check(store: &Store, config: &Config, domain: &Domain) -> anyhow::Result<ExitCode> {
    let sender = known(store, domain).await?;
    let resolver = Arc::new(Resolver::new(&config.dns)?);
    let mut good = true;
    for selector in &sender.selectors {
        let name = format!("{}._domainkey.{domain}", selector.name);
        let verdict = match resolver.txt(&name).await {
            Txt::Found(texts) if texts.contains(&selector.record) => "published",
            Txt::Found(_) => "another record is there",
            Txt::NotFound => "not there",
            Txt::Temporary { .. } => "the name servers do not answer",
        };
        good &= verdict == "published";
        println!("{name}: {verdict}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts a published key in front: the relays sign with it within five minutes.
async fn switch(
    store: &Store,
    config: &Config,
    domain: &Domain,
    selector: &str,
) -> anyhow::Result<ExitCode> {
    let mut sender = known(store, domain).await?;
    let at = sender.selectors.iter().position(|s| s.name == selector);
    let at = at.with_context(|| format!("{domain} has no key {selector:?}"))?;
    let name = format!("{selector}._domainkey.{domain}");
    match Resolver::new(&config.dns)?.txt(&name).await {
        Txt::Found(texts) if texts.contains(&sender.selectors[at].record) => {}
        _ => bail!("{name} does not show this key yet: publish its record, then try again"),
    }
    let key = sender.selectors.remove(at);
    sender.selectors.insert(0, key);
    sender.proved_at = Some(super::now());
    store.put_sender(domain, &sender).await?;
    println!("{domain} signs with {selector} from now on; keep the old record for a week");
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store) -> anyhow::Result<ExitCode> {
    let senders = store.senders().await?;
    if senders.is_empty() {
        println!("no sender domains yet: `malleposte dkim add DOMAIN` makes the first");
    }
    for (domain, sender) in senders {
        let names: Vec<&str> = sender.selectors.iter().map(|s| s.name.as_str()).collect();
        let proved =
            sender.proved_at.map_or("not proved yet".to_owned(), |at| format!("proved {at}"));
        println!("{domain}  tenant {}  keys {}  {proved}", sender.tenant, names.join(" "));
    }
    Ok(ExitCode::SUCCESS)
}
