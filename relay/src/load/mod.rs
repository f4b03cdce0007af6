//! The load of this relay's host, and what the relay takes for it. `host` and `timer` measure,
//! `mail::load` decides, and what is here holds the relay to it: what it leases (`leaser`) and what
//! it asks of each site's pace (`site`). What it has begun it finishes.

mod host;
mod kernel;
mod news;
mod timer;
mod window;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mail::load::{Ability, Budget, Config, Purse, Sample, Signal};

use crate::meters;
use crate::relay::{Relay, lock};
use host::Host;
use news::News;
use timer::Timer;
use window::Window;

/// Between two looks at the host.
const LOOK: Duration = Duration::from_millis(250);
/// What a host is taken to manage for each of its processors before it has shown more, in messages
/// a second: signed with RSA on a slow one.
const PER_PROCESSOR: f64 = 250.0;
/// DNS questions of so long are looked at, if there are so many.
const DNS_SPAN: Duration = Duration::from_secs(10);
const DNS_QUESTIONS_MIN: u64 = 20;
/// Recipients that are leased ahead under pressure: so many seconds of what may go, and at least
/// and for each site so many.
const AHEAD_S: f64 = 4.0;
const AHEAD_MIN: usize = 100;
const ROOM_MIN: usize = 20;
/// What is said of the causes.
const CAUSES_TOLD: usize = 3;

/// What a relay may take.
pub(crate) struct Load {
    began: Instant,
    is_on: bool,
    /// Two numbers: what part of what it could take, and what it could, in messages a second.
    budget: AtomicU64,
    able: AtomicU64,
    purse: Mutex<Purse>,
    /// Rounds of leasing that have come up for those who are not urgent, in parts.
    turn: Mutex<f64>,
    went: AtomicU64,
    held_back: AtomicBool,
    timer: Timer,
    /// What the store said of the ledger and the bounce processor when it was last asked.
    backlog: Mutex<Option<(f64, u64)>>,
    causes: Mutex<Vec<String>>,
    news: Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn new(config: &Config) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            began: Instant::now(),
            is_on: config.enabled,
            budget: AtomicU64::new(1.0_f64.to_bits()),
            able: AtomicU64::new((PER_PROCESSOR * processors as f64).to_bits()),
            purse: Mutex::default(),
            turn: Mutex::default(),
            went: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
            timer: Timer::default(),
            backlog: Mutex::default(),
            causes: Mutex::default(),
            news: Mutex::default(),
        }
    }

    /// Whether it looks at its host at all.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The part of what it could take that the relay takes, above 0 to 1.
    pub(crate) fn budget(&self) -> f64 {
        f64::from_bits(self.budget.load(Ordering::Relaxed))
    }

    fn able(&self) -> f64 {
        f64::from_bits(self.able.load(Ordering::Relaxed))
    }

    /// Messages a second that it may take, where the budget is not whole.
    fn ceiling(&self) -> Option<f64> {
        let budget = self.budget();
        (budget < 1.0).then(|| budget * self.able())
    }

    /// The time by which purses are filled.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A message goes.
    pub(crate) fn went(&self) {
        self.went.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes up to `wanted` messages of what all sites together may have.
    pub(crate) fn take(&self, wanted: u32, urgent: bool) -> u32 {
        let Some(ceiling) = self.ceiling() else { return wanted };
        let taken = lock(&self.purse).take(self.now(), ceiling, wanted, urgent);
        if taken < wanted {
            self.held_back.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// What was taken and not used.
    pub(crate) fn give_back(&self, unused: u32) {
        lock(&self.purse).give_back(unused);
    }

    /// Whether this round of leasing is also for those who are not urgent. A relay that comes less
    /// often finds less: others have leased it.
    pub(crate) fn is_their_turn(&self) -> bool {
        let mut turn = lock(&self.turn);
        *turn += self.budget();
        let is_turn = *turn >= 1.0;
        if is_turn {
            *turn = (*turn - 1.0).min(1.0);
        }
        is_turn
    }

    /// How many recipients it may hold that are not urgent, of `most`.
    pub(crate) fn hands(&self, most: usize) -> usize {
        self.at_most(most, AHEAD_S, AHEAD_MIN)
    }

    /// How many it may hold for one site, of `most`.
    pub(crate) fn room(&self, most: usize) -> usize {
        self.at_most(most, AHEAD_S / 2.0, ROOM_MIN)
    }

    fn at_most(&self, most: usize, seconds: f64, least: usize) -> usize {
        let ahead = self.ceiling().map(|ceiling| (ceiling * seconds) as usize);
        ahead.map_or(most, |ahead| most.min(ahead.max(least)))
    }

    /// What the store says of those who come after the relays: how full the outbox is, and how many
    /// records of returned mail wait. Nothing, when it did not answer.
    pub(crate) fn heard_backlog(&self, backlog: Option<(f64, u64)>) {
        *lock(&self.backlog) = backlog;
    }

    /// Why the budget is not whole, for people.
    pub(crate) fn causes(&self) -> Vec<String> {
        lock(&self.causes).clone()
    }

    /// What has changed since the last time and belongs into history.
    pub(crate) fn take_news(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.news))
    }

    fn measured(&self, relay: &Relay, dns: &mut Window<(u64, u64)>) -> Sample {
        let now = self.now();
        let backlog = *lock(&self.backlog);
        let (asked, failed) = relay.resolver.questions();
        let failing = dns.push(now, (asked, failed)).and_then(|(_, (asked_before, before))| {
            let asked = asked - asked_before;
            (asked >= DNS_QUESTIONS_MIN).then(|| (failed - before) as f64 / asked as f64)
        });
        Sample::default()
            .with(Signal::EventLoop, self.timer.late_ms())
            .with(Signal::Store, relay.heart.answers_after_ms())
            .with(Signal::Outbox, backlog.map(|(outbox, _)| outbox))
            .with(Signal::Feedback, backlog.map(|(_, feedback)| feedback as f64))
            .with(Signal::Dns, failing)
    }

    fn adopt(&self, budget: &Budget, ability: &Ability) {
        self.budget.store(budget.level().to_bits(), Ordering::Relaxed);
        self.able.store(ability.able().to_bits(), Ordering::Relaxed);
        let causes = budget.causes().iter().take(CAUSES_TOLD).map(ToString::to_string);
        *lock(&self.causes) = if budget.level() < 1.0 { causes.collect() } else { Vec::new() };
        meters::load(budget, ability.able());
    }

    fn tell(&self, news: &mut News, level: f64) {
        let Some(told) = news.of(level, &self.causes()) else { return };
        tracing::info!("{told}");
        lock(&self.news).push(told);
    }
}

/// Looks at the host until the relay is stopping.
pub(crate) async fn watch(relay: Arc<Relay>) {
    if relay.load.is_on {
        tokio::join!(relay.load.timer.run(&relay.stopping), look(&relay));
    }
}

async fn look(relay: &Relay) {
    let (load, config) = (&relay.load, &relay.config.load);
    let mut budget = Budget::new(config.clone());
    let mut ability = Ability::new(load.able());
    let (mut host, mut dns) = (Host::new(config), Window::of(DNS_SPAN));
    let mut news = News::default();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while relay.stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = load.now();
        let sample = host.read(now, load.measured(relay, &mut dns));
        let went = load.went.swap(0, Ordering::Relaxed);
        let held_back = load.held_back.swap(false, Ordering::Relaxed);
        ability.observe(now, went, budget.level(), held_back);
        budget.observe(now, &sample);
        load.adopt(&budget, &ability);
        load.tell(&mut news, budget.level());
    }
}
