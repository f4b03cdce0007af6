//! What sites say against a sender, a campaign or a link, as this relay hears it, and what waits
//! because of it. What it comes to is `mail::holds`'s to decide, for all relays in one record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mail::classify::Finding;
use mail::holds::{
    Blame, Cause, Change, Config, Hold, Key, Kind, Mail, News, Standing, blame, tenant_hold,
};
use mail::{Domain, Reply, Site, Timestamp};
use store::{Feedback, HoldPut, StoreError};
use tokio::sync::Notify;

use crate::delivery::Whereto;
use crate::job::Job;
use crate::meters;
use crate::relay::{Relay, clock, lock};

/// Keys that something was heard of and that is not told yet: more are not looked at.
const HEARD_MAX: usize = 1000;
/// Of each relay one message goes in this time while a hold is on trial.
const TRIAL_PAUSE: Duration = Duration::from_secs(1);
/// The others come again after so much, rounded up, so that many share a moment.
const TRIAL_WAITS_MS: u64 = 10_000;
/// Rounds against relays that write about the same hold.
const ROUNDS_MAX: u32 = 8;
/// Who holds, in lists and events.
const SELF: &str = "automatic";

/// What was heard of one key since it was last told.
#[derive(Debug, Clone, Default)]
struct Heard {
    tenant: String,
    cause: Option<Cause>,
    said: u32,
    passed: u32,
    answer: String,
    /// Until when it is counted what passes.
    watched_until: Timestamp,
}

pub(crate) struct Holds {
    config: Config,
    /// Held or on trial.
    in_force: RwLock<Arc<HashMap<Key, Hold>>>,
    heard: Mutex<HashMap<Key, Heard>>,
    /// When a message last went of what is on trial.
    released: Mutex<HashMap<Key, Timestamp>>,
    are_any: AtomicBool,
    is_hearing: AtomicBool,
    news: Notify,
}

impl Holds {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            in_force: RwLock::default(),
            heard: Mutex::default(),
            released: Mutex::default(),
            are_any: AtomicBool::new(false),
            is_hearing: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    /// Whether anything is held at all: nearly never.
    pub(crate) fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Relaxed)
    }

    fn in_force(&self) -> Arc<HashMap<Key, Hold>> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something was heard that should be told soon.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What a site answered to a message.
    pub(crate) fn heard(&self, job: &Job, site: &Site, finding: &Finding, reply: &Reply) {
        let sending = &job.content.sending;
        let (mail, words) = (sending.flow.mail(sending.id), reply.to_string());
        let blame = blame(finding.signal, finding.category, &mail, site.as_str(), &words);
        blame.into_iter().for_each(|blame| self.said(blame, &mail, &words, false));
    }

    /// The site took a message.
    pub(crate) fn passed(&self, job: &Job, site: &Site) {
        if !self.is_hearing.load(Ordering::Relaxed) {
            return;
        }
        let sending = &job.content.sending;
        let mut heard = lock(&self.heard);
        for key in sending.flow.mail(sending.id).keys(site.as_str()) {
            if let Some(heard) = heard.get_mut(&key) {
                heard.passed = heard.passed.saturating_add(1);
            }
        }
    }

    /// `late`: it had counted as one that passed before it came back.
    fn said(&self, blame: Blame, mail: &Mail<'_>, words: &str, late: bool) {
        let (now, in_force) = (clock(), self.in_force());
        let standing = |key: &Key| in_force.get(key).map_or(Standing::Free, |h| h.standing(now));
        if !self.config.enabled || matches!(standing(&blame.key), Standing::Held(_)) {
            return;
        }
        let of_tenant =
            Key { kind: Kind::Tenant, name: mail.tenant.to_owned(), ..blame.key.clone() };
        let mut keys = vec![blame.key];
        if keys[0].kind == Kind::SenderDomain && standing(&of_tenant) == Standing::Trial {
            keys.push(of_tenant);
        }
        let mut heard = lock(&self.heard);
        for key in keys {
            let is_on_trial = standing(&key) == Standing::Trial;
            if heard.len() >= HEARD_MAX && !heard.contains_key(&key) {
                continue;
            }
            let heard = heard.entry(key).or_default();
            mail.tenant.clone_into(&mut heard.tenant);
            heard.cause = Some(blame.cause);
            heard.said += 1;
            heard.passed = heard.passed.saturating_sub(u32::from(late));
            words.clone_into(&mut heard.answer);
            heard.watched_until = now + Duration::from_secs(self.config.window_s);
            if is_on_trial || heard.said >= self.config.answers_min {
                self.news.notify_one();
            }
        }
        self.is_hearing.store(true, Ordering::Relaxed);
    }

    /// Until when a job waits at its site, if it does.
    pub(crate) fn until(&self, job: &Job, site: &Site, now: Timestamp) -> Option<Timestamp> {
        let sending = &job.content.sending;
        let in_force = self.in_force();
        let until = |key: Key| match in_force.get(&key)?.standing(now) {
            Standing::Held(until) => Some(until),
            Standing::Free | Standing::Trial => None,
        };
        sending.flow.mail(sending.id).keys(site.as_str()).into_iter().filter_map(until).max()
    }

    /// Whether a message had better not be leased for this site now.
    pub(crate) fn refuses(&self, mail: &Mail<'_>, site: &Site, now: Timestamp) -> bool {
        if !self.are_any() {
            return false;
        }
        let in_force = self.in_force();
        mail.keys(site.as_str()).iter().any(|key| {
            match in_force.get(key).map_or(Standing::Free, |hold| hold.standing(now)) {
                Standing::Free => false,
                Standing::Held(_) => true,
                Standing::Trial => self.went_just_now(key, now),
            }
        })
    }

    fn went_just_now(&self, key: &Key, now: Timestamp) -> bool {
        lock(&self.released).get(key).is_some_and(|at| now.since(*at) < TRIAL_PAUSE)
    }

    /// When a job comes again because it is on trial at its site and another one has just gone;
    /// `None`: it goes.
    pub(crate) fn on_trial(&self, job: &Job, site: &Site, now: Timestamp) -> Option<Timestamp> {
        if !self.are_any() {
            return None;
        }
        let (sending, in_force) = (&job.content.sending, self.in_force());
        let mut keys = sending.flow.mail(sending.id).keys(site.as_str());
        let is_on_trial =
            |key: &Key| in_force.get(key).is_some_and(|hold| hold.standing(now) == Standing::Trial);
        keys.retain(is_on_trial);
        if keys.iter().any(|key| self.went_just_now(key, now)) {
            return Some(Timestamp((now.0 / TRIAL_WAITS_MS + 2) * TRIAL_WAITS_MS));
        }
        lock(&self.released).extend(keys.into_iter().map(|key| (key, now)));
        None
    }

    /// What is to be told. What nobody speaks of any more is dropped.
    fn take_heard(&self, now: Timestamp) -> Vec<(Key, Heard)> {
        let mut heard = lock(&self.heard);
        let mut taken = Vec::new();
        heard.retain(|key, heard| {
            if heard.said > 0 || heard.passed > 0 {
                taken.push((key.clone(), heard.clone()));
                (heard.said, heard.passed) = (0, 0);
            }
            heard.watched_until > now
        });
        self.is_hearing.store(!heard.is_empty(), Ordering::Relaxed);
        taken
    }

    /// It could not be told.
    fn give_back(&self, key: Key, told: Heard) {
        let mut heard = lock(&self.heard);
        let entry =
            heard.entry(key).or_insert_with(|| Heard { said: 0, passed: 0, ..told.clone() });
        entry.said = entry.said.saturating_add(told.said);
        entry.passed = entry.passed.saturating_add(told.passed);
        self.is_hearing.store(true, Ordering::Relaxed);
    }

    /// What is known of holds now; whether what is in force is another.
    fn learn(&self, records: Vec<Hold>, now: Timestamp) -> bool {
        let mut heard = lock(&self.heard);
        for hold in records.iter().filter(|hold| hold.is_watched(&self.config, now)) {
            if heard.len() < HEARD_MAX || heard.contains_key(&hold.key) {
                let heard = heard.entry(hold.key.clone()).or_default();
                heard.watched_until = now + Duration::from_secs(self.config.window_s);
            }
        }
        self.is_hearing.store(!heard.is_empty(), Ordering::Relaxed);
        drop(heard);
        let is_in_force = |hold: &Hold| hold.standing(now) != Standing::Free;
        let known: HashMap<Key, Hold> =
            records.into_iter().filter(is_in_force).map(|h| (h.key.clone(), h)).collect();
        lock(&self.released).retain(|key, _| known.contains_key(key));
        self.are_any.store(!known.is_empty(), Ordering::Relaxed);
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = **in_force != known;
        *in_force = Arc::new(known);
        is_new
    }
}

impl Relay {
    /// Tells what was heard, and learns what is held.
    pub(crate) async fn attend_holds(&self) -> Result<(), StoreError> {
        if !self.holds.config.enabled {
            return Ok(());
        }
        let now = self.now();
        let mut trouble = None;
        for (key, heard) in self.holds.take_heard(now) {
            if let Err(error) = self.add_heard(&key, &heard).await {
                self.holds.give_back(key, heard);
                trouble = Some(error);
            }
        }
        let all = self.store.hold_records().await?.into_iter();
        let is_forgotten = |hold: &Hold| hold.is_forgotten(&self.holds.config, now);
        let (forgotten, records): (Vec<Hold>, Vec<Hold>) = all.partition(is_forgotten);
        for hold in forgotten {
            self.forget_hold(&hold.key).await?;
        }
        if self.holds.learn(records, now) {
            self.rulings.changed();
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn forget_hold(&self, key: &Key) -> Result<(), StoreError> {
        let before = self.store.hold_record(key).await?;
        let is_forgotten = |hold: &Hold| hold.is_forgotten(&self.holds.config, self.now());
        if before.hold.as_ref().is_some_and(is_forgotten) {
            self.store.put_hold(key, &before, None).await?;
        }
        Ok(())
    }

    /// Brings what was heard together with what the others heard.
    async fn add_heard(&self, key: &Key, heard: &Heard) -> Result<(), StoreError> {
        let (now, mut number) = (self.now(), None);
        for _ in 0..ROUNDS_MAX {
            let before = match self.store.hold_record(key).await {
                Ok(before) => before,
                Err(error) if error.is_passing() => return Err(error),
                // Of a newer program, and its to change.
                Err(_) => return Ok(()),
            };
            if before.hold.is_none() && heard.said == 0 {
                return Ok(());
            }
            let new = || Hold::new(key.clone(), &heard.tenant, now);
            let mut hold = before.hold.clone().unwrap_or_else(new);
            let news = News {
                said: heard.said,
                passed: heard.passed,
                cause: heard.cause,
                answer: &heard.answer,
            };
            let change = hold.hear(&self.holds.config, now, &news);
            if change == Some(Change::Set) {
                hold.id = match number {
                    Some(number) => number,
                    None => *number.insert(self.store.order_number().await?),
                };
            }
            if before.hold.as_ref() == Some(&hold) {
                return Ok(());
            }
            match self.store.put_hold(key, &before, Some(&hold)).await? {
                HoldPut::Changed => continue,
                HoldPut::Full => tracing::debug!(%key, "too many holds: this one is not kept"),
                HoldPut::Done => self.tell_change(&hold, change, now).await?,
            }
            return Ok(());
        }
        Err(StoreError::Busy)
    }

    async fn tell_change(
        &self,
        hold: &Hold,
        change: Option<Change>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Hold { id, key, until, reason, answer, .. } = hold;
        let note = match change {
            None => return Ok(()),
            Some(Change::Lifted) => {
                tracing::info!(order = id, held = %key, "goes on: messages on trial passed");
                format!("order {id} ended: {hold}: messages on trial passed")
            }
            Some(Change::Set | Change::Again) => {
                meters::held(key.kind, hold.cause);
                tracing::warn!(order = id, held = %key, %until, reason, "held by itself");
                format!("order {id}: {hold} until {until} by {SELF}: {reason}; last: {answer}")
            }
        };
        self.store.tell_hold(hold, note, now).await?;
        if change != Some(Change::Lifted) {
            self.hold_tenant(hold, now).await?;
        }
        Ok(())
    }

    /// Where several sender domains of a tenant are held, the tenant is.
    async fn hold_tenant(&self, about: &Hold, now: Timestamp) -> Result<(), StoreError> {
        let records = self.store.hold_records().await?;
        let Some(mut hold) = tenant_hold(&records, about, now) else { return Ok(()) };
        let before = self.store.hold_record(&hold.key).await?;
        hold.id = self.store.order_number().await?;
        let key = hold.key.clone();
        if self.store.put_hold(&key, &before, Some(&hold)).await? == HoldPut::Done {
            let Hold { id, key, until, reason, .. } = &hold;
            meters::held(key.kind, hold.cause);
            tracing::warn!(order = id, held = %key, %until, reason, "held by itself");
            let note = format!("order {id}: {hold} until {until} by {SELF}: {reason}");
            self.store.tell_hold(&hold, note, now).await?;
        }
        Ok(())
    }

    /// What came back by mail and speaks of a sender, a campaign or a link. What belongs to nobody
    /// known, or has no site, says nothing.
    pub(crate) async fn heard_late(&self, all: Vec<Feedback>) {
        for feedback in all {
            let (Some(campaign), Some(signal), Some(category), Ok(domain)) = (
                feedback.campaign,
                feedback.signal,
                feedback.category,
                feedback.domain.parse::<Domain>(),
            ) else {
                continue;
            };
            let Ok(flow) = self.shares.look_up(&self.store, campaign).await else { continue };
            if flow.sender.is_empty() {
                continue;
            }
            let Whereto::Site(destination) = self.destination(&domain, &flow).await else {
                continue;
            };
            let (mail, said) = (flow.mail(campaign), feedback.said.as_str());
            let blame = blame(signal, category, &mail, destination.site.as_str(), said);
            blame.into_iter().for_each(|blame| self.holds.said(blame, &mail, said, true));
        }
    }
}
