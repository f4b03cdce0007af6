//! The trip of a delivery: lease → resolve → site → permit → render → sign → SMTP →
//! reply → outcome → settle, defer or release. `opening` has the steps up to the site,
//! `verdict` those after the reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{Object, PoolError};
use dns::Exchanger;
use futures_util::{StreamExt, stream};
use mail::classify::Own;
use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::{Address, Domain, Phase, ShardId, Site, Timestamp};
use message::Message;
use store::LeasedBatch;

use crate::composing::compose;
use crate::connector::{Connector, Wire};
use crate::demand::{Demand, Demanded};
use crate::files::Kept;
use crate::hops::SmartHost;
use crate::job::{Job, Settlement};
use crate::meters;
use crate::opening::{by_domain, hand_back, open, sift};
use crate::placing::Placed;
use crate::relay::{Lined, Relay};
use crate::shares::Flow;
use crate::site::SiteLane;
use crate::smtp::{self, SessionError, Trouble};
use crate::unconnected::not_connected;
use crate::verdict::{Told, judge, refuse_all};

/// Between two looks at whether a lease was renewed.
const RENEWAL_PAUSE: Duration = Duration::from_millis(200);

/// How long a recipient waits whose files cannot be had because the store is in trouble.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Domains of one lease that are looked up at the same time: a lease of the long tail has as
/// many as it has recipients, and one after the other they would take seconds.
const DOMAINS_TOGETHER: usize = 32;

/// A lease was answered: its recipients find their sites, or their end.
pub(crate) async fn begin(
    relay: &Arc<Relay>,
    shard: ShardId,
    epoch: u64,
    leased: LeasedBatch,
    placed: Option<Placed>,
) {
    let Some(jobs) = open(relay, shard, epoch, leased).await else { return };
    let domains = by_domain(sift(relay, jobs).await);
    if let Some(first) = domains.values().flatten().next() {
        let flow = &first.content.sending.flow;
        let directly = domains.keys().filter(|domain| relay.hop(domain, flow).is_none());
        relay.demands.expect(directly);
    }
    let find = async |(domain, jobs): (Domain, Vec<Job>)| {
        let count = jobs.len();
        let crowded_out = find_site(relay, domain, jobs).await;
        placed.iter().for_each(|placed| placed.placed(count, count - crowded_out));
    };
    stream::iter(domains).for_each_concurrent(DOMAINS_TOGETHER, find).await;
}

/// Answers how many could not stay because there were too many of them already.
async fn find_site(relay: &Arc<Relay>, domain: Domain, jobs: Vec<Job>) -> usize {
    // One lease, one campaign: one flow for all of them.
    let Some(first) = jobs.first() else { return 0 };
    let sending = first.content.sending.clone();
    let whereto = tokio::select! {
        whereto = whereto(relay, &domain, &sending.flow) => whereto,
        () = relay.stopping.cancelled() => {
            hand_back(relay, jobs).await;
            return 0;
        }
    };
    let mut crowded_out = 0;
    match whereto {
        (Whereto::Site(_), Demanded::NotYet(due)) => return wait(relay, jobs, due).await,
        (Whereto::Site(destination), demanded) => {
            let demand = demanded.known();
            for mut job in jobs {
                job.demand.clone_from(&demand);
                // Now that the site is known: an order may be about it.
                if let Some(stop) = relay.stopped(&job) {
                    relay.settle_stopped(job, stop).await;
                    continue;
                }
                if let Some(due) = relay.holds.on_trial(&job, &destination.site, relay.now()) {
                    crowded_out += 1;
                    relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
                    continue;
                }
                match relay.line_up(&destination, job) {
                    Lined::Up => {}
                    Lined::Crowded(job, due) => {
                        crowded_out += 1;
                        relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
                    }
                    Lined::Nowhere(job, refusal) => refuse_all(relay, vec![job], &refusal).await,
                }
            }
        }
        (Whereto::Nowhere(refusal), _) => refuse_all(relay, jobs, &refusal).await,
    }
    crowded_out
}

/// Where a flow's recipients of a domain go, and what the domain demands of TLS there. What is
/// demanded of a smart host its operator says.
async fn whereto(relay: &Relay, domain: &Domain, flow: &Flow) -> (Whereto, Demanded) {
    let whereto = relay.destination(domain, flow).await;
    let demanded = match &whereto {
        Whereto::Site(destination) if destination.smart.is_none() => {
            let secure = relay.resolver.is_secure_route(domain).await;
            relay.demands.of(domain, secure, relay.now()).await
        }
        Whereto::Site(_) | Whereto::Nowhere(_) => Demanded::Nothing,
    };
    (whereto, demanded)
}

/// Back to the queue until then, without an attempt.
async fn wait(relay: &Arc<Relay>, jobs: Vec<Job>, due: Timestamp) -> usize {
    let count = jobs.len();
    for job in jobs {
        relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
    }
    count
}

/// One recipient's attempt, from the permit to the settlement.
pub(crate) async fn attempt(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    message: &mut Message,
) {
    let Some((job, files)) = with_files(relay, job).await else { return };
    if let Some(stop) = relay.stopped_from(&job, Some(&site.key.source)) {
        return relay.settle_stopped(job, stop).await;
    }
    if let Some(due) = site.shut_until(relay.now()) {
        return relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
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
    let Some((job, mut wire)) = session(relay, site, job).await else { return };
    let address: Address = match job.address().parse() {
        Ok(address) => address,
        Err(error) => return set_aside(relay, job, &format!("its address {error}")).await,
    };
    let files = files.as_ref().map(|kept| &kept.files);
    if let Err(why) = compose(relay, &job, &address, files, &wire.session, message).await {
        return set_aside(relay, job, &why).await;
    }
    let Some(place) = wire.place().await else { return };
    let mail_from = relay.return_path(&job, &address);
    let envelope_id = job.delivery().to_string();
    let envelope = smtp::Envelope {
        mail_from: &mail_from,
        rcpt_to: job.address(),
        smtputf8: address.needs_smtputf8() || job.content.sending.template.needs_smtputf8(),
        envelope_id: &envelope_id,
        require_tls: job.content.sending.require_tls,
    };
    relay.load.went();
    let is_ours = || relay.heart.is_ours(shard, epoch);
    let transaction = wire.session.transact(&envelope, &*message, is_ours).await;
    meters::transaction(started.elapsed(), message.len());

    if wire.session.is_chunking_broken() {
        site.sessions.manager().chunking_failed(&wire.session);
    }
    let carried = wire.session.transactions();
    let told = Told {
        mx: wire.mx.clone(),
        tls: encryption(&wire, job.demand.as_deref()),
        bytes: message.len(),
        took: started.elapsed(),
    };
    // Where nobody else waits, a connection that others need is not kept.
    let is_spare = relay.is_short_of_connections() && site.waiting() == 0;
    if is_spare || carried >= site.pace.per_connection() || !wire.session.is_usable() {
        SiteLane::close(wire);
    } else {
        drop(wire);
    }
    if let Some(settlement) = judge(relay, site, job, transaction, &told, carried).await {
        relay.settle(settlement.holding(place)).await;
    }
}

/// A recipient with what its message carries, which may have to wait for room; settled where that
/// is not to be had.
async fn with_files(relay: &Arc<Relay>, job: Job) -> Option<(Job, Option<Arc<Kept>>)> {
    match relay.files.of(&job.content.sending).await {
        Ok(files) => return Some((job, files)),
        Err(error) if error.is_passing() => {
            let due = Timestamp(relay.now().0 + STORE_PAUSE.as_millis() as u64);
            relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
        }
        Err(error) => set_aside(relay, job, &error.to_string()).await,
    }
    None
}

/// A session of the site, as the recipient's domain demands it. Without one the recipient is
/// settled, or waits.
async fn session(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
) -> Option<(Job, Object<Connector>)> {
    let (demand, requires_tls) = (job.demand.as_deref(), job.content.sending.require_tls);
    let refused = match demand {
        Some(demand) => demand.rests(requires_tls),
        None if requires_tls => unproved(relay, site).await,
        None => None,
    };
    if let Some(error) = refused {
        not_connected(relay, site, job, &error).await;
        return None;
    }
    let session = match &job.demand {
        Some(demand) => demand.scope(requires_tls, site.sessions.get()).await,
        None => site.sessions.get().await,
    };
    match session {
        Ok(wire) => {
            site.reachable();
            Some((job, wire))
        }
        Err(PoolError::Backend(_)) if relay.stopping.is_cancelled() => {
            relay.settle(Settlement::silent(job, Outcome::Back)).await;
            None
        }
        Err(PoolError::Backend(error)) => {
            if let (Some(trouble), Some(demand)) = (&error.trouble, demand) {
                demand.failed(trouble);
            }
            not_connected(relay, site, job, &error).await;
            None
        }
        Err(_) => {
            relay.settle(Settlement::silent(job, Outcome::Back)).await;
            None
        }
    }
}

/// What requires TLS goes to a smart host that DNS names only where that is proved, as with
/// exchangers (RFC 8689, 4.2.1).
async fn unproved(relay: &Relay, site: &SiteLane) -> Option<SessionError> {
    let named = site.smart.as_ref()?.exchangers_of.as_ref()?;
    if relay.resolver.is_secure_route(named).await {
        return None;
    }
    let why = format!("DNSSEC does not prove the exchangers of {named}, and REQUIRETLS demands it");
    Some(SessionError::trouble(Phase::Tls, Trouble::NotAssured { own: Own::Unproved, why }))
}

fn encryption(wire: &Wire, demand: Option<&Demand>) -> String {
    match demand {
        Some(demand) => demand.encryption(&wire.host, &wire.session),
        None => wire.session.encryption(),
    }
}

/// A domain's exchangers, or a smart host, and the site that they are.
pub(crate) struct Destination {
    pub(crate) site: Site,
    pub(crate) exchangers: Vec<Exchanger>,
    /// The smart host that it is, if it is one.
    pub(crate) smart: Option<Arc<SmartHost>>,
}

impl Destination {
    /// The pool that a flow's mail to it goes from: its own, or the flow's.
    pub(crate) fn pool<'a>(&'a self, flow: &'a Flow) -> &'a str {
        pool_by(self.smart.as_ref(), flow)
    }
}

/// The pool of a smart host, where there is one and it names one; else the flow's.
pub(crate) fn pool_by<'a>(smart: Option<&'a Arc<SmartHost>>, flow: &'a Flow) -> &'a str {
    let of_smart = smart.map(|smart| smart.pool.as_str());
    of_smart.filter(|pool| !pool.is_empty()).unwrap_or(&flow.pool)
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
    pub(crate) own: Own,
    pub(crate) text: String,
}

pub(crate) async fn set_aside(relay: &Arc<Relay>, job: Job, why: &str) {
    tracing::error!(campaign = %job.content.sending.id, delivery = %job.delivery(), why, "set aside");
    let mut event = relay.event(EventKind::SetAside, &job);
    why.clone_into(&mut event.note);
    relay.settle(Settlement::told(job, Outcome::End(End::SetAside), event)).await;
}
