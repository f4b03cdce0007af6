//! One hold from the first answer that speaks of it to the day on which it is forgotten: counted,
//! held, on trial, let go. A state and what is heard make the next state; relays share it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, Config, Key, Kind};
use crate::time::Timestamp;

/// Messages that go when a hold's time is over, before all others may.
const TRIAL: u32 = 3;
/// A hold that follows another one sooner than this lasts twice as long as that one.
const MEMORY_MIN: Duration = Duration::from_secs(3600);
/// A trial that nobody has come to for so long is over.
const TRIAL_KEPT: Duration = Duration::from_secs(86_400);
/// So many sender domains of a tenant that are held at one site make a hold of the tenant there.
const TENANT_DOMAINS: usize = 3;
/// Of what the site said, in characters.
const ANSWER_MAX: usize = 200;

/// What relays heard of one key since they last told.
#[derive(Debug, Clone, Copy, Default)]
pub struct News<'a> {
    /// Answers that hold it against this key.
    pub said: u32,
    /// Messages that the site took.
    pub passed: u32,
    /// What the answers are about.
    pub cause: Option<Cause>,
    /// The last of them.
    pub answer: &'a str,
}

/// How things stand at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Mail goes.
    Free,
    /// Mail waits until then.
    Held(Timestamp),
    /// The time is over: a few messages find out whether the rest may follow.
    Trial,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is held now.
    Set,
    /// The trial failed: it is held for longer.
    Again,
    /// The trial passed: mail goes.
    Lifted,
}

/// The record of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// What is held where.
    pub key: Key,
    /// Whose mail it is; empty: not known.
    pub tenant: String,
    /// Its number among orders; 0 before it was ever held.
    pub id: u64,
    /// Why.
    pub cause: Cause,
    /// Since when it is held; `None`: it is not.
    pub since: Option<Timestamp>,
    /// Until when; then the trial begins.
    pub until: Timestamp,
    /// Why, with the evidence, in a sentence.
    pub reason: String,
    /// What the site last said.
    pub answer: String,
    /// How often in a row it was held before.
    level: u32,
    window_at: Timestamp,
    said: u32,
    passed: u32,
    lifted_at: Option<Timestamp>,
    respite_until: Timestamp,
}

/// `hold sender-domain news.example at mx.example.net`
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hold {}", self.key)
    }
}

impl Hold {
    /// Nothing has been heard of it yet.
    #[must_use]
    pub fn new(key: Key, tenant: &str, now: Timestamp) -> Self {
        Self {
            key,
            tenant: tenant.to_owned(),
            id: 0,
            cause: Cause::Quota,
            since: None,
            until: now,
            reason: String::new(),
            answer: String::new(),
            level: 0,
            window_at: now,
            said: 0,
            passed: 0,
            lifted_at: None,
            respite_until: Timestamp(0),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.since {
            None => Standing::Free,
            Some(_) if now < self.until => Standing::Held(self.until),
            Some(_) => Standing::Trial,
        }
    }

    /// Takes in what relays heard.
    pub fn hear(&mut self, config: &Config, now: Timestamp, news: &News<'_>) -> Option<Change> {
        if now < self.respite_until {
            return None;
        }
        if news.said > 0 {
            self.cause = news.cause.unwrap_or(self.cause);
            self.answer = news.answer.chars().take(ANSWER_MAX).collect();
        }
        match self.standing(now) {
            // It was on its way when the hold began.
            Standing::Held(_) => None,
            Standing::Free => {
                if now.since(self.window_at) > Duration::from_secs(config.window_s) {
                    self.count_anew(now);
                }
                self.count(news);
                let is_enough = self.said >= config.answers_min && self.is_over(config, 0);
                is_enough.then(|| self.set(config, now))
            }
            Standing::Trial => {
                self.count(news);
                if self.said > 0 && self.is_over(config, TRIAL) {
                    self.level += 1;
                    self.hold(config, now);
                    Some(Change::Again)
                } else if self.said + self.passed >= TRIAL {
                    self.since = None;
                    self.lifted_at = Some(now);
                    self.count_anew(now);
                    Some(Change::Lifted)
                } else {
                    None
                }
            }
        }
    }

    /// A person lets it go; for a while it is not held again.
    pub fn cancel(&mut self, now: Timestamp, respite: Duration) {
        self.since = None;
        self.lifted_at = None;
        self.level = 0;
        self.respite_until = now + respite;
        self.count_anew(now);
    }

    /// Whether relays should count what passes of it: it is on trial, or the window is open.
    #[must_use]
    pub fn is_watched(&self, config: &Config, now: Timestamp) -> bool {
        match self.standing(now) {
            Standing::Held(_) => false,
            Standing::Trial => true,
            Standing::Free => {
                self.said > 0 && now.since(self.window_at) <= Duration::from_secs(config.window_s)
            }
        }
    }

    /// Whether nothing of it matters any more.
    #[must_use]
    pub fn is_forgotten(&self, config: &Config, now: Timestamp) -> bool {
        match self.standing(now) {
            Standing::Held(_) => false,
            Standing::Trial => now.since(self.until) > TRIAL_KEPT,
            Standing::Free => {
                let is_remembered =
                    self.lifted_at.is_some_and(|at| now.since(at) <= self.memory(config));
                now >= self.respite_until && !is_remembered && !self.is_watched(config, now)
            }
        }
    }

    fn count_anew(&mut self, now: Timestamp) {
        (self.window_at, self.said, self.passed) = (now, 0, 0);
    }

    fn count(&mut self, news: &News<'_>) {
        self.said = self.said.saturating_add(news.said);
        self.passed = self.passed.saturating_add(news.passed);
    }

    /// Whether those who say so are as many as it takes, of all or of so many at least.
    fn is_over(&self, config: &Config, least: u32) -> bool {
        let share = if self.cause.is_quota() { config.quota_share } else { config.refusal_share };
        let all = self.said.saturating_add(self.passed).max(least);
        f64::from(self.said) >= share * f64::from(all)
    }

    fn set(&mut self, config: &Config, now: Timestamp) -> Change {
        let follows = self.lifted_at.is_some_and(|at| now.since(at) <= self.memory(config));
        self.level = if follows { self.level + 1 } else { 0 };
        self.since = Some(now);
        self.hold(config, now);
        Change::Set
    }

    fn hold(&mut self, config: &Config, now: Timestamp) {
        let Self { said, passed, .. } = *self;
        let over = now.since(self.window_at.min(now)).as_secs().max(1);
        self.until = now + self.lasts(config);
        self.reason = format!(
            "{said} of {} answers within {over} s say that {}",
            said.saturating_add(passed),
            self.cause.phrase()
        );
        self.count_anew(self.until);
    }

    fn lasts(&self, config: &Config) -> Duration {
        let first = if self.cause.is_quota() { config.quota_s } else { config.refusal_s };
        let seconds = first.saturating_mul(1 << self.level.min(20)).min(config.max_s);
        Duration::from_secs(seconds)
    }

    fn memory(&self, config: &Config) -> Duration {
        (self.lasts(config) * 2).max(MEMORY_MIN)
    }
}

/// The hold of a tenant at a site where several of its sender domains are held: more of them would
/// only find out the same. It lasts as long as theirs. `None` where it is not called for, or held.
#[must_use]
pub fn tenant_hold(all: &[Hold], about: &Hold, now: Timestamp) -> Option<Hold> {
    let (tenant, site) = (about.tenant.as_str(), about.key.site.as_str());
    if about.key.kind != Kind::SenderDomain || tenant.is_empty() {
        return None;
    }
    let until = |hold: &Hold| match hold.standing(now) {
        Standing::Held(until) => Some(until),
        Standing::Free | Standing::Trial => None,
    };
    let there = all.iter().filter(|hold| hold.key.site == site);
    let of_tenant = |hold: &&Hold| hold.key.kind == Kind::Tenant && hold.key.name == tenant;
    let known = there.clone().find(of_tenant);
    if known.is_some_and(|hold| hold.since.is_some() || now < hold.respite_until) {
        return None;
    }
    let domains = there.filter(|h| h.key.kind == Kind::SenderDomain && h.tenant == tenant);
    let held: Vec<(&Hold, Timestamp)> = domains.filter_map(|h| Some((h, until(h)?))).collect();
    if held.len() < TENANT_DOMAINS {
        return None;
    }
    let key = Key { kind: Kind::Tenant, name: tenant.to_owned(), site: site.to_owned() };
    let mut hold = known.cloned().unwrap_or_else(|| Hold::new(key, tenant, now));
    hold.cause = about.cause;
    hold.answer.clone_from(&about.answer);
    hold.since = Some(now);
    hold.until = held.iter().map(|(_, until)| *until).max().unwrap_or(now);
    let names: Vec<&str> = held.iter().map(|(h, _)| h.key.name.as_str()).collect();
    hold.reason =
        format!("{} of its sender domains are held there: {}", held.len(), names.join(", "));
    hold.count_anew(hold.until);
    Some(hold)
}
