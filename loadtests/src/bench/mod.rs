//! Measurements of the real program: each service as a process of its own, in front of
//! the pretend internet, told over HTTP as any customer would, its CPU and memory read
//! from the kernel. Nothing of a service is linked in.

mod bounces;
mod compare;
mod console;
pub(crate) mod drain;
mod fairness;
mod figures;
mod intake;
mod ledger;
mod load;
mod longtail;
mod pace;
mod platform;
mod queue;
mod setup;
mod throughput;

use std::time::Duration;

use serde::Serialize;

pub use self::ledger::{History, history};
pub use crate::program::Program;
pub use bounces::{Reports, Understanding, mails, reports, understand};
pub use compare::{Comparison, Other, compare};
pub use console::{ConsoleCost, PageCost, console};
pub use fairness::{FairWish, Fairness, fairness};
pub use figures::{Figures, figures};
pub use intake::{Intake, intake};
pub use load::{LoadRun, LoadWish, load};
pub use longtail::{Tail, TailRun, longtail};
pub use pace::{PaceRun, PaceWish, pace};
pub use queue::{Queue, queue};
pub use setup::Signing;
pub use throughput::{Run, Wish, throughput};

/// The durability that every measurement is made at: what was answered is on the disk.
pub const DURABILITY: &str = "always";

/// Shards of a new store unless configured otherwise.
pub const SHARDS: u16 = 16;

/// A figure for each service, and their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PerService {
    /// The relay.
    pub relay: f64,
    /// Redis, with the process that watches over it.
    pub redis: f64,
    /// The ledger.
    pub ledger: f64,
    /// The HTTP API.
    pub api: f64,
    /// All of them.
    pub total: f64,
}

impl PerService {
    fn new([relay, redis, ledger, api]: [f64; 4]) -> Self {
        let round = |x: f64| (x * 10.0).round() / 10.0;
        let total = round(relay + redis + ledger + api);
        let [relay, redis, ledger, api] = [relay, redis, ledger, api].map(round);
        Self { relay, redis, ledger, api, total }
    }
}

/// Processor time of relay, Redis, ledger and API since their start.
#[derive(Debug, Clone, Copy, Default)]
struct Times([Duration; 4]);

impl Times {
    fn since(self, earlier: Self) -> Self {
        let mut spent = self;
        for (now, then) in spent.0.iter_mut().zip(earlier.0) {
            *now = now.saturating_sub(then);
        }
        spent
    }

    /// Of Redis and the API, which whoever looks at the platform keeps busy.
    fn of_asking(self) -> Duration {
        let [_, redis, _, api] = self.0;
        redis + api
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = self;
        sum.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
        sum
    }

    /// Microseconds of each for one of so many.
    fn for_each_of(self, count: u64) -> PerService {
        PerService::new(self.0.map(|time| time.as_secs_f64() * 1e6 / count.max(1) as f64))
    }
}

/// What the machine is, because figures travel between machines only as ratios.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processors; the services, the generator and the sink share them.
    pub cpus: usize,
    /// What the kernel calls them.
    pub model: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("model name"));
        let model = line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, m)| m.trim());
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cpus, model: model.to_owned() }
    }
}
