//! The relay: what all its parts share, and the order in which they start and end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dns::{Resolver, Route};
use mail::classify::{Finding, Signal};
use mail::event::EventKind;
use mail::hygiene::{News, Policy, What};
use mail::orders::{Order, ScopeKind, Subject};
use mail::queue::Outcome;
use mail::retry::{Hint, Next, Schedule};
use mail::unsubscribe::unsubscribe_path;
use mail::verp::ReturnPathKeys;
use mail::{
    Address, Category, Domain, EnhancedStatus, Event, Hygiene, Phase, ShardId, Site, Timestamp,
    id::domain_hash,
};
use store::{AddressNews, Batch, RelayRecord, SealKeys, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batches::Batches;
use crate::catalog::Catalog;
use crate::config::{Config, ConfigError, Source};
use crate::delivery::{Destination, Refusal, Whereto};
use crate::heart::{BEAT, Heart};
use crate::job::{Job, Settlement};
use crate::leaser;
use crate::meters;
use crate::placing::Placing;
use crate::register::Register;
use crate::rulings::Rulings;
use crate::schedules::Schedules;
use crate::settler::{self, Places, Settler};
use crate::shares::Shares;
use crate::site::{SiteKey, SiteLane};
use crate::smtp::TlsClient;

/// Feedback records taken in one heartbeat.
const FEEDBACK_MAX: usize = 100;
/// Rounds of packing anew in one heartbeat, of some batches each: processor time of about a
/// hundredth of a core at most.
const REPACK_ROUNDS: usize = 5;
/// A recipient of a site that fills the hands comes again after this, in seconds, at the latest.
const CROWDED_S_MAX: f64 = 60.0;
/// Sites known by domain for this long without asking the resolver's cache again.
const DESTINATIONS_MAX: usize = 50_000;
/// Between two words about what an end waits for.
const ENDING_TOLD: Duration = Duration::from_secs(5);
/// Between two looks for what only this relay can read, in heartbeats.
const RESTORE_BEATS: u32 = 60;

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
    /// The host's name.
    pub host: String,
}

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) tls: Arc<TlsClient>,
    pub(crate) catalog: Catalog,
    pub(crate) batches: Batches,
    pub(crate) shares: Arc<Shares>,
    pub(crate) placing: Placing,
    pub(crate) heart: Heart,
    pub(crate) register: Arc<Register>,
    pub(crate) in_hand: Arc<AtomicUsize>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// No more leases; what is past DATA is finished.
    pub(crate) stopping: CancellationToken,
    pub(crate) rulings: Rulings,
    /// As in the configuration; that in the queue is longer.
    pub(crate) name: String,
    schedules: Schedules,
    policy: Policy,
    pools: BTreeMap<String, Vec<Source>>,
    return_path_keys: ReturnPathKeys,
    unsubscribe_keys: ReturnPathKeys,
    return_path_domain: String,
    public_url: String,
    sites: Mutex<HashMap<SiteKey, Arc<SiteLane>>>,
    destinations: Mutex<HashMap<Domain, Arc<Destination>>>,
    settlements: mpsc::Sender<Settlement>,
    beats: AtomicU32,
    host: String,
    started_at: Timestamp,
}

/// Runs a relay until `stopping`: then nothing more is leased, what is past DATA is
/// finished, the rest is handed back, and everything is settled.
///
/// # Errors
/// When the settings cannot be. Trouble of the store is waited out.
pub async fn run(
    config: Config,
    parts: Parts,
    stopping: CancellationToken,
) -> Result<(), ConfigError> {
    config.check()?;
    let (settlements, inbox) = mpsc::channel(settler::WAITING_MAX);
    let relay = Arc::new(Relay::new(config, parts, stopping, settlements)?);
    let name = relay.heart.relay().to_owned();
    tracing::info!(relay = name, "relay starts");
    let places = Places {
        closed: relay.connections.clone(),
        connections_max: relay.config.connections_max as usize,
        unsettled_max: usize::from(relay.config.unsettled_max),
    };
    let settler = Settler::new(relay.store.clone(), name.clone(), relay.register.clone(), places);
    let settler = tokio::spawn(settler.run(inbox));
    let beating = CancellationToken::new();
    let heart = tokio::spawn(relay.clone().beat(beating.clone()));

    leaser::run(&relay).await;

    relay.await_tasks().await;
    relay.hand_back_all().await;
    let store = relay.store.clone();
    drop_senders(relay, heart, beating).await;
    let _ = settler.await;
    if let Err(error) = store.remove_relay(&name).await {
        tracing::warn!(%error, "cannot leave the register of relays");
    }
    tracing::info!(relay = name, "relay ended; everything is settled");
    Ok(())
}

/// The settler ends when nobody can send to it any more.
async fn drop_senders(
    relay: Arc<Relay>,
    heart: tokio::task::JoinHandle<()>,
    beating: CancellationToken,
) {
    beating.cancel();
    let _ = heart.await;
    drop(relay);
}

/// A tick each second, and none made up for that was missed.
fn beats() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
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
        let tls = TlsClient::with_system_roots()
            .map_err(|e| ConfigError::Setting(format!("TLS: {e}")))?;
        if !config.sign {
            tracing::warn!("relay.sign is off: nothing is signed here, the next hop must do it");
        }
        let return_path_domain = match config.return_path_domain.as_str() {
            "" => format!("returns.{}", parts.host),
            given => given.to_owned(),
        };
        let shares = Arc::new(Shares::new(config.tenants.clone()));
        Ok(Self {
            schedules: Schedules::new(&config)?,
            rulings: Rulings::default(),
            policy: Policy::default(),
            pools: config.resolved_pools(&parts.host),
            shares: shares.clone(),
            placing: Placing::default(),
            catalog: Catalog::new(parts.store.clone(), parts.seal, config.sign, shares),
            batches: Batches::default(),
            heart: Heart::new(unique, parts.store.shards()),
            register: Arc::new(Register::default()),
            in_hand: Arc::new(AtomicUsize::new(0)),
            connections: Arc::new(Semaphore::new(config.connections_max as usize)),
            tasks: TaskTracker::new(),
            stopping,
            tls: Arc::new(tls),
            store: parts.store,
            resolver: parts.resolver,
            return_path_keys: parts.return_path_keys,
            unsubscribe_keys: parts.unsubscribe_keys,
            return_path_domain,
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

    /// Renews each second, and beside it, so that nothing of it can hold a renewal up, attends
    /// to what else comes up each second.
    async fn beat(self: Arc<Self>, until: CancellationToken) {
        tokio::join!(self.keep_leases(&until), self.keep_informed(&until));
    }

    async fn keep_leases(&self, until: &CancellationToken) {
        let mut ticks = beats();
        let mut silent = false;
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.heart.beat(&self.store).await {
                Ok(lost) => {
                    lost.into_iter().for_each(|shard| self.register.forget(shard));
                    if silent {
                        tracing::info!("redis is back");
                    }
                    silent = false;
                }
                Err(error) => {
                    if !silent {
                        tracing::error!(%error, "cannot renew; sending stops until redis is back");
                    }
                    silent = true;
                }
            }
        }
    }

    async fn keep_informed(&self, until: &CancellationToken) {
        let mut ticks = beats();
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.attend().await {
                tracing::debug!(%error, "orders, feedback and register wait for redis");
            }
        }
    }

    /// Learns what operators ordered and what returned mail tells, says what the relay is doing.
    async fn attend(&self) -> Result<(), store::StoreError> {
        self.learn_rulings().await?;
        self.take_feedback().await?;
        let connections =
            self.config.connections_max as usize - self.connections.available_permits();
        let in_hand = self.in_hand.load(Ordering::Relaxed);
        meters::holding(in_hand, connections, self.lock_sites().len());
        meters::kill_could_double(connections, self.config.unsettled_max);
        let record = RelayRecord {
            host: self.host.clone(),
            pid: std::process::id(),
            started_at: self.started_at,
            seen_at: self.now(),
            connections: connections as u32,
            unsettled_max: u32::from(self.config.unsettled_max),
            leased: in_hand as u32,
            draining: self.stopping.is_cancelled() || self.is_drained(),
            reads_batch: Batch::VERSION,
        };
        self.store.put_relay(self.heart.relay(), &record).await?;
        self.keep_house().await
    }

    /// What is nobody's in particular: each second one shard's sparse batches are packed
    /// anew, and now and then what older relays could not read is put back.
    async fn keep_house(&self) -> Result<(), store::StoreError> {
        let beat = self.beats.fetch_add(1, Ordering::Relaxed);
        let shards = u32::from(self.store.shards());
        for _ in 0..REPACK_ROUNDS {
            if self.store.repack(ShardId((beat % shards) as u16)).await? == 0 {
                break;
            }
        }
        if beat.is_multiple_of(RESTORE_BEATS) {
            crate::opening::restore_readable(self).await?;
        }
        Ok(())
    }

    /// Returned mail weighs in: what it says of the pace goes to the sites that it came from, as
    /// far as this relay sends there.
    async fn take_feedback(&self) -> Result<(), store::StoreError> {
        for feedback in self.store.take_feedback(FEEDBACK_MAX).await? {
            let signal = match feedback.category {
                Some(Category::RateLimited) => Signal::Rate,
                Some(Category::ReputationBlock) => Signal::Block,
                Some(Category::System | Category::Network) => Signal::SiteTrouble,
                _ => continue,
            };
            let Ok(domain) = feedback.domain.parse() else { continue };
            let Some(destination) = self.known_destination(&domain) else { continue };
            for (key, site) in self.lock_sites().iter() {
                if key.site == destination.site {
                    site.heard_later(signal);
                }
            }
        }
        Ok(())
    }

    /// So few connections are left that idle ones had better be closed: with a site for each
    /// recipient they would be all there are.
    pub(crate) fn is_short_of_connections(&self) -> bool {
        self.connections.available_permits() < self.config.connections_max as usize / 4
    }

    /// Sends an outcome on its way; waits when the store is behind. A recipient whose lease was
    /// lost and that was not sent to is none of ours any more.
    pub(crate) async fn settle(&self, settlement: Settlement) {
        // The settler outlives every sender.
        let _ = self.settlements.send(settlement).await;
    }

    /// Where a domain's recipients go.
    pub(crate) async fn destination(&self, domain: &Domain) -> Whereto {
        let refusal = |code, status, text: &str| {
            Whereto::Nowhere(Refusal { phase: Phase::Dns, code, status, text: text.to_owned() })
        };
        let route = self.resolver.route(domain).await;
        match route.as_ref() {
            Route::Hosts(exchangers) => {
                let hosts: Vec<&str> = exchangers.iter().map(|e| e.host.as_ref()).collect();
                let site = Site::of_hosts(&hosts);
                let destination = Arc::new(Destination { site, exchangers: exchangers.clone() });
                let mut known = lock(&self.destinations);
                if known.len() >= DESTINATIONS_MAX {
                    known.clear();
                }
                known.insert(domain.clone(), destination.clone());
                Whereto::Site(destination)
            }
            Route::NullMx => {
                refusal(556, EnhancedStatus(5, 1, 10), "the domain takes no mail: null MX")
            }
            Route::NoSuchDomain => refusal(550, EnhancedStatus(5, 1, 2), "no such domain"),
            Route::NoMail => refusal(
                550,
                EnhancedStatus(5, 1, 2),
                "the domain has no mail exchanger and no address",
            ),
            Route::Temporary { why } => {
                let text = format!("the domain cannot be resolved now: {why}");
                refusal(451, EnhancedStatus(4, 4, 3), &text)
            }
        }
    }

    /// The site of a domain, if it was asked for before.
    pub(crate) fn known_destination(&self, domain: &Domain) -> Option<Arc<Destination>> {
        lock(&self.destinations).get(domain).cloned()
    }

    /// The lane of a recipient's source and site; made when it is the first.
    pub(crate) fn site_for(
        self: &Arc<Self>,
        destination: &Destination,
        job: &Job,
    ) -> Arc<SiteLane> {
        let source = self.source_for(&self.pool_of(job), job.address());
        self.site(destination, source)
    }

    /// See [`site_for`](Self::site_for).
    pub(crate) fn site(
        self: &Arc<Self>,
        destination: &Destination,
        source: &Source,
    ) -> Arc<SiteLane> {
        let key = SiteKey { source: source.name.clone(), site: destination.site.clone() };
        let mut sites = self.lock_sites();
        if let Some(site) = sites.get(&key) {
            site.refresh(&destination.exchangers);
            return site.clone();
        }
        let site = Arc::new(SiteLane::new(
            self,
            key.clone(),
            source.clone(),
            destination.exchangers.clone(),
        ));
        sites.insert(key, site.clone());
        self.tasks.spawn(site.clone().drive(self.clone()));
        site
    }

    /// A recipient keeps its source over all attempts: greylists know senders by their address.
    pub(crate) fn source_for(&self, pool: &str, address: &str) -> &Source {
        let sources = self.pools.get(pool).or_else(|| self.pools.get("default"));
        let sources = sources.map(Vec::as_slice).unwrap_or_default();
        &sources[(domain_hash(address) % sources.len().max(1) as u64) as usize]
    }

    /// Out of the lane that domains share, recipients of one slow site could fill all hands, and
    /// nobody else would be served: beyond its part of the site's room a flow waits in the queue.
    pub(crate) fn crowded_until(&self, site: &SiteLane, job: &Job) -> Option<Timestamp> {
        let (in_hand, max) = (self.in_hand.load(Ordering::Relaxed), self.config.in_hand_max);
        if job.lease.lane.domain.is_some() || in_hand < max / 2 {
            return None;
        }
        let now = self.now();
        let room = (site.wanted(now).unwrap_or(0) * 2).max(max / 8);
        let ahead = site.crowd(&job.content.sending, room)?;
        let left_s = (ahead as f64 / site.pace.rate().max(0.1)).clamp(2.0, CROWDED_S_MAX);
        Some(Timestamp((now.0 / 1000 + left_s as u64) * 1000))
    }

    /// Drops a site that has nothing to do; `false` if something came meanwhile.
    pub(crate) fn forget_site(&self, site: &Arc<SiteLane>) -> bool {
        let mut sites = self.lock_sites();
        if site.waiting() > 0 {
            return false;
        }
        sites.remove(&site.key);
        true
    }

    /// Tells the common controller what a site answered, and the ledger what that changed.
    pub(crate) async fn tell_pace(&self, site: &SiteLane) {
        let in_use = site.sessions.status().size as u32;
        let changes = match site.pace.tell(&self.store, in_use, self.now()).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::debug!(site = %site.key.site, %error, "the pace was not told");
                return;
            }
        };
        let events: Vec<Event> = changes
            .iter()
            .map(|change| {
                let mut event = Event::new(EventKind::PaceChanged, self.now());
                site.key.write(&mut event);
                self.heart.relay().clone_into(&mut event.service);
                event.note = change.to_string();
                event
            })
            .collect();
        let shard = ShardId::of_domain(site.key.site.as_str(), self.store.shards());
        if let Err(error) = self.store.emit(shard, &events).await {
            tracing::debug!(%error, "a change of pace was not told");
        }
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

    /// The one-click link.
    pub(crate) fn unsubscribe_link(&self, job: &Job) -> String {
        let path = unsubscribe_path(
            &self.unsubscribe_keys,
            job.delivery(),
            job.content.sending.id,
            job.address(),
        );
        format!("{}{path}", self.public_url)
    }

    /// When a deferred recipient goes again; an empty site is not known.
    pub(crate) fn next_attempt(&self, job: &Job, site: &str, hint: Hint) -> Next {
        let seed = job.delivery().to_u64();
        let accepted_at = job.content.batch.accepted_at();
        self.schedule(job, site).next(job.attempt(), accepted_at, self.now(), seed, hint)
    }

    /// When the recipient's lifetime is over.
    pub(crate) fn ends(&self, job: &Job) -> Timestamp {
        self.schedule(job, "").ends(job.content.batch.accepted_at())
    }

    fn schedule(&self, job: &Job, site: &str) -> Schedule {
        let sending = &job.content.sending;
        self.schedules.of(&sending.tenant, site).living(sending.lifetime)
    }

    /// What last kept this relay from a job's site, if it is known.
    pub(crate) fn last_trouble(&self, job: &Job) -> Option<String> {
        let destination = self.known_destination(&job.domain()?)?;
        let source = self.source_for(&self.pool_of(job), job.address()).name.clone();
        let key = SiteKey { source, site: destination.site.clone() };
        self.lock_sites().get(&key)?.trouble()
    }

    /// Whether nothing is in this relay's hands.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_hand.load(Ordering::Relaxed) == 0
    }

    /// An operator wants a destination tried now: what rests because nobody answered goes.
    pub(crate) fn wake_sites(&self, order: &Order) {
        for (key, site) in self.lock_sites().iter() {
            let subject =
                Subject { site: key.site.as_str(), source: &key.source, ..Subject::default() };
            let is_about_sites = matches!(order.scope.kind, ScopeKind::All | ScopeKind::Site);
            if !is_about_sites || order.is_about(&subject) {
                site.try_again();
            }
        }
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

    /// Until nothing runs any more, saying now and then what is waited for.
    async fn await_tasks(&self) {
        self.tasks.close();
        while tokio::time::timeout(ENDING_TOLD, self.tasks.wait()).await.is_err() {
            let (tasks, in_hand) = (self.tasks.len(), self.in_hand.load(Ordering::Relaxed));
            tracing::warn!(tasks, in_hand, "still ending: transactions or their settling go on");
        }
    }

    async fn hand_back_all(&self) {
        let sites: Vec<Arc<SiteLane>> = self.lock_sites().values().cloned().collect();
        for job in sites.iter().flat_map(|site| site.drain()) {
            self.settle(Settlement::silent(job, Outcome::Back)).await;
        }
        self.lock_sites().clear();
    }

    fn lock_sites(&self) -> std::sync::MutexGuard<'_, HashMap<SiteKey, Arc<SiteLane>>> {
        lock(&self.sites)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}
