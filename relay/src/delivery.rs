//! The trip of a delivery: lease → resolve → site → permit → render → sign → SMTP →
//! reply → outcome → settle, defer or release. Each step's helper stands below it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::PoolError;
use dns::Exchanger;
use mail::classify::{Finding, Permanence, Said, Signal, classify};
use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::retry::{Hint, Next};
use mail::{
    Address, Category, DeliveryId, Domain, EnhancedStatus, Event, Hygiene, Phase, Reply, ShardId,
    Site, Timestamp,
};
use message::{Envelope, Recipient};
use store::{LeasedBatch, StoreError};

use crate::catalog::Looked;
use crate::job::{Content, Job, Lease, Settlement};
use crate::meters;
use crate::relay::Relay;
use crate::site::SiteLane;
use crate::smtp::{self, SessionError, Transaction};

/// "Too many connections" before any mail: this long until the recipient tries another.
const CONNECTIONS_PAUSE: Duration = Duration::from_millis(300);
/// Between two looks at whether a lease was renewed.
const RENEWAL_PAUSE: Duration = Duration::from_millis(200);

/// A lease was answered: its recipients find their sites, or their end.
pub(crate) async fn begin(relay: &Arc<Relay>, shard: ShardId, epoch: u64, leased: LeasedBatch) {
    let Some(jobs) = open(relay, shard, epoch, leased).await else { return };
    let jobs = sift(relay, jobs).await;
    for (domain, jobs) in by_domain(jobs) {
        let whereto = tokio::select! {
            whereto = relay.destination(&domain) => whereto,
            () = relay.stopping.cancelled() => {
                hand_back(relay, jobs).await;
                continue;
            }
        };
        match whereto {
            Whereto::Site(destination) => {
                for job in jobs {
                    relay.site_for(&destination, &job).push(job);
                }
            }
            Whereto::Nowhere(refusal) => refuse_all(relay, jobs, &refusal).await,
        }
    }
}

/// One recipient's attempt, from the permit to the settlement.
pub(crate) async fn attempt(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    message: &mut Vec<u8>,
) {
    if relay.stopped(&job).is_some() {
        return relay.settle_stopped(job).await;
    }
    let (shard, epoch) = (job.lease.shard, job.lease.epoch);
    if relay.heart.is_gone(shard, epoch) {
        return;
    }
    if !relay.heart.is_ours(shard, epoch) {
        // Redis is away: nothing new is begun until it is known whose this is.
        site.push_front(job);
        return tokio::time::sleep(RENEWAL_PAUSE).await;
    }
    let started = Instant::now();
    let mut wire = match site.sessions.get().await {
        Ok(wire) => wire,
        Err(PoolError::Backend(error)) => return not_connected(relay, site, job, &error).await,
        Err(_) => return relay.settle(Settlement::silent(job, Outcome::Back)).await,
    };
    site.reachable();
    let address: Address = match job.address().parse() {
        Ok(address) => address,
        Err(error) => return set_aside(relay, job, &format!("its address {error}")).await,
    };
    if let Err(why) = compose(relay, &job, &address, message) {
        return set_aside(relay, job, &why).await;
    }
    let Some(place) = wire.place().await else { return };
    let mail_from = relay.return_path(&job, &address);
    let envelope = smtp::Envelope {
        mail_from: &mail_from,
        rcpt_to: job.address(),
        smtputf8: address.needs_smtputf8(),
    };
    let is_ours = || relay.heart.is_ours(shard, epoch);
    let transaction = wire.session.transact(&envelope, message, is_ours).await;
    meters::transaction(started.elapsed(), message.len());

    let carried = wire.session.transactions();
    let told = Told {
        mx: wire.mx.clone(),
        tls: wire.session.tls().map(|t| format!("{} {}", t.version, t.cipher)).unwrap_or_default(),
        bytes: message.len(),
        took: started.elapsed(),
    };
    if carried >= site.pace.per_connection() || !wire.session.is_usable() {
        SiteLane::close(wire);
    } else {
        drop(wire);
    }
    if let Some(settlement) = judge(relay, site, job, transaction, &told, carried).await {
        relay.settle(settlement.holding(place)).await;
    }
}

/// What the event tells of the conversation.
struct Told {
    mx: String,
    tls: String,
    bytes: usize,
    took: Duration,
}

/// A domain's exchangers and the site that they are.
pub(crate) struct Destination {
    pub(crate) site: Site,
    pub(crate) exchangers: Vec<Exchanger>,
}

/// Where the recipients of a domain go.
pub(crate) enum Whereto {
    /// To its exchangers.
    Site(Arc<Destination>),
    /// Nowhere, and why, in the words of a server that would have said so.
    Nowhere(Refusal),
}

/// A refusal that came from no server.
pub(crate) struct Refusal {
    pub(crate) phase: Phase,
    pub(crate) code: u16,
    pub(crate) status: EnhancedStatus,
    pub(crate) text: String,
}

impl Refusal {
    fn finding(&self) -> Finding {
        classify(&Said {
            phase: self.phase,
            code: Some(self.code),
            status: Some(self.status),
            text: &self.text,
        })
    }
}

/// Reads the batch and finds the campaign; what cannot be read is set aside, what is
/// not readable now goes back.
async fn open(
    relay: &Arc<Relay>,
    shard: ShardId,
    epoch: u64,
    leased: LeasedBatch,
) -> Option<Vec<Job>> {
    let LeasedBatch { lease: l, blob } = leased;
    let lease = Arc::new(Lease {
        shard,
        token: l.token,
        slot: l.slot,
        batch: l.batch,
        lane: l.lane,
        count: l.count,
        epoch,
    });
    let batch = match relay.batches.read(&relay.store, shard, l.batch, blob).await {
        Ok(batch) => batch,
        Err(error) => return not_read(relay, &lease, &l.items, &error).await,
    };
    let sending = match relay.catalog.look_up(lease.lane.campaign).await {
        Looked::Ready(sending) => sending,
        Looked::NotNow(error) => return not_read(relay, &lease, &l.items, &error).await,
        Looked::Unsendable(why) => {
            tracing::error!(campaign = %lease.lane.campaign, %why, "set aside");
            return all_aside(relay, &lease, &l.items, &why.to_string()).await;
        }
    };
    let content = Arc::new(Content { batch, sending });
    let jobs =
        l.items.iter().map(|item| Job::new(lease.clone(), *item, content.clone(), &relay.in_hand));
    let jobs: Vec<Job> = jobs.collect();
    if !l.cancelling {
        return Some(jobs);
    }
    for job in jobs {
        let event = relay.event(EventKind::Cancelled, &job);
        relay.settle(Settlement::told(job, Outcome::End(End::Cancelled), event)).await;
    }
    None
}

/// A newer record is left to newer relays, trouble of the store passes, the rest is set aside.
async fn not_read(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    error: &StoreError,
) -> Option<Vec<Job>> {
    let batch = lease.batch.0;
    let due = Timestamp((relay.now().0 / 1000 + 5) * 1000);
    if error.is_passing() || matches!(error, StoreError::Newer { .. }) {
        tracing::warn!(shard = lease.shard.0, batch, %error, "handed back");
        for (index, _) in items {
            relay
                .settle(Settlement::unread(lease.clone(), *index, Outcome::Waits { due }, None))
                .await;
        }
        return None;
    }
    tracing::error!(shard = lease.shard.0, batch, %error, "set aside");
    all_aside(relay, lease, items, &error.to_string()).await
}

async fn all_aside(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    why: &str,
) -> Option<Vec<Job>> {
    for (index, _) in items {
        let mut event = Event::new(EventKind::SetAside, relay.now());
        event.campaign = Some(lease.lane.campaign);
        let seq = lease.batch.0 + u64::from(*index);
        event.delivery = Some(DeliveryId { shard: lease.shard, seq });
        event.service = relay.heart.relay().to_owned();
        why.clone_into(&mut event.note);
        let end = Outcome::End(End::SetAside);
        relay.settle(Settlement::unread(lease.clone(), *index, end, Some(event))).await;
    }
    None
}

/// Ends what needs no attempt: too old, or suppressed since it was accepted.
async fn sift(relay: &Arc<Relay>, jobs: Vec<Job>) -> Vec<Job> {
    let Some(first) = jobs.first() else { return jobs };
    let tenant = first.content.sending.tenant.clone();
    let folded: Vec<String> = jobs.iter().map(|j| j.address().to_lowercase()).collect();
    let shard = first.lease.shard;
    let suppressed = match relay.store.suppressed(shard, &tenant, &folded).await {
        Ok(suppressed) => suppressed,
        Err(error) => {
            tracing::warn!(shard = shard.0, %error, "cannot ask the suppression list; handed back");
            hand_back(relay, jobs).await;
            return Vec::new();
        }
    };
    let mut kept = Vec::with_capacity(jobs.len());
    for (job, suppressed) in jobs.into_iter().zip(suppressed) {
        let (kind, end) = if suppressed {
            if let Some((outcome, event)) = own_failure(relay, &tenant, &job).await {
                relay.settle(Settlement::told(job, outcome, event)).await;
                continue;
            }
            (EventKind::Suppressed, End::Suppressed)
        } else if relay.is_expired(&job) {
            (EventKind::Expired, End::Expired)
        } else {
            kept.push(job);
            continue;
        };
        let event = relay.event(kind, &job);
        relay.settle(Settlement::told(job, Outcome::End(end), event)).await;
    }
    kept
}

/// An address that this very delivery got suppressed: the relay that heard the refusal noted it
/// and was lost before it could settle. Then this is a failure, told a little late.
async fn own_failure(relay: &Relay, tenant: &str, job: &Job) -> Option<(Outcome, Event)> {
    let address = job.address().to_lowercase();
    let record = relay.store.suppression(tenant, &address).await.ok()??;
    if record.delivery != Some(job.delivery()) || record.category.is_none() {
        return None;
    }
    let mut event = relay.event(EventKind::Failed, job);
    event.category = record.category;
    event.reply = Reply::parse(&record.evidence);
    event.attempt = job.attempt();
    "heard by a relay that was lost before it could settle".clone_into(&mut event.note);
    Some((Outcome::End(End::Failed), event))
}

async fn hand_back(relay: &Relay, jobs: Vec<Job>) {
    for job in jobs {
        relay.settle(Settlement::silent(job, Outcome::Back)).await;
    }
}

fn by_domain(jobs: Vec<Job>) -> BTreeMap<Domain, Vec<Job>> {
    let mut domains: BTreeMap<Domain, Vec<Job>> = BTreeMap::new();
    for job in jobs {
        // Intake let nothing else in.
        if let Some(domain) = job.domain() {
            domains.entry(domain).or_default().push(job);
        }
    }
    domains
}

/// Render and sign into `message`.
fn compose(
    relay: &Relay,
    job: &Job,
    address: &Address,
    message: &mut Vec<u8>,
) -> Result<(), String> {
    let sending = &job.content.sending;
    let batch = &job.content.batch;
    let values: Vec<&str> = (0..batch.fields()).map(|f| batch.value(job.index, f)).collect();
    let name = Some(batch.name(job.index)).filter(|n| !n.is_empty());
    let delivery = job.delivery();
    let message_id = format!("{delivery}.{}@{}", sending.id, sending.sender);
    let link = relay.unsubscribe_link(job);
    message.clear();
    let envelope = Envelope {
        delivery,
        message_id: &message_id,
        date: batch.accepted_at(),
        unsubscribe_url: Some(&link),
        unsubscribe_mailto: None,
        feedback_id: Some(&sending.feedback_id),
    };
    let recipient = Recipient { address, name, values: &values };
    sending.template.render(&recipient, &envelope, message).map_err(|e| e.to_string())?;
    let Some(signer) = &sending.signer else { return Ok(()) };
    signer.sign(batch.accepted_at(), message).map_err(|e| e.to_string())
}

async fn set_aside(relay: &Arc<Relay>, job: Job, why: &str) {
    tracing::error!(campaign = %job.content.sending.id, delivery = %job.delivery(), why, "set aside");
    let mut event = relay.event(EventKind::SetAside, &job);
    why.clone_into(&mut event.note);
    relay.settle(Settlement::told(job, Outcome::End(End::SetAside), event)).await;
}

async fn refuse_all(relay: &Arc<Relay>, jobs: Vec<Job>, refusal: &Refusal) {
    let finding = refusal.finding();
    let reply = Reply::new(refusal.code, Some(refusal.status), &refusal.text);
    for job in jobs {
        let failure = Failure { phase: refusal.phase, reply: Some(&reply), finding, note: "" };
        let settlement = conclude(relay, job, failure, None).await;
        relay.settle(settlement).await;
    }
}

/// No session came about. Everybody rests for a while, this one waits its turn.
async fn not_connected(relay: &Arc<Relay>, site: &Arc<SiteLane>, job: Job, error: &SessionError) {
    let text = error.trouble.as_ref().map(ToString::to_string).unwrap_or_default();
    let finding = match &error.reply {
        Some(reply) => classify(&Said::reply(error.phase, reply)),
        None => network(error.phase, &text),
    };
    site.pace.saw(finding.signal, false, 0);
    if finding.signal == Signal::Connections {
        // One too many, said before any mail: it goes over one that is open.
        tokio::time::sleep(CONNECTIONS_PAUSE).await;
        return site.push_front(job);
    }
    if error.reply.is_none() {
        site.unreachable(relay.now());
    }
    let failure = Failure { phase: error.phase, reply: error.reply.as_ref(), finding, note: &text };
    let settlement = conclude(relay, job, failure, Some(site)).await;
    relay.settle(settlement).await;
}

fn network(phase: Phase, text: &str) -> Finding {
    let finding =
        classify(&Said { phase, code: Some(451), status: Some(EnhancedStatus(4, 4, 1)), text });
    Finding { category: Category::Network, hygiene: Hygiene::None, ..finding }
}

/// What a transaction's end means for the recipient; `None` when it goes again at once,
/// or is settled already.
async fn judge(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    transaction: Transaction,
    told: &Told,
    carried: u32,
) -> Option<Settlement> {
    let phase = transaction.phase;
    let local = |status: EnhancedStatus, text: String| Reply::new(550, Some(status), &text);
    let (reply, note) = match transaction.outcome {
        smtp::Outcome::Accepted => {
            site.pace.saw(Signal::None, true, carried);
            return Some(delivered(relay, site, job, transaction.reply, told));
        }
        // Not sent. If it is still ours it goes again, else the queue refuses it.
        smtp::Outcome::Withheld => return Some(Settlement::silent(job, Outcome::Back)),
        smtp::Outcome::Refused => (transaction.reply, String::new()),
        // The connection had died while nobody used it: that is no attempt.
        smtp::Outcome::Failed(_) if !transaction.began => {
            site.push_front(job);
            return None;
        }
        // Some servers say nothing when a connection has carried enough, and close.
        smtp::Outcome::Failed(_) if phase == Phase::Mail && carried > 1 => {
            site.pace.saw(Signal::MessagesPerConnection, false, carried - 1);
            site.push_front(job);
            return None;
        }
        smtp::Outcome::Failed(trouble) => (None, trouble.to_string()),
        smtp::Outcome::NoReplyAfterDot(trouble) => {
            meters::unanswered();
            (None, format!("no answer to the final dot ({trouble}): the recipient may have it"))
        }
        smtp::Outcome::Utf8NotOffered => (
            Some(local(EnhancedStatus(5, 6, 7), "the server takes no UTF-8 addresses".into())),
            String::new(),
        ),
        smtp::Outcome::TooBig { octets_max } => {
            let text =
                format!("the message has {} octets, the server takes {octets_max}", told.bytes);
            (Some(local(EnhancedStatus(5, 3, 4), text)), String::new())
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
    let finding = match &reply {
        Some(reply) => classify(&Said::reply(phase, reply)),
        None => network(phase, &note),
    };
    site.pace.saw(pace_signal(&finding, phase), reply.is_some(), carried);
    if finding.signal == Signal::MessagesPerConnection {
        site.push_front(job);
        return None;
    }
    let failure = Failure { phase, reply: reply.as_ref(), finding, note: &note };
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    if let Some(event) = &mut settlement.event {
        told.write(event);
    }
    Some(settlement)
}

fn delivered(
    relay: &Relay,
    site: &SiteLane,
    job: Job,
    reply: Option<Reply>,
    told: &Told,
) -> Settlement {
    let mut event = relay.event(EventKind::Delivered, &job);
    site.key.write(&mut event);
    event.attempt = job.attempt();
    event.phase = Some(Phase::Dot);
    event.reply = reply;
    told.write(&mut event);
    Settlement::told(job, Outcome::End(End::Delivered), event)
}

impl Told {
    fn write(&self, event: &mut Event) {
        event.mx.clone_from(&self.mx);
        event.tls.clone_from(&self.tls);
        event.bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        event.elapsed_ms = u32::try_from(self.took.as_millis()).unwrap_or(u32::MAX);
    }
}

/// An attempt that did not deliver.
struct Failure<'a> {
    phase: Phase,
    reply: Option<&'a Reply>,
    finding: Finding,
    note: &'a str,
}

/// Failed, expired or deferred; a dead address is suppressed before its failure is settled.
async fn conclude(
    relay: &Arc<Relay>,
    job: Job,
    failure: Failure<'_>,
    site: Option<&Arc<SiteLane>>,
) -> Settlement {
    let finding = failure.finding;
    meters::attempt_failed(finding.category, failure.phase);
    let next = goes_again(&failure).then(|| relay.next_attempt(&job, hint(&finding)));
    let (kind, outcome) = match next {
        None => (EventKind::Failed, Outcome::End(End::Failed)),
        Some(Next::GiveUp) => (EventKind::Expired, Outcome::End(End::Expired)),
        Some(Next::At(due)) => (EventKind::Deferred, Outcome::Deferred { due }),
    };
    let mut event = relay.event(kind, &job);
    if let Some(site) = site {
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
/// connection that was let in long ago, and a sender's rate, are both about speed.
fn pace_signal(finding: &Finding, phase: Phase) -> Signal {
    let is_greeted = !matches!(phase, Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Tls);
    match finding.signal {
        Signal::Connections if is_greeted => Signal::Rate,
        Signal::SenderDomain if finding.category == Category::RateLimited => Signal::Rate,
        signal => signal,
    }
}

/// Whether another attempt may help. A server that says 5yz has said never: to insist
/// costs reputation. It is believed unless it only means the pace, as some do.
fn goes_again(failure: &Failure<'_>) -> bool {
    let insists = failure.reply.is_some_and(Reply::is_permanent);
    let is_pace = matches!(
        failure.finding.signal,
        Signal::Rate
            | Signal::Connections
            | Signal::MessagesPerConnection
            | Signal::Greylist
            | Signal::RecipientBusy
    );
    failure.finding.permanence == Permanence::Temporary && (!insists || is_pace)
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
        | Signal::Content
        | Signal::SiteTrouble => Hint::None,
    }
}
