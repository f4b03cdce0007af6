//! Sends reports when their time has come: claims one, makes it of what all relays counted, brings
//! it to each place that the domain names, and keeps what became of it. What does not arrive is
//! tried again with growing pauses, for a day.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dns::Txt;
use futures_util::{StreamExt, stream};
use mail::tlsrpt::{Day, Destination, Report, Submitter, destinations, next_try};
use mail::{Address, Domain, ShardId, Timestamp};
use store::{SealKeys, StoreError, TlsReportState};
use tokio::time::{MissedTickBehavior, interval, timeout};
use web::Https;

use super::way::{Letter, Undelivered};
use crate::meters;
use crate::relay::Relay;

/// Between two looks for reports that are due, and two times of telling what was counted.
const TURN: Duration = Duration::from_secs(60);
/// How long it is asked, in one turn and at the end of a relay, which domains want reports.
const ASKING: Duration = Duration::from_secs(20);
const ASKING_AT_END: Duration = Duration::from_secs(5);
/// A report is brought to all of its places in this time, or is tried again.
const ATTEMPT: Duration = Duration::from_secs(20 * 60);
/// A claim outlives the attempt: who has not ended it by then is dead.
const LEASE: Duration = Duration::from_secs(30 * 60);
/// Reports that are on their way at one time from one relay, each of another shard.
const TOGETHER: usize = 8;

/// Who reports, and with what.
pub(crate) struct Reporting {
    pub(super) from: Address,
    pub(super) submitter: Submitter,
    pub(super) seal: SealKeys,
    pub(super) https: Arc<Https>,
    /// That there is no key to sign with was said.
    pub(super) told_unsigned: AtomicBool,
}

impl Reporting {
    pub(crate) fn new(
        (from, submitter): (Address, Submitter),
        seal: SealKeys,
        https: Arc<Https>,
    ) -> Self {
        Self { from, submitter, seal, https, told_unsigned: AtomicBool::new(false) }
    }
}

impl Relay {
    /// Tells what was counted and sends what is due, each minute until the relay ends.
    pub(crate) async fn report_tls(self: Arc<Self>) {
        if self.reporting.is_none() {
            return;
        }
        let mut ticks = interval(TURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            let asking = timeout(ASKING, self.tally.learn());
            let _ = self.stopping.run_until_cancelled(asking).await;
            self.tally.tell(self.now()).await;
            self.send_due_tls_reports(|| self.now()).await;
        }
    }

    /// Tells the last of what was counted.
    pub(crate) async fn tell_tls_counts(&self) {
        let _ = timeout(ASKING_AT_END, self.tally.learn()).await;
        self.tally.tell(self.now()).await;
    }

    /// Sends those reports that are due by this clock and that nobody else has; answers how many it
    /// tried.
    pub(crate) async fn send_due_tls_reports(&self, clock: impl Fn() -> Timestamp) -> usize {
        let Some(reporting) = &self.reporting else { return 0 };
        let shards: Vec<ShardId> = self.store.all_shards().collect();
        let mut tried = 0;
        for some in shards.chunks(TOGETHER) {
            while !self.stopping.is_cancelled() {
                let now = clock();
                let claimed = match self.store.claim_tls_reports(some, now, LEASE).await {
                    Ok(claimed) if claimed.is_empty() => break,
                    Ok(claimed) => claimed,
                    Err(error) => {
                        tracing::debug!(%error, "TLS reports wait for redis");
                        return tried;
                    }
                };
                tried += claimed.len();
                let send = async |(day, domain): (Day, Domain)| {
                    if let Err(error) = self.report(reporting, day, &domain, now).await {
                        tracing::warn!(%day, %domain, %error, "a TLS report waits");
                    }
                };
                stream::iter(claimed).for_each_concurrent(None, send).await;
            }
        }
        tried
    }

    /// One report, from what was counted to what became of it.
    async fn report(
        &self,
        reporting: &Reporting,
        day: Day,
        domain: &Domain,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(counted) = self.store.tls_day(day, domain).await? else {
            // It is too long ago for anybody to know; nothing is due any more.
            return self.store.tls_reported(day, domain, &TlsReportState::default()).await;
        };
        let mut state = counted.state;
        if state.ended_at.is_some() {
            return self.store.tls_reported(day, domain, &state).await;
        }
        state.attempts = state.attempts.saturating_add(1);
        state.first_at.get_or_insert(now);
        state.failed.clear();
        let report = Report::new(&reporting.submitter, day, domain, &counted.counts);
        let letter = Letter::new(reporting, &report, domain, now);
        let sending = self.bring(&letter, day, &mut state);
        match timeout(ATTEMPT, sending).await {
            Ok(note) => state.note = note?,
            Err(_) => drop(state.failed.insert("all".to_owned(), "it took too long".to_owned())),
        }
        conclude(&mut state, now);
        let is_missed = !state.failed.is_empty() || !state.refused.is_empty();
        if state.ended_at.is_some() && state.sent.is_empty() && is_missed {
            meters::tls_report("all", "dropped");
            tracing::warn!(%day, %domain, "a TLS report was given up: `malleposte tls-reports` has why");
        }
        self.store.tls_reported(day, domain, &state).await
    }

    /// Brings a report to each place that the domain names and that does not have it. Answers what
    /// is to be said of the whole.
    async fn bring(
        &self,
        letter: &Letter<'_>,
        day: Day,
        state: &mut TlsReportState,
    ) -> Result<String, StoreError> {
        let named = match self.resolver.txt(&format!("_smtp._tls.{}", letter.domain)).await {
            Txt::Found(texts) => destinations(&texts),
            Txt::NotFound => Vec::new(),
            Txt::Temporary { why } => {
                state.failed.insert("dns".to_owned(), why);
                return Ok("DNS does not tell where reports go".to_owned());
            }
        };
        if named.is_empty() {
            return Ok("the domain asks for no reports any more".to_owned());
        }
        for destination in &named {
            let uri = destination.to_string();
            if state.sent.contains_key(&uri) || state.refused.contains_key(&uri) {
                continue;
            }
            if self.stopping.is_cancelled() {
                state.failed.insert(uri, "the relay ended".to_owned());
                continue;
            }
            let result = self.bring_to(letter, destination).await;
            let by = match destination {
                Destination::Mail(_) => "mail",
                Destination::Https(_) => "https",
            };
            meters::tls_report(by, result.as_ref().map_or_else(Undelivered::word, |()| "sent"));
            match result {
                Ok(()) => drop(state.sent.insert(uri, letter.now)),
                Err(Undelivered::ForNow(why)) => drop(state.failed.insert(uri, why)),
                Err(Undelivered::ForGood(why)) => drop(state.refused.insert(uri, why)),
            }
            // Whoever takes over shall not send again what has arrived.
            let meanwhile = TlsReportState { next_at: Some(letter.now + LEASE), ..state.clone() };
            self.store.tls_reported(day, letter.domain, &meanwhile).await?;
        }
        Ok(String::new())
    }
}

/// Whether it is at its end, or when it is tried again.
fn conclude(state: &mut TlsReportState, now: Timestamp) {
    let first = state.first_at.unwrap_or(now);
    state.next_at = match state.failed.is_empty() {
        true => None,
        false => next_try(first, state.attempts, now),
    };
    state.ended_at = state.next_at.is_none().then_some(now);
}
