//! What each check measures.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ledger::{Measures, StatsQuestion};
use mail::Timestamp;
use mail::throttle::Binding;
use store::{RelayRecord, ServerState};

use super::super::{Desk, Voice, health, history, no_history, now};
use super::{Check, Measured};
use crate::config::Config;
use crate::run::metrics::vitals::{Disk, watched};
use crate::watch::{Campaigns, Memory};
use crate::wiring::connect;

const HOUR_MS: u64 = 3_600_000;

pub(super) async fn measure(check: Check, config: &Config) -> Result<Measured> {
    match check {
        Check::Api => api(config),
        Check::Disk => disk(config),
        Check::Bounces => bounces(config),
        Check::Complaints => complaints(config),
        Check::Certificate => certificate(config),
        Check::Queue => Ok(queue(&campaigns(config).await?)),
        Check::Age => Ok(age(&campaigns(config).await?)),
        Check::Relays => Ok(relays(&connect(config).await?.relays().await?)),
        Check::Blocked => blocked(config).await,
        Check::Redis => Ok(redis(&connect(config).await?.servers().await?)),
        Check::Memory => Ok(memory(&connect(config).await?.servers().await?)),
        Check::Ledger => Ok(outbox(connect(config).await?.outbox_fullness().await?)),
        Check::Imbalance => imbalance(config).await,
    }
}

async fn campaigns(config: &Config) -> Result<Campaigns> {
    Campaigns::look(&connect(config).await?, &mut Memory::default(), now()).await
}

async fn imbalance(config: &Config) -> Result<Measured> {
    let ledger = history(config)?.ok_or_else(|| no_history(config))?;
    let balance = ledger.balance(&connect(config).await?).await?;
    anyhow::ensure!(
        balance.uncompared.is_empty(),
        "the accounts of {} shards could not be compared",
        balance.uncompared.len()
    );
    let says = format!("queue and history disagree by {} recipients", balance.imbalance);
    Ok(one(balance.imbalance as f64, "", says))
}

fn one(value: f64, unit: &'static str, says: String) -> Measured {
    Measured { value, unit, says, is_critical: false, more: Vec::new() }
}

fn queue(campaigns: &Campaigns) -> Measured {
    let all: u64 = campaigns.waiting.values().map(|waiting| waiting.recipients).sum();
    let by_priority = campaigns.waiting.iter();
    let more = by_priority.map(|(p, w)| (format!("priority {p}"), w.recipients as f64, ""));
    let running = campaigns.by_status.get("running").copied().unwrap_or(0);
    let says = format!("{all} recipients wait, {running} campaigns run");
    Measured { more: more.collect(), ..one(all as f64, "", says) }
}

fn age(campaigns: &Campaigns) -> Measured {
    let oldest_s = campaigns.waiting.values().map(|waiting| waiting.oldest_s).fold(0.0, f64::max);
    let says =
        format!("the oldest campaign with recipients left runs for {:.1} h", oldest_s / 3600.0);
    one(oldest_s / 3600.0, "", says)
}

fn relays(relays: &[(String, RelayRecord)]) -> Measured {
    let at = now();
    let live = |lives| relays.iter().filter(move |(_, r)| r.lives(at) == lives);
    let silent: Vec<&str> = live(false).map(|(name, _)| name.as_str()).collect();
    let mut says = format!("{} relays live", live(true).count());
    if !silent.is_empty() {
        says.push_str(&format!(", silent: {}", silent.join(", ")));
    }
    let more =
        live(true).map(|(name, r)| (format!("budget {name}"), f64::from(r.budget_percent), "%"));
    Measured { more: more.collect(), ..one(live(true).count() as f64, "", says) }
}

async fn blocked(config: &Config) -> Result<Measured> {
    let store = connect(config).await?;
    let paces = Desk::new(&store, config, Voice::Silent)?.seen(store.paces().await?).await?;
    let blocked: Vec<_> = paces.iter().filter(|pace| pace.is_blocked).collect();
    let mut says = format!("{} of {} paces are blocked", blocked.len(), paces.len());
    if let Some(first) = blocked.first() {
        says.push_str(&format!(", such as {} at {}", first.source, first.site));
    }
    let full = paces.iter().filter(|pace| pace.binding == Binding::Ceiling).count();
    Ok(Measured {
        more: vec![("at a ceiling".into(), full as f64, "")],
        ..one(blocked.len() as f64, "", says)
    })
}

fn redis(servers: &[ServerState]) -> Measured {
    let slowest = servers.iter().map(|server| server.latency).max().unwrap_or_default();
    let ms = slowest.as_secs_f64() * 1000.0;
    let unsaved = servers.iter().filter(|server| !server.is_persisting).count();
    let mut says = format!("{} servers, the slowest answers in {ms:.1} ms", servers.len());
    if unsaved > 0 {
        says.push_str(&format!("; {unsaved} cannot write to disk"));
    }
    let more = servers.iter().map(|s| (format!("clients {}", s.name), s.clients as f64, ""));
    // A server that keeps nothing is worse than a slow one.
    Measured { more: more.collect(), is_critical: unsaved > 0, ..one(ms, "ms", says) }
}

fn memory(servers: &[ServerState]) -> Measured {
    let used = |s: &ServerState| match s.memory_max_bytes {
        0 => 0.0,
        max => s.memory_bytes as f64 * 100.0 / max as f64,
    };
    let fullest = servers.iter().map(used).fold(0.0, f64::max);
    let bytes: u64 = servers.iter().map(|server| server.memory_bytes).sum();
    let unlimited = servers.iter().all(|server| server.memory_max_bytes == 0);
    let mib = bytes / (1 << 20);
    let says = match unlimited {
        true => format!("{mib} MiB are used; no limit is set"),
        false => format!("{mib} MiB are used, {fullest:.0} % of the limit where it is fullest"),
    };
    Measured { more: vec![("used".into(), bytes as f64, "B")], ..one(fullest, "%", says) }
}

fn outbox(fullness: f64) -> Measured {
    let percent = fullness * 100.0;
    one(percent, "%", format!("the fullest outbox is full to {percent:.1} %"))
}

/// The last hour.
fn hour(config: &Config) -> Result<Measures> {
    let ledger = history(config)?.ok_or_else(|| no_history(config))?;
    let until = now();
    let question = StatsQuestion::between(Timestamp(until.0.saturating_sub(HOUR_MS)), until);
    Ok(ledger.stats(&question)?.total.measures)
}

fn bounces(config: &Config) -> Result<Measured> {
    let hour = hour(config)?;
    let (ended, accounts) = (hour.ended(), hour.accounts);
    let bad = accounts.failed + accounts.returned;
    let percent = bad as f64 * 100.0 / ended.max(1) as f64;
    let says =
        format!("{bad} of {ended} recipients failed or came back within an hour ({percent:.2} %)");
    let more = vec![
        ("delivered".into(), accounts.delivered as f64, ""),
        ("failed".into(), accounts.failed as f64, ""),
        ("returned".into(), accounts.returned as f64, ""),
        ("deferred".into(), accounts.deferrals as f64, ""),
    ];
    Ok(Measured { more, ..one(percent, "%", says) })
}

fn complaints(config: &Config) -> Result<Measured> {
    let hour = hour(config)?;
    let (complained, delivered) = (hour.accounts.complained, hour.accounts.delivered);
    let percent = complained as f64 * 100.0 / delivered.max(1) as f64;
    let says =
        format!("{complained} of {delivered} deliveries of the last hour were reported as spam");
    Ok(Measured {
        more: vec![("complained".into(), complained as f64, "")],
        ..one(percent, "%", says)
    })
}

fn api(config: &Config) -> Result<Measured> {
    let began = Instant::now();
    health::get(config.api.listen, "/readyz").context("the API is not ready")?;
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    Ok(one(ms, "ms", format!("the API is ready, in {ms:.1} ms")))
}

fn disk(config: &Config) -> Result<Measured> {
    let measure = |folder: &Path| {
        let Disk { all, free } = Disk::of(folder).with_context(|| folder.display().to_string())?;
        let percent = 100.0 - free as f64 * 100.0 / all.max(1) as f64;
        let says =
            format!("{percent:.0} % of {} GiB below {} are used", all >> 30, folder.display());
        Ok(Measured { more: vec![("free".into(), free as f64, "B")], ..one(percent, "%", says) })
    };
    let disks = watched(&config.data_dir, &config.ledger.folder).into_iter().map(measure);
    let disks = disks.collect::<Result<Vec<Measured>>>()?;
    disks
        .into_iter()
        .max_by(|one, other| one.value.total_cmp(&other.value))
        .context("no disk is watched")
}

fn certificate(config: &Config) -> Result<Measured> {
    let ends = bounce_processor::certificate_ends(&config.bounces)?;
    let ends = ends.context("no certificate is configured: bounces.tls.certificate is not set")?;
    let days = (ends.0 as f64 - now().0 as f64) / 86_400_000.0;
    Ok(one(days, "", format!("the certificate ends at {ends}, in {days:.1} days")))
}
