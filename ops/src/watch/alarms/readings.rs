//! What alarms are judged by: measured from what the eyes see, and from the last half hour of history.

use std::collections::BTreeMap;

use ledger::{GroupBy, Ledger, StatsQuestion};
use mail::Timestamp;
use mail::alarm::{Condition, Reading};
use store::{Store, relay_name};

use crate::commands::now;
use crate::config::Config;
use crate::run::metrics::vitals::Disk;
use crate::watch::sights::Sights;

/// History, the balance and the disk are asked so much more rarely than the rest is looked at.
const RARELY: u32 = 6;
const HALF_HOUR_MS: u64 = 30 * 60_000;
/// Fewer ends than these say nothing of a site.
const ENDS_MIN: u64 = 100;
/// Sites that are judged, those with the most attempts.
const SITES: usize = 100;
/// A relay that is silent for so long is no news any more.
const GONE_S: f64 = 86_400.0;
/// Fewer recipients than these may wait for reasons of their own.
const WAITING_MIN: u64 = 1000;
const URGENT_MIN: u64 = 10;
const DAY_MS: f64 = 86_400_000.0;

pub(super) struct Readings {
    config: Config,
    looks: u32,
    /// What is asked rarely, as it was then.
    rare: Vec<Reading>,
    /// Deliveries of the last half hour; `None`: history does not say.
    delivered: Option<u64>,
}

fn reading(condition: Condition, subject: impl Into<String>, value: f64, says: String) -> Reading {
    Reading { condition, subject: subject.into(), value, says }
}

impl Readings {
    pub(super) fn new(config: &Config) -> Self {
        Self { config: config.clone(), looks: 0, rare: Vec::new(), delivered: None }
    }

    pub(super) async fn take(&mut self, sights: Option<&Sights>, store: &Store) -> Vec<Reading> {
        let Some(sights) = sights else {
            let says = "Redis does not answer: nothing is accepted, nothing is sent".to_owned();
            let away = reading(Condition::RedisAway, "", 1.0, says);
            return self.disk().into_iter().flatten().chain([away]).collect();
        };
        if self.looks.is_multiple_of(RARELY) {
            self.rare = self.rarely(store).await;
        }
        self.looks = self.looks.wrapping_add(1);
        let mut readings = self.rare.clone();
        queue(sights, self.delivered, &mut readings);
        campaigns(sights, &mut readings);
        relays(sights, &mut readings);
        redis(sights, &mut readings);
        readings
    }

    async fn rarely(&mut self, store: &Store) -> Vec<Reading> {
        let mut readings: Vec<Reading> = self.disk().into_iter().flatten().collect();
        readings.extend(self.certificate());
        let config = self.config.ledger.clone();
        let asked = tokio::task::spawn_blocking(move || half_hour(&config)).await;
        match asked.map_err(anyhow::Error::from).and_then(|answer| answer) {
            Ok(told) => {
                self.delivered = told.as_ref().map(|(delivered, _)| *delivered);
                readings.extend(told.into_iter().flat_map(|(_, sites)| sites));
            }
            Err(error) => tracing::warn!("alarms cannot ask history: {error:#}"),
        }
        if let Ok(Some(ledger)) = Ledger::existing(&self.config.ledger)
            && let Ok(balance) = ledger.balance(store).await
            && balance.uncompared.is_empty()
        {
            let n = balance.imbalance;
            let says = format!("queue and history disagree by {n} recipients");
            readings.push(reading(Condition::AccountsDiffer, "", n as f64, says));
        }
        readings
    }

    fn disk(&self) -> Option<[Reading; 2]> {
        let folder = &self.config.data_dir;
        let Disk { all, free } = Disk::of(folder).ok()?;
        let share = free as f64 / all.max(1) as f64;
        let gib = |octets: u64| octets as f64 / f64::from(1 << 30);
        let says = format!(
            "{:.1} of {:.1} GiB below {} are free ({:.1} %)",
            gib(free),
            gib(all),
            folder.display(),
            share * 100.0
        );
        let of = |condition| reading(condition, folder.display().to_string(), share, says.clone());
        Some([of(Condition::DiskLow), of(Condition::DiskFull)])
    }

    fn certificate(&self) -> Option<Reading> {
        let ends = bounce_processor::certificate_ends(&self.config.bounces).ok().flatten()?;
        let days = (ends.0 as f64 - now().0 as f64) / DAY_MS;
        let says = format!("the certificate of `bounces.tls` ends at {ends}, in {days:.1} days");
        Some(reading(Condition::CertificateEnds, "", days, says))
    }
}

/// Deliveries of the last half hour, and how its sites fared; `None`: there is no history here.
fn half_hour(config: &ledger::Config) -> anyhow::Result<Option<(u64, Vec<Reading>)>> {
    let Some(ledger) = Ledger::existing(config)? else { return Ok(None) };
    let at = now();
    let period = StatsQuestion::between(Timestamp(at.0.saturating_sub(HALF_HOUR_MS)), at);
    let question = StatsQuestion { by: vec![GroupBy::Site], limit: SITES, ..period };
    let answer = ledger.stats(&question)?;
    let mut sites = Vec::new();
    for row in &answer.rows {
        let (ended, failed) = (row.measures.ended(), row.measures.accounts.failed);
        let Some(site) = row.of.first().filter(|site| !site.is_empty() && ended >= ENDS_MIN) else {
            continue;
        };
        let share = failed as f64 / ended as f64;
        let says = format!(
            "{failed} of {ended} recipients failed within half an hour ({:.1} %)",
            share * 100.0
        );
        sites.push(reading(Condition::SiteBounces, site, share, says));
    }
    Ok(Some((answer.total.measures.accounts.delivered, sites)))
}

fn queue(sights: &Sights, delivered: Option<u64>, into: &mut Vec<Reading>) {
    let mut all = 0;
    for (priority, waiting) in &sights.campaigns.waiting {
        all += waiting.recipients;
        let (condition, least) = match priority {
            0 => (Condition::UrgentMailWaits, URGENT_MIN),
            _ => (Condition::QueueOld, WAITING_MIN),
        };
        if waiting.recipients >= least {
            let (n, hours) = (waiting.recipients, waiting.oldest_s / 3600.0);
            let says = format!(
                "{n} recipients of priority {priority} wait; the oldest campaign has been running for {hours:.1} hours"
            );
            into.push(reading(condition, format!("priority {priority}"), waiting.oldest_s, says));
        }
    }
    let running = sights.campaigns.by_status.get("running").copied().unwrap_or(0);
    if let Some(0) = delivered.filter(|_| running > 0) {
        let says = format!("{all} recipients wait, and none was delivered within half an hour");
        into.push(reading(Condition::NothingGoes, "", all as f64, says));
    }
    let fullness = sights.outbox_fullness;
    let says = format!("the fullest outbox is full to {:.1} %", fullness * 100.0);
    into.push(reading(Condition::OutboxFilling, "", fullness, says.clone()));
    into.push(reading(Condition::OutboxFull, "", fullness, says));
    let n = sights.feedback_waiting;
    let says = format!("{n} returned mails wait to be taken into account");
    into.push(reading(Condition::FeedbackWaiting, "", n as f64, says));
    let days = sights.oldest_key_s / 86_400.0;
    let says = format!("the oldest DKIM key that signs was made {days:.0} days ago");
    into.push(reading(Condition::DkimKeyOld, "", days, says));
}

fn campaigns(sights: &Sights, into: &mut Vec<Reading>) {
    for seen in &sights.campaigns.judged {
        let (id, ended) = (seen.id.to_string(), seen.ended);
        let percent = seen.failed * 100.0;
        let says = format!("of {ended} recipients {percent:.1} % failed or came back");
        into.push(reading(Condition::CampaignBounces, &id, seen.failed, says));
        let percent = seen.complained * 100.0;
        let says = format!("of its deliveries {percent:.2} % were reported as spam");
        into.push(reading(Condition::CampaignComplaints, &id, seen.complained, says.clone()));
        into.push(reading(Condition::CampaignComplaintsHigh, &id, seen.complained, says));
    }
}

fn relays(sights: &Sights, into: &mut Vec<Reading>) {
    let (mut live, mut silent) = (0, BTreeMap::new());
    for (id, record) in &sights.relays {
        let name = relay_name(id);
        // One that came back under its name is not silent.
        let least = silent.entry(name).or_insert(f64::MAX);
        *least = least.min(sights.at.since(record.seen_at).as_secs_f64());
        if !record.lives(sights.at) {
            continue;
        }
        live += u32::from(!record.draining);
        let budget = f64::from(record.budget_percent) / 100.0;
        let says = format!(
            "it takes {} % of what it could: {}",
            record.budget_percent,
            record.pressed_by.join("; ")
        );
        into.push(reading(Condition::RelayPressed, name, budget, says));
    }
    for (name, seconds) in silent.into_iter().filter(|(_, seconds)| *seconds < GONE_S) {
        let says = format!("it was last heard of {seconds:.0} s ago; others have what it held");
        into.push(reading(Condition::SilentRelay, name, seconds, says));
    }
    let says = format!("{live} relays are live");
    into.push(reading(Condition::NoRelay, "", f64::from(live), says));
    for pace in sights.paces.iter().filter(|pace| pace.is_blocked) {
        let subject = format!("{} at {}", pace.source, pace.site);
        let says = format!("{} blocks source {}; probes alone go", pace.site, pace.source);
        into.push(reading(Condition::SourceBlocked, subject, 1.0, says));
    }
}

fn redis(sights: &Sights, into: &mut Vec<Reading>) {
    for server in &sights.servers {
        let name = &server.name;
        let of = |condition, value, says| reading(condition, name, value, says);
        let broken = f64::from(u8::from(!server.is_persisting));
        into.push(of(
            Condition::RedisNotPersisting,
            broken,
            "what it is told does not reach its disk".to_owned(),
        ));
        let seconds = server.latency.as_secs_f64();
        into.push(of(
            Condition::RedisSlow,
            seconds,
            format!("it takes {:.0} ms to answer", seconds * 1000.0),
        ));
        if server.memory_max_bytes > 0 {
            let share = server.memory_bytes as f64 / server.memory_max_bytes as f64;
            let says = format!(
                "{:.0} % of its {} MB are used",
                share * 100.0,
                server.memory_max_bytes / 1_000_000
            );
            into.push(of(Condition::RedisMemoryHigh, share, says.clone()));
            into.push(of(Condition::RedisMemoryFull, share, says));
        }
    }
}
