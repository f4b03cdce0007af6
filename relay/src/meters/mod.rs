//! The relay's metrics. Labels are bounded: outcomes, categories, phases, terms, the busiest sites.

mod busiest;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail::holds::{Cause, Kind};
use mail::load::{self, Budget};
use mail::queue::{End, Judgement, Outcome};
use mail::{Category, Phase};
use metrics::{Counter, Histogram, counter, gauge, histogram};

use busiest::Busiest;

/// Outcomes as the queue judged them.
pub(crate) fn settled(judged: impl Iterator<Item = (Outcome, Judgement)>) {
    let judged: Vec<_> = judged.map(|(outcome, judgement)| (word(outcome), judgement)).collect();
    // Nearly always one run: a look-up of the counter costs more than to count.
    for run in judged.chunk_by(|a, b| a == b) {
        let (word, judgement) = run[0];
        count(word, judgement, run.len() as u64);
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::End(End::Delivered) => "delivered",
        Outcome::End(End::Failed) => "failed",
        Outcome::End(End::Suppressed) => "suppressed",
        Outcome::End(End::Expired) => "expired",
        Outcome::End(End::Cancelled) => "cancelled",
        Outcome::End(End::SetAside) => "set_aside",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Waits { .. } => "waits",
        Outcome::Back => "back",
    }
}

fn count(word: &'static str, judgement: Judgement, n: u64) {
    match judgement {
        Judgement::Applied => {
            counter!("malleposte_relay_settled_total", "outcome" => word).increment(n)
        }
        Judgement::Late => counter!("malleposte_relay_late_total").increment(n),
        Judgement::Twice => counter!("malleposte_relay_duplicates_total").increment(n),
        Judgement::Refused => counter!("malleposte_relay_refused_settles_total").increment(n),
    }
}

/// Recipients that were leased.
pub(crate) fn leased(recipients: usize) {
    counter!("malleposte_relay_leased_total").increment(recipients as u64);
}

/// How long the queue took to answer for one or more settlements.
pub(crate) fn settled_in(took: Duration) {
    histogram!("malleposte_relay_settle_seconds").record(took);
}

/// What came of an attempt at a site.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Came {
    Delivered,
    Deferred,
    Failed,
}

static BUSIEST: LazyLock<Mutex<Busiest>> =
    LazyLock::new(|| Mutex::new(Busiest::new(Instant::now())));

/// An attempt at a site that came to an answer.
pub(crate) fn attempted(site: &str, came: Came) {
    let now = Instant::now();
    let label = BUSIEST.lock().unwrap_or_else(PoisonError::into_inner).label(site, now).to_owned();
    let outcome = match came {
        Came::Delivered => "delivered",
        Came::Deferred => "deferred",
        Came::Failed => "failed",
    };
    counter!("malleposte_relay_attempts_total", "site" => label, "outcome" => outcome).increment(1);
}

/// Messages that the pace of a site allowed.
pub(crate) fn permitted(messages: u32) {
    counter!("malleposte_relay_permits_total").increment(u64::from(messages));
}

/// How long a server let us wait for a reply, by what it replied to. Looked up once: it is told
/// several times a message.
pub(crate) fn waited(phase: Phase, took: Duration) {
    static WAITED: LazyLock<Vec<Histogram>> = LazyLock::new(|| {
        let of =
            |phase: &Phase| histogram!("malleposte_relay_smtp_seconds", "phase" => phase.as_str());
        Phase::ALL.iter().map(of).collect()
    });
    if let Some(histogram) = WAITED.get(phase as usize) {
        histogram.record(took);
    }
}

/// A connection was tried: how TLS stood on it, or in which phase it failed.
pub(crate) fn connected(outcome: &'static str) {
    counter!("malleposte_relay_sessions_total", "outcome" => outcome).increment(1);
}

/// An attempt that did not deliver.
pub(crate) fn attempt_failed(category: Category, phase: Phase) {
    counter!("malleposte_relay_failed_attempts_total",
        "category" => category.as_str(), "phase" => phase.as_str())
    .increment(1);
}

/// How long a whole transaction took, whatever its end.
pub(crate) fn transaction(took: Duration, bytes: usize) {
    static TOOK: LazyLock<Histogram> =
        LazyLock::new(|| histogram!("malleposte_relay_transaction_seconds"));
    static SENT: LazyLock<Counter> =
        LazyLock::new(|| counter!("malleposte_relay_sent_bytes_total"));
    TOOK.record(took);
    SENT.increment(bytes as u64);
}

/// A connection ended after the final dot without a reply: a term of the bound on duplicates.
pub(crate) fn unanswered() {
    counter!("malleposte_relay_unanswered_total").increment(1);
}

/// What a kill of this relay could double at most: the first term of the bound.
pub(crate) fn kill_could_double(connections: usize, unsettled_max: u8) {
    let messages = connections * usize::from(unsettled_max);
    gauge!("malleposte_relay_unsettled_max").set(messages as f64);
}

/// Something is held at a site by itself from now on, found by this relay.
pub(crate) fn held(kind: Kind, cause: Cause) {
    counter!("malleposte_relay_holds_total", "kind" => kind.as_str(), "cause" => cause.as_str())
        .increment(1);
}

/// TLS sessions with a domain that there was no room to count for.
pub(crate) fn tls_uncounted() {
    counter!("malleposte_relay_tls_uncounted_total").increment(1);
}

/// A TLS report to one destination: by mail or to a web server; sent, failed or refused. One that
/// is given up is dropped once more as a whole.
pub(crate) fn tls_report(by: &'static str, result: &'static str) {
    counter!("malleposte_relay_tls_reports_total", "by" => by, "result" => result).increment(1);
}

/// Outcomes that the store has not confirmed: the last term, should Redis lose its memory.
pub(crate) fn unsettled(outcomes: usize) {
    gauge!("malleposte_relay_unsettled").set(outcomes as f64);
}

/// Whether an edit of the providers is refused, and older ones hold.
pub(crate) fn providers(refused: bool) {
    gauge!("malleposte_relay_providers_refused").set(f64::from(u8::from(refused)));
}

/// A source has used up an hour or a day at some provider.
pub(crate) fn quota_full(source: &str) {
    counter!("malleposte_relay_quota_full_total", "source" => source.to_owned()).increment(1);
}

/// What the relay holds now.
pub(crate) fn holding(in_hand: usize, connections: usize, sites: usize) {
    gauge!("malleposte_relay_in_hand").set(in_hand as f64);
    gauge!("malleposte_relay_connections").set(connections as f64);
    gauge!("malleposte_relay_sites").set(sites as f64);
}

/// The budget that the host's load leaves, what that comes to in messages a second, and what takes
/// how much of it.
pub(crate) fn load(budget: &Budget, able: f64) {
    gauge!("malleposte_relay_budget").set(budget.level());
    gauge!("malleposte_relay_ceiling").set(budget.level() * able);
    for signal in load::Signal::ALL {
        let cause = budget.causes().iter().find(|cause| cause.signal == *signal);
        gauge!("malleposte_relay_pressure", "cause" => signal.as_str())
            .set(cause.map_or(0.0, |cause| cause.pressure));
    }
}
