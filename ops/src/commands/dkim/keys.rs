//! Keys of a sender domain made, activated, retired and removed.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use dns::{Resolver, Txt};
use mail::Domain;
use message::published::{Shown, compare};
use message::{Algorithm, Key};
use store::{KeyState, SealKeys, Selector, SenderRecord, SigningKey, Store};

use crate::commands::now;
use crate::config::Config;
use crate::wiring::Keys;

/// Mail is tried for days, and some receivers verify again when it is read: a week after a
/// key's last signature nothing that it signed is on its way.
const RETIRED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Keys to be made.
pub(super) struct Wish<'a> {
    pub(super) algorithms: &'a [Algorithm],
    pub(super) selector: Option<&'a str>,
    pub(super) tenant: &'a str,
}

pub(super) async fn known(store: &Store, domain: &Domain) -> anyhow::Result<SenderRecord> {
    let sender = store.sender(domain).await?;
    sender.with_context(|| {
        format!("{domain} is no sender domain: run `malleposte dkim add {domain}`")
    })
}

/// Makes an RSA key for a domain under this name.
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
    let wish = Wish { algorithms: &[Algorithm::Rsa], selector: Some(selector), tenant };
    let made = make(store, &keys.seal(), domain, &wish).await?;
    made.into_iter().next().context("no key was made")
}

/// Makes keys for a domain. The first of each algorithm on a domain that DNS has not proved
/// yet sign at once; later ones when they are activated.
pub(super) async fn make(
    store: &Store,
    seal: &SealKeys,
    domain: &Domain,
    wish: &Wish<'_>,
) -> anyhow::Result<Vec<Selector>> {
    let before = store.sender(domain).await?;
    let mut sender = before.clone().unwrap_or_else(|| SenderRecord::new(wish.tenant));
    if sender.tenant != wish.tenant {
        bail!("{domain} belongs to tenant {:?}, not to {:?}", sender.tenant, wish.tenant);
    }
    let mut names = Vec::new();
    for algorithm in wish.algorithms {
        let same = sender.active().find(|key| key.algorithm == algorithm.as_str());
        if let (Some(key), None) = (same, wish.selector) {
            bail!(
                "{domain} signs with the {algorithm} key {:?} already: `malleposte dkim rotate \
                 {domain}` makes the next one",
                key.name
            );
        }
        let name = match wish.selector {
            Some(name) if wish.algorithms.len() > 1 && *algorithm == Algorithm::Ed25519 => {
                format!("{name}-ed25519")
            }
            Some(name) => name.to_owned(),
            None => free_name(&sender),
        };
        sender.add(new_key(seal, domain, *algorithm, &name)?).with_context(|| domain.clone())?;
        names.push(name);
    }
    write(store, domain, before.as_ref(), &sender).await?;
    Ok(names.iter().map(|name| sender.key(name).cloned()).collect::<Result<_, _>>()?)
}

/// The next key of each algorithm that signs.
pub(super) async fn rotate(
    store: &Store,
    seal: &SealKeys,
    domain: &Domain,
    only: Option<&[Algorithm]>,
) -> anyhow::Result<Vec<Selector>> {
    let before = known(store, domain).await?;
    let mut sender = before.clone();
    let mut names = Vec::new();
    for active in before.active() {
        let algorithm: Algorithm = active.algorithm.parse()?;
        if only.is_some_and(|only| !only.contains(&algorithm)) {
            continue;
        }
        let waits =
            |key: &&Selector| key.state == KeyState::Published && key.algorithm == active.algorithm;
        if let Some(key) = before.selectors.iter().find(waits) {
            let name = &key.name;
            bail!(
                "{domain} has a new {algorithm} key {name:?} already: publish it (`malleposte dkim \
                 show {domain}`), then `malleposte dkim activate {domain} {name}`"
            );
        }
        let name = free_name(&sender);
        sender.selectors.push(new_key(seal, domain, algorithm, &name)?);
        names.push(name);
    }
    ensure!(!names.is_empty(), "{domain} has no key of this algorithm to rotate");
    write(store, domain, Some(&before), &sender).await?;
    Ok(names.iter().map(|name| sender.key(name).cloned()).collect::<Result<_, _>>()?)
}

fn new_key(
    seal: &SealKeys,
    domain: &Domain,
    algorithm: Algorithm,
    name: &str,
) -> anyhow::Result<Selector> {
    let (pkcs8, record) = message::generate(algorithm)?;
    // A selector that cannot be signed with is refused before it is kept.
    Key::read(algorithm, &pkcs8, name)?;
    let key = SigningKey { selector: name.to_owned(), algorithm: algorithm.to_string(), pkcs8 };
    Ok(Selector::new(seal, domain, &key, record, now()))
}

/// A name is never used for a second key while the first is known: caches hold its record.
fn free_name(sender: &SenderRecord) -> String {
    let numbers = sender.selectors.iter().filter_map(|key| key.name.strip_prefix("mp"));
    let last = numbers.filter_map(|number| number.parse::<u32>().ok()).max().unwrap_or(0);
    format!("mp{}", last.saturating_add(1))
}

/// The relays sign with it within five minutes.
pub(super) async fn activate(
    store: &Store,
    config: &Config,
    domain: &Domain,
    selector: &str,
    force: bool,
) -> anyhow::Result<()> {
    let before = known(store, domain).await?;
    let mut sender = before.clone();
    let retired = sender.activate(selector, now()).with_context(|| domain.clone())?;
    let key = sender.key(selector)?;
    if !force {
        let name = key.dns_name(domain);
        match Resolver::new(&config.dns)?.txt(&name).await {
            Txt::Found(texts) if compare(&texts, &key.record) == Shown::Right => {}
            Txt::Temporary { why } => bail!("{name}: the name servers do not answer: {why}"),
            Txt::Found(_) | Txt::NotFound => bail!(
                "{name} does not show this key: `malleposte dkim check {domain}` says what is wrong"
            ),
        }
    }
    // Others that sign keep the proof that they have; a forced one is looked for again.
    sender.proved_at = match (force, sender.active().count()) {
        (true, _) => None,
        (false, 1) => Some(now()),
        (false, _) => before.proved_at,
    };
    write(store, domain, Some(&before), &sender).await?;
    println!("{domain} signs with {selector} within five minutes");
    if let Some(retired) = retired {
        println!(
            "{retired} is retired: keep its record for a week, then `malleposte dkim remove \
             {domain} {retired}`"
        );
    }
    Ok(())
}

pub(super) async fn retire(store: &Store, domain: &Domain, selector: &str) -> anyhow::Result<()> {
    let before = known(store, domain).await?;
    let mut sender = before.clone();
    sender.retire(selector, now()).with_context(|| domain.clone())?;
    write(store, domain, Some(&before), &sender).await?;
    println!("{domain} signs with {selector} no more; keep its record for a week");
    Ok(())
}

pub(super) async fn remove(
    store: &Store,
    domain: &Domain,
    selector: &str,
    force: bool,
) -> anyhow::Result<()> {
    let before = known(store, domain).await?;
    let mut sender = before.clone();
    let key = sender.remove(selector).with_context(|| domain.clone())?;
    let until = key.since() + RETIRED_FOR;
    if key.state == KeyState::Retired && now() < until && !force {
        bail!(
            "{domain}: {selector:?} is retired since {}, and mail that it signed may be on its way \
             until {until}: wait, or say --force",
            key.since()
        );
    }
    write(store, domain, Some(&before), &sender).await?;
    println!("{selector} is gone; take its record out of DNS: {}", key.dns_name(domain));
    Ok(())
}

async fn write(
    store: &Store,
    domain: &Domain,
    before: Option<&SenderRecord>,
    sender: &SenderRecord,
) -> anyhow::Result<()> {
    let written = store.replace_sender(domain, before, sender).await?;
    ensure!(written, "{domain} was changed by somebody else at the same moment: try again");
    Ok(())
}
