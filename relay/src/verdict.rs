//! What an answer means for the recipient: delivered, failed, or again, and when. What it means
//! is `mail::classify`'s to say; here it becomes an outcome and an event.

use std::sync::Arc;
use std::time::Duration;

use mail::classify::{Finding, Own, Permanence, Said, Signal};
use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::retry::{Hint, Next};
use mail::{Event, Phase, Reply, Scope};

use crate::delivery::{Refusal, set_aside};
use crate::job::{Job, Settlement};
use crate::meters::{self, Came};
use crate::relay::Relay;
use crate::site::SiteLane;
use crate::smtp::{self, Transaction};
use crate::unconnected::{network, shut_out};

/// Who was refused because the source is blocked goes again, where another source can bring it; so
/// often at most, for what only sounds like a block shall not be insisted on.
const BLOCKED_ATTEMPTS_MAX: u8 = 3;

/// What the event tells of the conversation.
pub(crate) struct Told {
    pub(crate) mx: String,
    pub(crate) tls: String,
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
}

pub(crate) async fn refuse_all(relay: &Arc<Relay>, jobs: Vec<Job>, refusal: &Refusal) {
    let reply = refusal.own.reply(&refusal.text);
    for job in jobs {
        let failure = Failure::own(refusal.phase, refusal.own, &reply);
        let settlement = conclude(relay, job, failure, None).await;
        relay.settle(settlement).await;
    }
}

/// What a transaction's end means for the recipient; `None` when it goes again at once,
/// or is settled already.
pub(crate) async fn judge(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    transaction: Transaction,
    told: &Told,
    carried: u32,
) -> Option<Settlement> {
    let phase = transaction.phase;
    let (reply, note) = match transaction.outcome {
        smtp::Outcome::Accepted => {
            site.pace.saw(Signal::None, true, carried, job.epoch);
            relay.holds.passed(&job, &site.key.site);
            site.smart.iter().for_each(|smart| smart.opens());
            return Some(delivered(relay, site, job, transaction.reply, told));
        }
        // Not sent. If it is still ours it goes again, else the queue refuses it.
        smtp::Outcome::Withheld => return Some(Settlement::silent(job, Outcome::Back)),
        smtp::Outcome::Refused => (transaction.reply, String::new()),
        // The connection had died while nobody used it: that is no attempt. One that dies fresh is.
        smtp::Outcome::Failed(_) if !transaction.began && carried > 0 => {
            site.push_front(job);
            return None;
        }
        // Some servers say nothing when a connection has carried enough, and close.
        smtp::Outcome::Failed(_) if phase == Phase::Mail && carried > 1 => {
            site.pace.saw(Signal::MessagesPerConnection, false, carried - 1, job.epoch);
            site.push_front(job);
            return None;
        }
        smtp::Outcome::Failed(trouble) => (None, trouble.to_string()),
        smtp::Outcome::NoReplyAfterDot(trouble) => {
            meters::unanswered();
            // See above; here the message was out already, and who knows.
            if phase == Phase::Mail && carried > 1 {
                site.pace.saw(Signal::MessagesPerConnection, false, carried - 1, job.epoch);
            }
            (None, format!("no answer to the final dot ({trouble}): the recipient may have it"))
        }
        smtp::Outcome::Utf8NotOffered => {
            let (own, text) = utf8(&job);
            return Some(refused_here(relay, site, job, (own, text), told).await);
        }
        // Exchangers are asked before: see `connector`. This is a smart host.
        smtp::Outcome::TlsNotAssured { is_verified } => {
            return Some(refused_here(relay, site, job, not_assured(is_verified), told).await);
        }
        smtp::Outcome::TooBig { octets_max } => {
            let text = format!(
                "the message is too big: it has {} octets, the server takes {octets_max}",
                told.bytes
            );
            return Some(refused_here(relay, site, job, (Own::TooBig, &text), told).await);
        }
        smtp::Outcome::Malformed(why) => {
            set_aside(relay, job, &why.to_string()).await;
            return None;
        }
        smtp::Outcome::BadPath => {
            set_aside(relay, job, "an address cannot stand in a command").await;
            return None;
        }
    };
    not_delivered(relay, site, job, (phase, reply, note), told, carried).await
}

fn not_assured(is_verified: bool) -> (Own, &'static str) {
    match is_verified {
        true => (Own::RequireTls, "the campaign demands REQUIRETLS, which is not offered"),
        false => (Own::Unproved, "the campaign demands REQUIRETLS, and TLS is not verified"),
    }
}

/// Whose address is not ASCII: what a campaign has is so for all of its recipients.
fn utf8(job: &Job) -> (Own, &'static str) {
    match job.content.sending.template.needs_smtputf8() {
        true => (
            Own::Utf8Sender,
            "From or Reply-To is not ASCII, and the server takes no such headers (SMTPUTF8)",
        ),
        false => (
            Own::Utf8Recipient,
            "the address is not ASCII, and the server takes no such addresses (SMTPUTF8)",
        ),
    }
}

/// Refused before anything was sent, in the words of a server that would have said so. The pace
/// learns nothing: nobody was asked.
async fn refused_here(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    (own, text): (Own, &str),
    told: &Told,
) -> Settlement {
    let reply = own.reply(text);
    let mut settlement =
        conclude(relay, job, Failure::own(Phase::Local, own, &reply), Some(site)).await;
    told.add_to(&mut settlement);
    settlement
}

/// What a refusal means, or a silence, for the recipient and for the pace.
async fn not_delivered(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    (phase, reply, note): (Phase, Option<Reply>, String),
    told: &Told,
    carried: u32,
) -> Option<Settlement> {
    let finding = match &reply {
        Some(reply) => site.classify(&Said::reply(phase, reply)),
        None => network(phase),
    };
    if let (Some(_), Some(said)) = (&site.smart, reply.as_ref().filter(|r| is_about_login(r))) {
        let (finding, note) = shut_out(relay, site, &said.to_string(), false);
        let failure = Failure { phase, reply: None, finding, note: &note };
        let mut settlement = conclude(relay, job, failure, Some(site)).await;
        told.add_to(&mut settlement);
        return Some(settlement);
    }
    let signal = match pace_signal(&finding, phase) {
        // Said to the first message it is about something else: another connection hears it too.
        Signal::MessagesPerConnection if carried <= 1 => Signal::Rate,
        signal => signal,
    };
    site.pace.asks_hold(finding.reaction.hold.filter(|_| signal == Signal::Block));
    site.pace.saw(signal, reply.is_some(), carried, job.epoch);
    if let (Signal::Block, Some(reply)) = (signal, &reply) {
        site.heard_block(reply);
    }
    if let Some(reply) = &reply {
        relay.holds.heard(&job, &site.key.site, &finding, reply);
    }
    if signal == Signal::MessagesPerConnection {
        site.push_front(job);
        return None;
    }
    let failure = Failure { phase, reply: reply.as_ref(), finding, note: &note };
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    told.add_to(&mut settlement);
    Some(settlement)
}

/// Whether a reply to MAIL and what follows says that we must log in, or not so (RFC 4954, 6).
fn is_about_login(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535 | 538)
}

fn delivered(
    relay: &Relay,
    site: &SiteLane,
    job: Job,
    reply: Option<Reply>,
    told: &Told,
) -> Settlement {
    meters::attempted(site.key.site.as_str(), Came::Delivered);
    let mut event = relay.event(EventKind::Delivered, &job);
    site.key.write(&mut event);
    event.attempt = job.attempt();
    event.phase = Some(Phase::Dot);
    event.reply = reply;
    told.write(&mut event);
    Settlement::told(job, Outcome::End(End::Delivered), event)
}

impl Told {
    fn add_to(&self, settlement: &mut Settlement) {
        settlement.event.iter_mut().for_each(|event| self.write(event));
    }

    fn write(&self, event: &mut Event) {
        event.mx.clone_from(&self.mx);
        event.tls.clone_from(&self.tls);
        event.bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        event.elapsed_ms = u32::try_from(self.took.as_millis()).unwrap_or(u32::MAX);
    }
}

/// An attempt that did not deliver.
pub(crate) struct Failure<'a> {
    pub(crate) phase: Phase,
    pub(crate) reply: Option<&'a Reply>,
    pub(crate) finding: Finding,
    pub(crate) note: &'a str,
}

impl<'a> Failure<'a> {
    /// One that was found here, and how a server would have said it.
    pub(crate) fn own(phase: Phase, own: Own, reply: &'a Reply) -> Self {
        Self { phase, reply: Some(reply), finding: own.finding(), note: "" }
    }
}

/// Failed, expired or deferred; a dead address is suppressed before its failure is settled.
pub(crate) async fn conclude(
    relay: &Arc<Relay>,
    job: Job,
    failure: Failure<'_>,
    site: Option<&Arc<SiteLane>>,
) -> Settlement {
    let finding = failure.finding;
    meters::attempt_failed(finding.category, failure.phase);
    let place = site.map(|site| site.key.site.as_str()).unwrap_or_default();
    // Blocked here is not blocked everywhere: another source of the pool may bring it.
    let is_sources = finding.signal == Signal::Block && finding.scope == Scope::Source;
    let has_other = || site.is_some_and(|site| relay.source_beside(site, &job).is_some());
    let elsewhere = is_sources && job.attempts < BLOCKED_ATTEMPTS_MAX && has_other();
    let theirs = site.and_then(|site| site.retry_least());
    let least = finding.reaction.retry.max(theirs).unwrap_or_default();
    let next = (goes_again(&failure) || elsewhere)
        .then(|| relay.next_attempt(&job, place, hint(&finding), least));
    let (kind, outcome) = match next {
        None => (EventKind::Failed, Outcome::End(End::Failed)),
        Some(Next::GiveUp) => (EventKind::Expired, Outcome::End(End::Expired)),
        Some(Next::At(due)) => (EventKind::Deferred, Outcome::Deferred { due }),
    };
    let mut event = relay.event(kind, &job);
    if let Some(site) = site {
        let came = if kind == EventKind::Deferred { Came::Deferred } else { Came::Failed };
        meters::attempted(site.key.site.as_str(), came);
        site.key.write(&mut event);
    }
    event.attempt = job.attempt();
    event.phase = Some(failure.phase);
    event.reply = failure.reply.cloned();
    event.category = Some(finding.category);
    event.hygiene = Some(finding.hygiene);
    event.scope = Some(finding.scope);
    finding.rule.clone_into(&mut event.rule);
    failure.note.clone_into(&mut event.note);
    if let Outcome::Deferred { due } = outcome {
        event.next_at = Some(due);
    } else {
        relay.weigh_address(&job, &finding, &event).await;
    }
    Settlement::told(job, outcome, event)
}

/// What the pace of this site should make of an answer. "Too many connections" to a
/// connection that was let in long ago is about speed. What is said of a sender's domain, of the
/// content or of a link is no business of the pace: it is held back by itself.
fn pace_signal(finding: &Finding, phase: Phase) -> Signal {
    let is_greeted = !matches!(phase, Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Tls);
    match finding.signal {
        Signal::Connections if is_greeted => Signal::Rate,
        signal => signal,
    }
}

/// Whether another attempt may help. What no server said is as its finding says.
fn goes_again(failure: &Failure<'_>) -> bool {
    let insists = failure.reply.is_some_and(Reply::is_permanent);
    let said = if insists { Permanence::Permanent } else { Permanence::Temporary };
    failure.finding.goes_again(said)
}

fn hint(finding: &Finding) -> Hint {
    match finding.signal {
        Signal::Greylist => Hint::Greylisted,
        Signal::RecipientBusy => Hint::BusyMailbox,
        Signal::None
        | Signal::Rate
        | Signal::Connections
        | Signal::MessagesPerConnection
        | Signal::Block
        | Signal::SenderDomain
        | Signal::LinkDomain
        | Signal::Content
        | Signal::SiteTrouble => Hint::None,
    }
}
