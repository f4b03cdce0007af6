//! What an operator is told of keys: their records, their states, and what DNS shows.

use std::process::ExitCode;

use dns::{Resolver, Txt};
use mail::Domain;
use message::published::{Shown, compare};
use serde_json::{Value, json};
use store::{KeyState, Selector, Store};

use super::keys::known;
use crate::config::Config;

/// A TXT record's strings hold 255 octets each (RFC 1035, 3.3).
const STRING_OCTETS_MAX: usize = 255;

/// New keys, and what to do with them.
pub(super) fn made(domain: &Domain, keys: &[Selector]) {
    records(domain, &keys.iter().collect::<Vec<_>>());
    for key in keys.iter().filter(|key| key.state != KeyState::Active) {
        let name = &key.name;
        println!(
            "\nIt does not sign yet: `malleposte dkim activate {domain} {name}`, once it can be seen"
        );
    }
}

/// Records ready to be pasted into a zone.
pub(super) fn records(domain: &Domain, keys: &[&Selector]) {
    let what = if keys.len() == 1 { "this TXT record" } else { "these TXT records" };
    println!("Publish {what}; mail from {domain} is taken once it can be seen:\n");
    for key in keys {
        println!("{}. TXT {}", key.dns_name(domain), quoted(&key.record));
    }
}

fn quoted(record: &str) -> String {
    let parts = record.as_bytes().chunks(STRING_OCTETS_MAX).map(String::from_utf8_lossy);
    parts.map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(" ")
}

/// Asks DNS for each key.
pub(super) async fn check(
    store: &Store,
    config: &Config,
    domain: &Domain,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let sender = known(store, domain).await?;
    let resolver = Resolver::new(&config.dns)?;
    let mut is_good = true;
    let mut told = Vec::new();
    for key in &sender.selectors {
        let name = key.dns_name(domain);
        let finding = Finding::of(&resolver.txt(&name).await, key);
        is_good &= finding.is_right() || key.state != KeyState::Active;
        if is_json {
            told.push(finding.json(&name, key));
        } else {
            println!("{name} ({}, {}): {}", key.algorithm, key.state, finding.told(&name, key));
        }
    }
    if is_json {
        println!("{}", json!({ "domain": domain.as_str(), "good": is_good, "keys": told }));
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What DNS says of a key.
enum Finding {
    Shown(Shown),
    /// The name servers do not answer.
    Unknown(String),
}

impl Finding {
    fn of(answer: &Txt, key: &Selector) -> Self {
        match answer {
            Txt::Found(texts) => Self::Shown(compare(texts, &key.record)),
            Txt::NotFound => Self::Shown(Shown::Missing),
            Txt::Temporary { why } => Self::Unknown(why.clone()),
        }
    }

    fn is_right(&self) -> bool {
        matches!(self, Self::Shown(Shown::Right))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Shown(Shown::Right) => "right",
            Self::Shown(Shown::Missing) => "missing",
            Self::Shown(Shown::Revoked | Shown::Other | Shown::Several(_)) => "different",
            Self::Shown(Shown::InRecords(_) | Shown::Quoted | Shown::Cut(_)) => "split badly",
            Self::Unknown(_) => "unknown",
        }
    }

    /// In words, with what to do; nothing needs to be done for a retired key.
    fn told(&self, name: &str, key: &Selector) -> String {
        let publish = format!("publish\n  {name}. TXT {}", quoted(&key.record));
        match self {
            Self::Shown(Shown::Right) => "right".to_owned(),
            Self::Shown(_) if key.state == KeyState::Retired => {
                format!("{}; it signs no more: remove the key when its week is over", self.word())
            }
            Self::Shown(Shown::Missing) => format!("missing: {publish}"),
            Self::Shown(Shown::Revoked) => {
                format!("different: the record there revokes the key (p= is empty); {publish}")
            }
            Self::Shown(Shown::Other) => {
                format!("different: another record is there; take it away and {publish}")
            }
            Self::Shown(Shown::Several(n)) => format!(
                "different: {n} key records are there, this one among them; take the others away"
            ),
            Self::Shown(Shown::InRecords(n)) => {
                format!(
                    "split badly: in {n} records; make it one record with several strings: {publish}"
                )
            }
            Self::Shown(Shown::Quoted) => {
                format!("split badly: quotation marks are part of its text; {publish}")
            }
            Self::Shown(Shown::Cut(n)) => {
                format!(
                    "split badly: cut off after {n} octets; give it as several strings: {publish}"
                )
            }
            Self::Unknown(why) => format!("unknown: the name servers do not answer ({why})"),
        }
    }

    fn json(&self, name: &str, key: &Selector) -> Value {
        let mut view = view(key);
        view["name"] = json!(name);
        view["dns"] = json!(self.word());
        view["told"] = json!(self.told(name, key));
        view
    }
}

fn view(key: &Selector) -> Value {
    json!({
        "selector": key.name,
        "algorithm": key.algorithm,
        "state": key.state.as_str(),
        "since": key.since().to_string(),
        "created": key.created_at.to_string(),
        "record": key.record,
    })
}

/// Sender domains and their keys.
pub(super) async fn list(
    store: &Store,
    only: Option<&Domain>,
    is_json: bool,
) -> anyhow::Result<()> {
    let senders = match only {
        Some(domain) => vec![(domain.clone(), known(store, domain).await?)],
        None => store.senders().await?,
    };
    if is_json {
        let views: Vec<Value> = senders
            .iter()
            .map(|(domain, sender)| {
                json!({
                    "domain": domain.as_str(),
                    "tenant": sender.tenant,
                    "proved_at": sender.proved_at.map(|at| at.to_string()),
                    "keys": sender.selectors.iter().map(view).collect::<Vec<_>>(),
                })
            })
            .collect();
        println!("{}", json!({ "senders": views }));
        return Ok(());
    }
    if senders.is_empty() {
        println!("no sender domains yet: `malleposte dkim add DOMAIN` makes the first");
    }
    for (domain, sender) in senders {
        let proved =
            sender.proved_at.map_or("not proved yet".to_owned(), |at| format!("proved {at}"));
        println!("{domain}  tenant {}  {proved}", sender.tenant);
        for key in &sender.selectors {
            let Selector { name, algorithm, state, .. } = key;
            println!("  {name:<12} {algorithm:<8} {state:<10} since {}", key.since());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_record_is_printed_in_strings_that_dns_takes() {
        let (_, record) = message::generate(message::Algorithm::Rsa).expect("a key");
        let strings = quoted(&record);
        let parts: Vec<&str> = strings.split('"').skip(1).step_by(2).collect();
        assert!(parts.len() == 2 && parts.iter().all(|part| part.len() <= 255), "{strings}");
        assert_eq!(parts.concat(), record);
        assert_eq!(quoted("v=DKIM1; p="), "\"v=DKIM1; p=\"");
    }
}
