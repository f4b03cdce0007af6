//! The relay: what all its parts share.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dns::Resolver;
use mail::classify::Finding;
use mail::event::EventKind;
use mail::hygiene::{News, Policy, What};
use mail::retry::{Hint, Next, Schedule};
use mail::route::Routes;
use mail::unsubscribe::unsubscribe_path;
use mail::verp::ReturnPathKeys;
use mail::{Address, Domain, Event, Hygiene, Timestamp};
use store::{AddressNews, SealKeys, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{Https, trusted_roots};

use crate::batches::Batches;
use crate::catalog::Catalog;
use crate::config::{Config, ConfigError};
use crate::delivery::Destination;
use crate::demand::{Demands, StsPolicies};
use crate::egress::Pools;
use crate::files::CampaignFiles;
use crate::heart::Heart;
use crate::holds::Holds;
use crate::hops::{SmartHost, hops};
use crate::job::{Job, Settlement};
use crate::load::Load;
use crate::placing::Placing;
use crate::providers::Known;
use crate::reach::Reach;
use crate::register::Register;
use crate::rulings::Rulings;
use crate::schedules::Schedules;
use crate::shares::Shares;
use crate::site::{SiteKey, SiteLane};
use crate::smtp::TlsClient;
use crate::tls_reports::{Reporting, Tally};

mod history;
mod pulse;
mod run;
mod sites;
mod sources;

pub use run::{run, send_tls_reports};
pub(crate) use sources::Lined;

/// What a relay needs besides its settings.
pub struct Parts {
    /// The queue.
    pub store: Store,
    /// The resolver.
    pub resolver: Arc<Resolver>,
    /// Opens the signing keys.
    pub seal: SealKeys,
    /// Makes return paths.
    pub return_path_keys: ReturnPathKeys,
    /// Makes unsubscribe links.
    pub unsubscribe_keys: ReturnPathKeys,
    /// What addresses are judged by; the bounce processors have the same.
    pub policy: Policy,
    /// The host's name.
    pub host: String,
}

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) tls: Arc<TlsClient>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) demands: Demands,
    /// Sessions as TLS reports count them.
    pub(crate) tally: Arc<Tally>,
    /// What sends the reports, where they are on.
    pub(crate) reporting: Option<Reporting>,
    pub(crate) catalog: Catalog,
    pub(crate) batches: Batches,
    pub(crate) files: CampaignFiles,
    pub(crate) shares: Arc<Shares>,
    pub(crate) placing: Placing,
    pub(crate) load: Load,
    pub(crate) heart: Heart,
    pub(crate) register: Arc<Register>,
    pub(crate) in_hand: Arc<AtomicUsize>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// No more leases; what is past DATA is finished.
    pub(crate) stopping: CancellationToken,
    pub(crate) rulings: Rulings,
    pub(crate) holds: Holds,
    pub(crate) providers: Known,
    /// As in the configuration; that in the queue is longer.
    pub(crate) name: String,
    schedules: Schedules,
    policy: Policy,
    pools: Pools,
    hops: Routes<Option<Arc<SmartHost>>>,
    /// Pools that other relays have, and those that were asked for and that none has.
    pools_elsewhere: Mutex<BTreeSet<String>>,
    pools_missing: Mutex<BTreeSet<String>>,
    /// The names that it gives itself.
    own_names: BTreeSet<String>,
    return_path_keys: ReturnPathKeys,
    unsubscribe_keys: ReturnPathKeys,
    pub(crate) return_path_domain: String,
    pub(crate) public_url: String,
    sites: Mutex<HashMap<SiteKey, Arc<SiteLane>>>,
    destinations: Mutex<HashMap<Domain, Arc<Destination>>>,
    settlements: mpsc::Sender<Settlement>,
    beats: AtomicU32,
    host: String,
    started_at: Timestamp,
}

/// What encrypts, what asks for it, and what counts and reports the sessions.
struct Encryption {
    tls: Arc<TlsClient>,
    https: Arc<Https>,
    demands: Demands,
    tally: Arc<Tally>,
    reporting: Option<Reporting>,
}

impl Encryption {
    fn new(
        config: &Config,
        parts: &Parts,
        (tasks, stopping): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, ConfigError> {
        let wrong = |error: rustls::Error| ConfigError::Setting(format!("TLS: {error}"));
        let roots = trusted_roots(&config.authorities)
            .map_err(|why| ConfigError::Setting(format!("relay.authorities {why}")))?;
        let tls = Arc::new(TlsClient::new(roots.clone()).map_err(wrong)?);
        let (store, resolver) = (parts.store.clone(), parts.resolver.clone());
        let https = Https::new(resolver.clone(), roots, config.https_port, config.allow_private);
        let https = Arc::new(https.map_err(wrong)?);
        let submitter = config.tls_reports.submitter()?;
        let reporter = submitter.as_ref().map(|(_, submitter)| submitter.domain.clone());
        let tally = Arc::new(Tally::new(reporter, store.clone(), resolver.clone()));
        let reporting = submitter.map(|by| Reporting::new(by, parts.seal.clone(), https.clone()));
        let (tasks, stopping) = (tasks.clone(), stopping.clone());
        let policies =
            StsPolicies::new(store, resolver, https.clone(), tasks, stopping, tally.clone());
        let demands = Demands::new(config.mta_sts.then(|| Arc::new(policies)));
        Ok(Self { tls, https, demands, tally, reporting })
    }
}

fn return_path_domain(config: &Config, host: &str) -> String {
    match config.return_path_domain.as_str() {
        "" => format!("returns.{host}"),
        given => given.to_owned(),
    }
}

impl Relay {
    fn new(
        config: Config,
        parts: Parts,
        stopping: CancellationToken,
        settlements: mpsc::Sender<Settlement>,
    ) -> Result<Self, ConfigError> {
        let name = if config.name.is_empty() { parts.host.clone() } else { config.name.clone() };
        let started_at = clock();
        let unique = format!("{name}-{}-{:x}", std::process::id(), started_at.0);
        let tasks = TaskTracker::new();
        let Encryption { tls, https, demands, tally, reporting } =
            Encryption::new(&config, &parts, (&tasks, &stopping))?;
        let shares = Arc::new(Shares::new(config.tenants.clone()));
        let pools = Pools::new(&config, &parts.host).map_err(ConfigError::Setting)?;
        let own_names = pools.all().map(|e| e.source.ehlo.to_ascii_lowercase()).collect();
        Ok(Self {
            schedules: Schedules::new(&config)?,
            rulings: Rulings::default(),
            holds: Holds::new(config.holds.clone()),
            providers: Known::open(&config.providers)?,
            policy: parts.policy,
            pools,
            hops: hops(&config, &https).map_err(ConfigError::Setting)?,
            pools_elsewhere: Mutex::default(),
            pools_missing: Mutex::default(),
            own_names,
            shares: shares.clone(),
            placing: Placing::default(),
            load: Load::new(&config.load),
            catalog: Catalog::new(parts.store.clone(), parts.seal, config.sign, shares),
            batches: Batches::default(),
            files: CampaignFiles::new(parts.store.clone(), config.files_memory_bytes),
            heart: Heart::new(unique, parts.store.shards()),
            register: Arc::new(Register::default()),
            in_hand: Arc::new(AtomicUsize::new(0)),
            connections: Arc::new(Semaphore::new(config.connections_max as usize)),
            tasks,
            stopping,
            tls,
            reach: Arc::default(),
            demands,
            tally,
            reporting,
            store: parts.store,
            resolver: parts.resolver,
            return_path_keys: parts.return_path_keys,
            unsubscribe_keys: parts.unsubscribe_keys,
            return_path_domain: return_path_domain(&config, &parts.host),
            public_url: config.public_url.trim_end_matches('/').to_owned(),
            sites: Mutex::default(),
            destinations: Mutex::default(),
            settlements,
            beats: AtomicU32::new(0),
            host: parts.host,
            name,
            started_at,
            config,
        })
    }

    /// The clock for events and schedules; leases go by Redis's and the monotonic one.
    pub(crate) fn now(&self) -> Timestamp {
        clock()
    }

    /// Sends an outcome on its way; waits when the store is behind. A recipient whose lease was
    /// lost and that was not sent to is none of ours any more.
    pub(crate) async fn settle(&self, settlement: Settlement) {
        // The settler outlives every sender.
        let _ = self.settlements.send(settlement).await;
    }

    /// An event about a recipient, as far as the relay knows it.
    pub(crate) fn event(&self, kind: EventKind, job: &Job) -> Event {
        let now = self.now();
        let mut event = Event::new(kind, now);
        event.campaign = Some(job.content.sending.id);
        event.delivery = Some(job.delivery());
        job.address().clone_into(&mut event.recipient);
        event.attempt = u16::from(job.attempts);
        self.heart.relay().clone_into(&mut event.service);
        event.age_ms = now.since(job.content.batch.accepted_at()).as_millis() as u64;
        event
    }

    /// The envelope sender that brings returned mail home.
    pub(crate) fn return_path(&self, job: &Job, address: &Address) -> String {
        let local = self.return_path_keys.encode(job.delivery(), job.content.sending.id, address);
        format!("{local}@{}", self.return_path_domain)
    }

    /// The path of the one-click link.
    pub(crate) fn unsubscribe_path(&self, job: &Job) -> String {
        let (delivery, campaign) = (job.delivery(), job.content.sending.id);
        unsubscribe_path(&self.unsubscribe_keys, delivery, campaign, job.address())
    }

    /// When a deferred recipient goes again, not before `least`; an empty site is not known.
    pub(crate) fn next_attempt(&self, job: &Job, site: &str, hint: Hint, least: Duration) -> Next {
        let seed = job.delivery().to_u64();
        let accepted_at = job.content.batch.accepted_at();
        let schedule = self.schedule(job, site).at_least(least);
        schedule.next(job.attempt(), accepted_at, self.now(), seed, hint)
    }

    /// When the recipient's lifetime is over.
    pub(crate) fn ends(&self, job: &Job) -> Timestamp {
        self.schedule(job, "").ends(job.content.batch.accepted_at())
    }

    fn schedule(&self, job: &Job, site: &str) -> Schedule {
        let sending = &job.content.sending;
        self.schedules.of(&sending.tenant, site).living(sending.lifetime)
    }

    /// Whether nothing is in this relay's hands.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_hand.load(Ordering::Relaxed) == 0
    }

    /// A final failure is noted with the address before it is settled: whoever comes
    /// after a crash finds both or neither.
    pub(crate) async fn weigh_address(&self, job: &Job, finding: &Finding, event: &Event) {
        if finding.hygiene == Hygiene::None {
            return;
        }
        let now = self.now();
        let evidence = event.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        let about = AddressNews {
            tenant: &job.content.sending.tenant,
            address: job.address(),
            news: News { delivery: job.delivery(), at: now, what: What::failed(finding) },
            campaign: job.content.sending.id,
            evidence: &evidence,
            service: self.heart.relay(),
        };
        let mut tries = 0;
        while let Err(error) = self.store.weigh_address(&about, now, &self.policy).await {
            if !error.is_passing() || tries == 50 {
                tracing::error!(%error, "the failure was not noted with its address");
                return;
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}
