//! One run: customers bring their campaigns, something goes wrong and heals, everything
//! comes to rest, and the books are compared.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mail::CampaignId;
use serde::Serialize;
use tokio::task::JoinSet;

use super::plan::{Fault, Plan, When};
use super::platform::{Place, Platform, TENANTS};
use super::strike::{heal, is_worth_it, strike};
use super::watch::{Progress, Watch};
use crate::audit::Audit;
use crate::customer::{Accepted, Customer, Errand};
use crate::generator::Generator;
use crate::program::Program;

/// A run that takes longer has gone wrong.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(40);
/// The last customer begins so long after the first.
const CUSTOMERS_OVER: Duration = Duration::from_millis(900);
/// After the last recipient, returned mail has this long to come in.
const RETURNS_WITHIN: Duration = Duration::from_secs(30);
/// A dead relay's recipients must be others' within this.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// Octets of a message: small, because not the sending is looked at.
const MESSAGE_OCTETS: usize = 2_000;

/// What may be sent twice, by its terms; docs/QUEUE.md explains them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Connections of relays that were killed, slept or were cut off for longer than a lease.
    pub connections_killed: u64,
    /// Messages that those could double: each connection's, by its relay's `unsettled_max`.
    pub unsettled: u64,
    /// Endings without a reply after the final dot, by our own history.
    pub unanswered: u64,
    /// Settles that Redis lost, which it may not at `always`.
    pub not_durable: u64,
}

impl Bound {
    /// All terms together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.unsettled + self.unanswered + self.not_durable
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            connections_killed: self.connections_killed + other.connections_killed,
            unsettled: self.unsettled + other.unsettled,
            unanswered: self.unanswered + other.unanswered,
            not_durable: self.not_durable + other.not_durable,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Replays it.
    pub seed: u64,
    /// What went wrong.
    pub fault: Fault,
    /// Relays.
    pub relays: usize,
    /// Campaigns.
    pub campaigns: usize,
    /// Recipients accepted.
    pub recipients: u64,
    /// In neither book, or delivered by ours alone.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Copies that are allowed.
    pub bound: Bound,
    /// How long each takeover took, in seconds.
    pub takeovers_s: Vec<f64>,
    /// Recipients by which the accounts differ.
    pub imbalance: u64,
    /// Requests that customers had to repeat.
    pub repeats: u32,
    /// The whole run.
    pub seconds: f64,
    /// Promises that were broken, in words.
    pub broken: Vec<String>,
    /// What happened when.
    pub diary: Vec<String>,
    /// Everything that is left of a run that failed.
    pub folder: Option<PathBuf>,
}

/// Makes the run of a seed. What goes wrong with the run itself is a broken promise, too.
pub(super) async fn run(program: &Program, seed: u64, slot: u8) -> Result<Outcome> {
    let plan = Plan::of(seed);
    let folder = program.folder_for("mp-chaos-")?;
    let began = Instant::now();
    let mut outcome = Outcome::new(&plan);
    let place = Place { program: &program.path, folder: folder.path(), slot };
    if let Err(error) = play(&plan, &place, &mut outcome).await {
        outcome.broken.push(format!("{error:#}"));
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    if !outcome.broken.is_empty() {
        outcome.folder = Some(folder.keep());
    }
    Ok(outcome)
}

async fn play(plan: &Plan, place: &Place<'_>, outcome: &mut Outcome) -> Result<()> {
    let mut platform = Platform::start(plan, place).await.context("start the platform")?;
    let mut run = Run::new(plan, &platform);
    run.note(&format!("{} relays, campaigns of {:?}", plan.relays, plan.campaigns));
    let played = run.reign(&mut platform).await;
    outcome.diary.append(&mut run.diary);
    played?;
    await_returns(&platform).await;
    run.judge(&mut platform, outcome).await.context("compare the books")?;
    platform.stop().await.context("end in good order")
}

/// A customer's errand and what became of it.
type Errands = JoinSet<Result<(usize, Accepted)>>;

struct Run<'a> {
    plan: &'a Plan,
    began: Instant,
    errands: Errands,
    recipients: Vec<Generator>,
    accepted: Vec<Option<Accepted>>,
    campaigns: Vec<CampaignId>,
    watch: Watch,
    struck: Option<Instant>,
    healed: bool,
    diary: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, platform: &Platform) -> Self {
        let whole = Generator::new(plan.seed, plan.recipients());
        let mut first = 0;
        let mut recipients = Vec::new();
        for n in &plan.campaigns {
            recipients.push(whole.part(first..first + n));
            first += n;
        }
        let mut errands = Errands::new();
        let count = recipients.len();
        for (at, part) in recipients.iter().enumerate() {
            let tenant = at % TENANTS.len();
            let errand = Errand {
                sender: TENANTS[tenant].1.to_owned(),
                recipients: part.clone(),
                octets: MESSAGE_OCTETS,
                key: format!("chaos-{}-{at}", plan.seed),
            };
            let client = platform.customers[tenant].clone();
            errands.spawn(async move {
                tokio::time::sleep(CUSTOMERS_OVER * at as u32 / count as u32).await;
                Ok((at, Customer::new(client).run(&errand).await?))
            });
        }
        Self {
            plan,
            began: Instant::now(),
            errands,
            accepted: vec![None; count],
            recipients,
            campaigns: Vec::new(),
            watch: Watch::default(),
            struck: None,
            healed: false,
            diary: Vec::new(),
        }
    }

    /// Until everything is at rest.
    async fn reign(&mut self, platform: &mut Platform) -> Result<()> {
        loop {
            if self.began.elapsed() > PATIENCE {
                let waiting = self.watch.look(platform, &self.campaigns).await?;
                bail!("it does not come to its end: {waiting:?}, struck {:?}", self.struck);
            }
            platform.is_well()?;
            self.hear_customers()?;
            let progress = self.watch.look(platform, &self.campaigns).await?;
            self.act(platform, progress).await?;
            let at_rest = progress.is_some_and(|p| p.waiting == 0 && p.accepted > 0);
            if self.errands.is_empty() && at_rest && self.watch.is_calm() {
                if self.struck.is_none() {
                    bail!("the campaigns ended before {} could happen", self.plan.fault);
                }
                if self.healed {
                    self.note("everything is at rest");
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn hear_customers(&mut self) -> Result<()> {
        while let Some(ended) = self.errands.try_join_next() {
            let (at, accepted) = ended??;
            self.note(&format!(
                "{} has {} recipients after {} repeats",
                accepted.id, accepted.recipients, accepted.repeats
            ));
            self.campaigns.push(accepted.id.parse()?);
            self.accepted[at] = Some(accepted);
        }
        Ok(())
    }

    /// Lets it go wrong when its time has come, and heal.
    async fn act(&mut self, platform: &mut Platform, progress: Option<Progress>) -> Result<()> {
        let Some(struck) = self.struck else {
            if self.is_time(progress) && is_worth_it(self.plan, platform, &self.watch).await? {
                let words = strike(self.plan, platform, &mut self.watch).await?;
                self.struck = Some(Instant::now());
                self.note(&words);
            }
            return Ok(());
        };
        if !self.healed && struck.elapsed() >= self.plan.lasts {
            heal(self.plan, platform, &mut self.watch)?;
            self.healed = true;
            self.note("healed");
        }
        Ok(())
    }

    fn is_time(&self, progress: Option<Progress>) -> bool {
        match self.plan.when {
            When::Submitting(after) => self.began.elapsed() >= after,
            When::Sending(share) => progress.is_some_and(|p| {
                let ended = p.accepted.saturating_sub(p.waiting);
                ended as f64 >= share * self.plan.recipients() as f64
            }),
        }
    }

    /// Everything that must hold at the end.
    async fn judge(&mut self, platform: &mut Platform, outcome: &mut Outcome) -> Result<()> {
        self.count_overslept(platform)?;
        let mut campaigns = Vec::new();
        for (accepted, recipients) in self.accepted.iter().zip(&self.recipients) {
            let accepted = accepted.as_ref().context("a customer without an answer")?;
            outcome.repeats += accepted.repeats;
            outcome.recipients += accepted.recipients;
            campaigns.push((accepted.id.parse()?, recipients.clone()));
        }
        let audit = Audit::make(platform.books(), &campaigns).await?;
        outcome.imbalance = platform.books().imbalance(&self.campaigns).await?;
        outcome.lost = audit.lost;
        outcome.duplicates = audit.duplicates;
        outcome.bound = self.bound(&audit);
        outcome.takeovers_s = self.watch.takeovers.iter().map(Duration::as_secs_f64).collect();
        outcome.broken.extend(broken(self.plan, outcome, &audit));
        if !outcome.broken.is_empty() {
            outcome.diary.extend(audit.samples);
            let twice = platform.internet.book().duplicates();
            outcome.diary.push(format!("twice: {twice:?}"));
        }
        Ok(())
    }

    /// Relays that lost their leases although nobody had struck them.
    fn count_overslept(&mut self, platform: &Platform) -> Result<()> {
        for (which, relay) in platform.relays.iter().enumerate() {
            let is_struck = which == self.plan.victim
                && matches!(
                    self.plan.fault,
                    Fault::RelayKilled | Fault::RelayAsleep | Fault::LinkCut
                );
            let times = relay.service.process.log().matches("leases were lost").count() as u64;
            if times > 0 && !is_struck {
                self.note(&format!("relay-{which} lost its leases {times} times by itself"));
                self.watch.overslept(relay.service.process.pid()?, times);
            }
        }
        Ok(())
    }

    fn bound(&self, audit: &Audit) -> Bound {
        let ended = &self.watch.ended;
        Bound {
            connections_killed: ended.iter().map(|e| e.connections).sum(),
            unsettled: ended.iter().map(|e| e.connections * e.unsettled_max).sum(),
            unanswered: audit.unanswered,
            not_durable: 0,
        }
    }

    fn note(&mut self, words: &str) {
        self.diary.push(format!("{:.1} s {words}", self.began.elapsed().as_secs_f64()));
    }
}

/// The promises that were not kept.
fn broken(plan: &Plan, outcome: &Outcome, audit: &Audit) -> Vec<String> {
    let Outcome { recipients, lost, duplicates, bound, imbalance, .. } = outcome;
    let takeover = outcome.takeovers_s.iter().copied().fold(0.0, f64::max);
    let promises = [
        (*recipients == plan.recipients(), format!("{recipients} recipients were accepted")),
        (*lost == 0, format!("{lost} recipients are lost")),
        (*duplicates <= bound.total(), format!("{duplicates} sent twice, allowed are {bound:?}")),
        (*imbalance == 0, format!("the accounts differ by {imbalance}")),
        (takeover <= TAKEOVER_MAX.as_secs_f64(), format!("a takeover took {takeover:.1} s")),
        (audit.misclassified == 0, format!("{} have another end than meant", audit.misclassified)),
        (audit.violations == 0, format!("{} messages broke a rule", audit.violations)),
        (audit.unstable == 0, format!("{} messages changed between attempts", audit.unstable)),
        (audit.deferred == audit.deferred_ended, "a deferred recipient has no end".to_owned()),
    ];
    promises.into_iter().filter(|(is_kept, _)| !is_kept).map(|(_, words)| words).collect()
}

/// Reports, complaints and out-of-office replies come a little later.
async fn await_returns(platform: &Platform) {
    let began = Instant::now();
    while platform.internet.returns_waiting() > 0 && began.elapsed() < RETURNS_WITHIN {
        tokio::time::sleep(LOOK).await;
    }
}

impl Outcome {
    fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            fault: plan.fault,
            relays: plan.relays,
            campaigns: plan.campaigns.len(),
            recipients: 0,
            lost: 0,
            duplicates: 0,
            bound: Bound::default(),
            takeovers_s: Vec::new(),
            imbalance: 0,
            repeats: 0,
            seconds: 0.0,
            broken: Vec::new(),
            diary: Vec::new(),
            folder: None,
        }
    }
}
