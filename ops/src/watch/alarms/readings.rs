//! What alarms are judged by: measured from what the eyes see, and from the last half hour and week of
//! history.

use std::path::Path;

use ledger::{GroupBy, Ledger, LedgerError, Questions, Sort, StatsQuestion, StatsRow};
use mail::Timestamp;
use mail::alarm::{Condition, Reading};
use store::{RelayState, relay_name};

use super::Look;
use crate::commands::now;
use crate::config::Config;
use crate::run::metrics::vitals::{Disk, watched};
use crate::watch::sights::Sights;

/// History and the certificate are asked so much more rarely than the rest is looked at.
const RARELY: u32 = 6;
/// And a week of history, which moves slowly and takes a second to sum up.
const SELDOM: u32 = 90;
const HALF_HOUR_MS: u64 = 30 * 60_000;
/// People report days later what they got.
const WEEK_MS: u64 = 7 * 86_400_000;
/// Fewer ends than these say nothing of a site.
const ENDS_MIN: u64 = 200;
/// Fewer deliveries than these within a week say nothing of its complaints, which come days later.
const DELIVERIES_MIN: u64 = 1000;
/// A complaint or two are no reason to wake somebody.
const COMPLAINTS_MIN: u64 = 5;
/// Sites that are judged, those with the most attempts or complaints.
const SITES: usize = 100;
/// A relay that is silent for so long is no news any more.
const GONE_S: f64 = 86_400.0;
/// Shortly before that it is said why this is so.
const NEARLY_GONE_S: f64 = GONE_S - 600.0;
/// Fewer recipients than these may wait for reasons of their own.
const WAITING_MIN: u64 = 1000;
const URGENT_MIN: u64 = 10;
const DAY_MS: f64 = 86_400_000.0;

pub(super) struct Readings {
    config: Config,
    /// As it runs here.
    ledger: Ledger,
    /// What happened.
    history: Questions,
    looks: u32,
    /// What is asked rarely, as it was then.
    rare: Vec<Reading>,
    rare_looked_at: Vec<Condition>,
    /// Attempts of the last half hour; `None`: history does not say.
    attempts: Option<u64>,
    /// `None`: history does not say.
    complaints: Option<Vec<SiteComplaints>>,
}

/// What a site's people reported as spam within a week.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SiteComplaints {
    pub(crate) site: String,
    /// The share of what was delivered there.
    pub(crate) share: f64,
    complaints: u64,
    delivered: u64,
}

/// What each look sees all of, where Redis answers. Disks and accounts are not among them: what there is
/// no reading of there could not be measured.
const SEEN: [Condition; 20] = [
    Condition::UrgentMailWaits,
    Condition::QueueOld,
    Condition::NothingGoes,
    Condition::OutboxFilling,
    Condition::OutboxFull,
    Condition::FeedbackWaiting,
    Condition::CampaignBounces,
    Condition::CampaignComplaints,
    Condition::CampaignComplaintsHigh,
    Condition::SourceBlocked,
    Condition::NoRelay,
    Condition::SilentRelay,
    Condition::RelayPressed,
    Condition::HistoryStalled,
    Condition::RedisAway,
    Condition::RedisNotPersisting,
    Condition::RedisMemoryHigh,
    Condition::RedisMemoryFull,
    Condition::RedisSlow,
    Condition::DkimKeyOld,
];

fn reading(condition: Condition, subject: impl Into<String>, value: f64, says: String) -> Reading {
    Reading { condition, subject: subject.into(), value, says }
}

impl Readings {
    pub(super) fn new(config: &Config, ledger: Ledger) -> Self {
        let (rare, rare_looked_at) = (Vec::new(), Vec::new());
        let (attempts, complaints) = (None, None);
        Self {
            config: config.clone(),
            ledger,
            history: Questions::new(config.ledger.clone()),
            looks: 0,
            rare,
            rare_looked_at,
            attempts,
            complaints,
        }
    }

    /// By site, most first, as history had it last.
    pub(super) fn complaints(&self) -> &[SiteComplaints] {
        self.complaints.as_deref().unwrap_or_default()
    }

    /// What was measured, and what was looked at: of that, what is not here is not there.
    pub(super) async fn take(&mut self, seen: Look<'_>) -> (Vec<Reading>, Vec<Condition>) {
        let (mut readings, mut looked_at) = self.disks();
        let Look::All(sights) = seen else {
            if !matches!(seen, Look::Away) {
                return (readings, looked_at);
            }
            let says = "Redis does not answer: nothing is accepted, nothing is sent".to_owned();
            readings.push(reading(Condition::RedisAway, "", 1.0, says));
            looked_at.push(Condition::RedisAway);
            return (readings, looked_at);
        };
        if self.looks.is_multiple_of(RARELY) {
            self.rarely().await;
        }
        if self.looks.is_multiple_of(SELDOM) {
            self.seldom().await;
        }
        self.looks = self.looks.wrapping_add(1);
        readings.extend_from_slice(&self.rare);
        looked_at.extend_from_slice(&self.rare_looked_at);
        looked_at.extend(SEEN);
        if let Some(complaints) = &self.complaints {
            readings.extend(complaints.iter().map(SiteComplaints::reading));
            looked_at.push(Condition::SiteComplaints);
        }
        if let Some(n) = self.ledger.imbalance() {
            let says = format!("queue and history disagree by {n} recipients");
            readings.push(reading(Condition::AccountsDiffer, "", n as f64, says));
        }
        let (value, says) = match self.ledger.stalled() {
            Some(why) => (1.0, format!("mail goes on until the outbox is full: {why}")),
            None => (0.0, "history is written".to_owned()),
        };
        readings.push(reading(Condition::HistoryStalled, "", value, says));
        queue(sights, self.attempts, &mut readings);
        campaigns(sights, &mut readings);
        relays(sights, &mut readings);
        redis(sights, &mut readings);
        (readings, looked_at)
    }

    async fn rarely(&mut self) {
        let mut looked_at = Vec::new();
        let mut readings = Vec::new();
        match self.certificate() {
            Ok(certificate) => {
                readings.extend(certificate);
                looked_at.push(Condition::CertificateEnds);
            }
            Err(error) => tracing::warn!("the certificate cannot be judged: {error}"),
        }
        match self.history.ask(half_hour).await {
            Ok((attempts, sites)) => {
                self.attempts = Some(attempts);
                readings.extend(sites);
                looked_at.push(Condition::SiteBounces);
            }
            Err(error) => {
                self.attempts = None;
                tracing::warn!("alarms cannot ask history: {error}");
            }
        }
        (self.rare, self.rare_looked_at) = (readings, looked_at);
    }

    async fn seldom(&mut self) {
        let answer = self.history.ask(week).await;
        self.complaints = answer
            .inspect_err(|error| tracing::warn!("alarms cannot ask history of the week: {error}"))
            .ok();
    }

    /// The disks that this host must not lose; looked at where all of them could be measured, so that the
    /// alarm of one that is no longer used ends.
    fn disks(&self) -> (Vec<Reading>, Vec<Condition>) {
        let (data_dir, history) = (&self.config.data_dir, &self.config.ledger.folder);
        let folders = watched(data_dir, history);
        let measured: Vec<[Reading; 2]> =
            folders.iter().filter_map(|folder| disk(folder)).collect();
        let is_whole = measured.len() == folders.len() && history.exists();
        let looked_at = if is_whole { &[Condition::DiskLow, Condition::DiskFull][..] } else { &[] };
        (measured.into_iter().flatten().collect(), looked_at.to_vec())
    }

    fn certificate(&self) -> Result<Option<Reading>, bounce_processor::BounceError> {
        let Some(ends) = bounce_processor::certificate_ends(&self.config.bounces)? else {
            return Ok(None);
        };
        let days = (ends.0 as f64 - now().0 as f64) / DAY_MS;
        let says = format!("the certificate of `bounces.tls` ends at {ends}, in {days:.1} days");
        Ok(Some(reading(Condition::CertificateEnds, "", days, says)))
    }
}

fn disk(folder: &Path) -> Option<[Reading; 2]> {
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

/// Attempts of the last half hour, and how its sites fared.
fn half_hour(ledger: &Ledger) -> Result<(u64, Vec<Reading>), LedgerError> {
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
    Ok((answer.total.measures.attempts(), sites))
}

/// The sites whose people report the most, of those with enough to judge by.
fn week(ledger: &Ledger) -> Result<Vec<SiteComplaints>, LedgerError> {
    let at = now();
    let period = StatsQuestion::between(Timestamp(at.0.saturating_sub(WEEK_MS)), at);
    let sort = Sort::Complained;
    let question = StatsQuestion { by: vec![GroupBy::Site], sort, limit: SITES, ..period };
    let of = |row: StatsRow| {
        let accounts = row.measures.accounts;
        let (complaints, delivered) = (accounts.complained, accounts.delivered);
        let is_judged = complaints >= COMPLAINTS_MIN && delivered >= DELIVERIES_MIN;
        let site = row.of.into_iter().next().filter(|site| is_judged && !site.is_empty())?;
        let share = complaints as f64 / delivered as f64;
        Some(SiteComplaints { site, share, complaints, delivered })
    };
    Ok(ledger.stats(&question)?.rows.into_iter().filter_map(of).collect())
}

impl SiteComplaints {
    fn reading(&self) -> Reading {
        let Self { site, share, complaints, delivered } = self;
        let says = format!(
            "within a week {complaints} of {delivered} deliveries were reported as spam ({:.2} %)",
            share * 100.0
        );
        reading(Condition::SiteComplaints, site, *share, says)
    }
}

fn queue(sights: &Sights, attempts: Option<u64>, into: &mut Vec<Reading>) {
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
    if let Some(0) = attempts.filter(|_| running > 0) {
        let says = format!("{all} recipients wait, and none was tried within half an hour");
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
        if seen.complaints >= COMPLAINTS_MIN {
            into.push(reading(Condition::CampaignComplaintsHigh, &id, seen.complained, says));
        }
    }
}

fn relays(sights: &Sights, into: &mut Vec<Reading>) {
    let mut live = 0;
    for (id, record) in &sights.relays {
        let state = record.state(sights.at);
        live += u32::from(state == RelayState::Live);
        if state == RelayState::Silent {
            continue;
        }
        let budget = f64::from(record.budget_percent) / 100.0;
        let says = format!(
            "it takes {} % of what it could: {}",
            record.budget_percent,
            record.pressed_by.join("; ")
        );
        into.push(reading(Condition::RelayPressed, relay_name(id), budget, says));
    }
    for (name, seconds) in sights.silent_s().into_iter().filter(|(_, seconds)| *seconds < GONE_S) {
        let says = match seconds < NEARLY_GONE_S {
            true => format!("it was last heard of {seconds:.0} s ago; others have what it held"),
            false => "it has said nothing for a day and is not waited for any longer".to_owned(),
        };
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
