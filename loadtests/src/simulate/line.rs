//! The queue of the simulation: the model of a shard, with one campaign that never ends.

use std::collections::VecDeque;
use std::str::FromStr;

use mail::queue::{BatchId, CampaignState, End, Enqueue, Lane, Leased, Model, Outcome};
use mail::retry::{self, Hint, Next, Schedule};
use mail::{CampaignId, Timestamp};

pub(super) const CAMPAIGN: CampaignId = CampaignId(1);
const BATCH: u16 = 250;

/// A recipient that a relay holds.
#[derive(Debug, Clone)]
pub(super) struct Job {
    lease: std::rc::Rc<Leased>,
    index: u16,
    pub(super) attempts: u8,
}

pub(super) struct Queue {
    model: Model,
    lane: Lane,
    schedule: Schedule,
    chunks: u64,
    settles: u64,
    started: Timestamp,
}

impl Queue {
    pub(super) fn new(now: Timestamp, relays: &[String]) -> Self {
        let mut model = Model::default();
        for relay in relays {
            model.renew(now, relay, true);
        }
        model.set_campaign(now, CAMPAIGN, CampaignState::Running, 1);
        let lifetime = retry::Config { lifetime_s: 30 * 86_400, ..retry::Config::default() };
        Self {
            model,
            lane: Lane::from_str("c1/site.example").expect("a lane's name"),
            schedule: Schedule::new(&lifetime).expect("a schedule that was checked"),
            chunks: 0,
            settles: 0,
            started: now,
        }
    }

    pub(super) fn renew(&mut self, now: Timestamp, relay: &str) {
        self.model.renew(now, relay, false);
    }

    /// Leases; the campaign grows so that there is always more.
    pub(super) fn lease(&mut self, now: Timestamp, relay: &str, count: usize) -> VecDeque<Job> {
        let mut jobs = VecDeque::new();
        for _ in 0..1000 {
            let want = (count - jobs.len()).min(usize::from(u16::MAX)) as u16;
            if want == 0 {
                break;
            }
            let leases = self.model.lease(now, relay, &[(self.lane.clone(), want)]);
            let Some(leases) = leases else {
                self.model.renew(now, relay, true);
                continue;
            };
            if leases.is_empty() {
                self.enqueue(now);
            }
            for lease in leases {
                let lease = std::rc::Rc::new(lease);
                let job =
                    |&(index, attempts): &(u16, u8)| Job { lease: lease.clone(), index, attempts };
                jobs.extend(lease.items.iter().map(job));
            }
        }
        jobs
    }

    fn enqueue(&mut self, now: Timestamp) {
        let enqueue = Enqueue {
            lane: self.lane.clone(),
            chunk: self.chunks,
            batch: BatchId(self.chunks * u64::from(BATCH)),
            count: BATCH,
            suppressed: Vec::new(),
            priority: 1,
        };
        self.model.enqueue(now, &enqueue);
        self.chunks += 1;
    }

    pub(super) fn deliver(&mut self, now: Timestamp, relay: &str, job: &Job) {
        self.settle(now, relay, job, Outcome::End(End::Delivered));
    }

    /// Puts off, by the retry schedule.
    pub(super) fn defer(&mut self, now: Timestamp, relay: &str, job: &Job, hint: Hint) {
        let attempts = u16::from(job.attempts) + 1;
        let seed = job.lease.batch.0 + u64::from(job.index);
        let outcome = match self.schedule.next(attempts, self.started, now, seed, hint) {
            Next::At(due) => Outcome::Deferred { due },
            Next::GiveUp => Outcome::End(End::Expired),
        };
        self.settle(now, relay, job, outcome);
    }

    /// Gives back what was not tried.
    pub(super) fn give_back(&mut self, now: Timestamp, relay: &str, job: &Job) {
        self.settle(now, relay, job, Outcome::Back);
    }

    fn settle(&mut self, now: Timestamp, relay: &str, job: &Job, outcome: Outcome) {
        self.settles += 1;
        let settle = job.lease.settle(vec![(job.index, outcome)]);
        self.model.settle(now, relay, self.settles, &[settle]);
    }
}
