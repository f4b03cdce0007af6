//! One (egress source, site) in this relay: the recipients that wait for it, its pace,
//! its open sessions, and the workers that bring the three together.

mod allowance;
mod provider;
mod question;
mod rest;
mod thrift;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use deadpool::managed::Pool;
use dns::Exchanger;
use mail::classify::Signal;
use mail::load::Purse;
use mail::provider::Provider;
use mail::{CampaignId, Category, Reply, Site, Timestamp};
use store::LearnedBook;
use tokio::sync::Notify;

use crate::catalog::Sending;
use crate::connector::Connector;
use crate::delivery::Destination;
use crate::egress::Egress;
use crate::hops::SmartHost;
use crate::job::Job;
use crate::pace::{PaceMeter, SLICE};
use crate::providers::limits;
use crate::relay::Relay;
use crate::shares::Flow;
use crate::waiting::{Held, Waiting};
use allowance::Allowance;
use question::{Looked, Question};

/// A site with nothing to do is forgotten after this if it was in trouble, else when its last
/// session is closed: of a hundred thousand sites with one recipient each, few are kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Between two looks when nothing happens.
const IDLE_WAIT: Duration = Duration::from_millis(500);
const IDLE_MIN: Duration = Duration::from_secs(1);
/// Recipients that wait for a site in this relay: this many seconds of its pace …
const ROOM_S: f64 = 2.0;
/// … but at least and at most so many.
const ROOM_MIN: usize = 20;
const ROOM_MAX: usize = 4000;

/// Source and site: what limits belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SiteKey {
    pub(crate) source: String,
    pub(crate) site: Site,
}

impl SiteKey {
    pub(crate) fn write(&self, event: &mut mail::Event) {
        event.source.clone_from(&self.source);
        self.site.as_str().clone_into(&mut event.site);
    }
}

pub(crate) struct SiteLane {
    pub(crate) key: SiteKey,
    pub(crate) pace: PaceMeter,
    /// What the load of this host leaves of the pace here.
    purse: Mutex<Purse>,
    pub(crate) egress: Arc<Egress>,
    /// The smart host that the site is, if it is one.
    pub(crate) smart: Option<Arc<SmartHost>>,
    /// Its exchangers' names; none of a smart host, which is its operator's own arrangement.
    hosts: Box<[Box<str>]>,
    provider: RwLock<Option<Arc<Provider>>>,
    learned: Arc<LearnedBook>,
    /// What was taken of the messages of an hour or a day, and until when none is left.
    allowance: Mutex<Allowance>,
    full_until: AtomicU64,
    /// Until when the source is taken to have no way to the site at all.
    unfit_until: AtomicU64,
    /// What the site last said when it blocked the source.
    blocked: Mutex<Option<Reply>>,
    waiting: Mutex<Waiting>,
    /// A flow that was not here has come: it is asked for without waiting for the next slice.
    newcomer: AtomicBool,
    /// A worker has somebody to send to and no grant.
    starving: AtomicBool,
    pub(crate) sessions: Pool<Connector>,
    workers: AtomicU32,
    wake: Notify,
    busy_at: Mutex<Instant>,
    /// Connections that failed in a row, and until when nobody tries again.
    failures: AtomicU32,
    rest_until: AtomicU64,
    trouble: Mutex<String>,
}

impl SiteLane {
    pub(crate) fn new(
        relay: &Relay,
        key: SiteKey,
        egress: Arc<Egress>,
        destination: &Destination,
    ) -> Self {
        let config = &relay.config;
        let connector = Connector::new(relay, egress.clone(), destination);
        let sessions = Pool::builder(connector)
            .max_size(config.connections_max as usize)
            .build()
            .expect("a pool without timeouts needs no runtime");
        let hosts = provider::hosts(destination);
        let provider = relay.providers.of_hosts(&hosts);
        let limits = limits(config, key.site.as_str(), provider.as_deref());
        let pace = PaceMeter::new(&key.source, &key.site, limits);
        pace.fix(relay.fixed(&key));
        Self {
            pace,
            key,
            purse: Mutex::default(),
            hosts,
            provider: RwLock::new(provider),
            learned: relay.providers.learned.clone(),
            egress,
            smart: destination.smart.clone(),
            allowance: Mutex::default(),
            full_until: AtomicU64::new(0),
            unfit_until: AtomicU64::new(0),
            blocked: Mutex::default(),
            waiting: Mutex::default(),
            newcomer: AtomicBool::new(false),
            starving: AtomicBool::new(false),
            sessions,
            workers: AtomicU32::new(0),
            wake: Notify::new(),
            busy_at: Mutex::new(Instant::now()),
            failures: AtomicU32::new(0),
            rest_until: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// Recipients that this relay should hold for the site; none while nothing can go.
    pub(crate) fn wanted(&self, now: Timestamp) -> Option<usize> {
        if self.at_rest(now).is_some() {
            return None;
        }
        Some(((self.pace.rate() * ROOM_S) as usize).clamp(ROOM_MIN, ROOM_MAX))
    }

    /// What it holds of each flow, what is on its way included.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.lock().held()
    }

    /// A lease for this site is on its way.
    pub(crate) fn expect(&self, priority: u8, campaign: CampaignId, flow: &Flow, count: usize) {
        self.lock().expect((priority, campaign), flow, count);
    }

    /// It has arrived, or come to nothing.
    pub(crate) fn arrived(&self, priority: u8, campaign: CampaignId, count: usize) {
        self.lock().arrived((priority, campaign), count);
    }

    /// Recipients waiting here.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// How many messages go before more of this campaign may come, if it has its part of the room.
    pub(crate) fn crowd(&self, sending: &Sending, room: usize) -> Option<usize> {
        self.lock().crowd((sending.priority, sending.id), sending.flow.weight, room)
    }

    /// Another recipient for this site; handed back if the lane was forgotten meanwhile.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        let is_new = self.lock().push(job, false)?;
        if is_new {
            self.newcomer.store(true, Ordering::Relaxed);
        }
        // Where all work already, a turn for each recipient would cost more than the message.
        if is_new || self.workers.load(Ordering::Relaxed) < self.pace.connections() {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// A recipient that was to go and goes on another connection instead.
    pub(crate) fn push_front(&self, job: Job) {
        self.keep(job, true);
        self.wake.notify_one();
    }

    /// Back into the line, from its driver or one of its workers: while there are any the lane is
    /// not forgotten.
    fn keep(&self, job: Job, first: bool) {
        let kept = self.lock().push(job, first);
        debug_assert!(kept.is_ok(), "a lane with workers was forgotten");
    }

    /// Nobody comes any more, if nobody waits; whether it is so.
    pub(crate) fn close_line(&self) -> bool {
        self.lock().close()
    }

    /// What came back by mail says about the pace here: it counts as an answer, or as a complaint
    /// where it has no category.
    pub(crate) fn heard_later(&self, category: Option<Category>) {
        let answered = |signal| self.pace.saw(signal, false, 0, self.pace.epoch());
        match category {
            None => self.pace.heard_complaint(),
            Some(Category::RateLimited) => answered(Signal::Rate),
            Some(Category::ReputationBlock) => answered(Signal::Block),
            Some(Category::System | Category::Network) => answered(Signal::SiteTrouble),
            Some(_) => return,
        }
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Drives the site until it has had nothing to do for a while, or the relay ends.
    pub(crate) async fn drive(self: Arc<Self>, relay: Arc<Relay>) {
        let mut question = Question::new();
        let mut looked = Looked::default();
        let mut wait = SLICE;
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.pace.refused.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = relay.stopping.cancelled() => break,
            }
            self.settle_stopped(&relay, &mut looked).await;
            wait = self.turn(&relay, &mut question).await;
            if self.is_forgotten(relay.now()) && relay.forget_site(&self) {
                break;
            }
        }
        self.close_idle(Duration::ZERO);
    }

    /// Those that do not go any more leave the line at once, however slow the site is.
    async fn settle_stopped(&self, relay: &Relay, looked: &mut Looked) {
        if !looked.is_due(relay.rulings.changes()) {
            return;
        }
        // From this source: which one a recipient should have is a question that other lanes are
        // asked, and this line is locked here.
        let stop = |job: &Job| relay.stopped_from(job, Some(&self.key.source));
        let stopped = self.lock().take(|job| stop(job).is_some());
        for job in stopped {
            match stop(&job) {
                Some(stop) => relay.settle_stopped(job, stop).await,
                None => self.keep(job, false),
            }
        }
    }

    /// One turn: hand back what cannot go, take a slice, set workers to it, tell what was seen.
    async fn turn(self: &Arc<Self>, relay: &Arc<Relay>, question: &mut Question) -> Duration {
        let now = relay.now();
        self.move_on(relay, now);
        if let Some(until) = self.at_rest(now) {
            self.hand_back(relay, until).await;
        }
        let waiting = self.waiting();
        let mut wait = IDLE_WAIT;
        if waiting > 0 || self.workers.load(Ordering::Relaxed) > 0 {
            *self.busy_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Instant::now();
            let newcomer = waiting > 0 && self.newcomer.swap(false, Ordering::Relaxed);
            if question.is_due(newcomer, self.starving.load(Ordering::Relaxed)) {
                self.starving.store(false, Ordering::Relaxed);
                self.ask(relay, question).await;
            }
            self.employ(relay);
            if self.waiting() > 0 && self.workers.load(Ordering::Relaxed) >= self.pace.connections()
            {
                self.pace.lacks_connections();
            }
            wait = question.left();
        }
        if self.pace.has_news() {
            relay.tell_pace(self).await;
        }
        let idle = if relay.is_short_of_connections() { 0 } else { relay.config.idle_s };
        self.close_idle(Duration::from_secs(idle));
        wait
    }

    /// Takes a slice for those that wait.
    async fn ask(&self, relay: &Relay, question: &mut Question) {
        let mut flows = self.lock().demands();
        let afforded = self.afford(relay, &mut flows);
        let allowed = self.allow(relay, &mut flows).await;
        let in_use = self.sessions.status().size as u32;
        let asked = self.pace.refill(&relay.store, relay.heart.relay(), &flows, in_use).await;
        self.reckon(relay, &afforded, &asked);
        let (wait, gave_all) = match asked {
            Ok(Some(refill)) => {
                self.lock().credit(&refill.granted, refill.stale);
                self.pace.release(&refill);
                self.used(&allowed, refill.granted.iter().map(|(_, n)| n).sum());
                let satisfied = refill.satisfied && !afforded.is_less && !allowed.is_less;
                let wait = match satisfied {
                    // More may have come before the slice is over.
                    true if !flows.is_empty() => SLICE / 2,
                    true => Duration::from_secs(1),
                    false => refill.wait.min(Duration::from_secs(1)),
                };
                (wait, satisfied)
            }
            Ok(None) => (SLICE, false),
            Err(error) => {
                tracing::debug!(site = %self.key.site, %error, "no slice of the pace");
                (Duration::from_millis(500), false)
            }
        };
        question.answered(wait, gave_all);
    }

    /// The exchangers as DNS gives them now.
    pub(crate) fn refresh(&self, exchangers: &[Exchanger]) {
        self.sessions.manager().refresh(exchangers);
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        // Another lane would not know it, and take recipients that cannot go.
        if self.full_until(now).is_some() {
            return false;
        }
        let busy_at = *self.busy_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let was_troubled = self.failures.load(Ordering::Relaxed) > 0
            || self.rest_until.load(Ordering::Relaxed) > 0
            || self.pace.was_held();
        let after = if was_troubled { FORGOTTEN_AFTER } else { IDLE_MIN };
        busy_at.elapsed() > after
            && self.workers.load(Ordering::Relaxed) == 0
            && (was_troubled || self.sessions.status().size == 0)
    }

    /// Everything that waits here, at the end.
    pub(crate) fn drain(&self) -> Vec<Job> {
        self.lock().take(|_| true)
    }
}
