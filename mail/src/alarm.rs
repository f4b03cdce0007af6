//! Alarms: what is wrong with a platform, since when, and whom to tell. A reading must be bad for a
//! while before an alarm is raised, and good for a while before it is cleared; between the two bounds
//! nothing changes. What is silenced is kept in the book all the same, and told to nobody.
//!
//! Names, bounds and times are those of `ops/alerts/malleposte.yml`, as far as one who looks every few
//! seconds can judge them, so that each has its page in docs/ALERTS.md.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plain::Lang;
use crate::time::Timestamp;

crate::category::words! {
    /// What may be wrong.
    Condition {
        /// Mail of priority 0 waits too long.
        UrgentMailWaits = "UrgentMailWaits",
        /// A campaign has been running for more than a day.
        QueueOld = "QueueOld",
        /// Campaigns run, much waits, and nothing is tried.
        NothingGoes = "NothingGoes",
        /// History reads slower than events come.
        OutboxFilling = "OutboxFilling",
        /// It is nearly full: sending slows.
        OutboxFull = "OutboxFull",
        /// Returned mail waits to be taken into account.
        FeedbackWaiting = "FeedbackWaiting",
        /// Much of a campaign fails.
        CampaignBounces = "CampaignBounces",
        /// A campaign is reported as spam.
        CampaignComplaints = "CampaignComplaints",
        /// And by more than providers bear.
        CampaignComplaintsHigh = "CampaignComplaintsHigh",
        /// Much of what goes to a site fails.
        SiteBounces = "SiteBounces",
        /// A site blocks a source.
        SourceBlocked = "SourceBlocked",
        /// Nobody sends.
        NoRelay = "NoRelay",
        /// A relay says nothing any more.
        SilentRelay = "SilentRelay",
        /// A relay's host is under pressure.
        RelayPressed = "RelayPressed",
        /// Queue and history count differently.
        AccountsDiffer = "AccountsDiffer",
        /// Redis does not answer.
        RedisAway = "RedisAway",
        /// What Redis is told does not reach its disk.
        RedisNotPersisting = "RedisNotPersisting",
        /// Redis's memory fills.
        RedisMemoryHigh = "RedisMemoryHigh",
        /// It is nearly full: nothing is accepted.
        RedisMemoryFull = "RedisMemoryFull",
        /// Redis takes long to answer.
        RedisSlow = "RedisSlow",
        /// The certificate of returned mail ends soon.
        CertificateEnds = "CertificateEnds",
        /// A signing key is old.
        DkimKeyOld = "DkimKeyOld",
        /// A disk fills.
        DiskLow = "DiskLow",
        /// It is nearly full: history stops.
        DiskFull = "DiskFull",
        /// Nothing: somebody tries whether news arrives.
        Test = "Test",
    }
}

/// How a condition is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// A value beyond this is bad.
    pub raise: f64,
    /// A value on this side of it is good; between the two nothing changes.
    pub clear: f64,
    /// Whether high values are bad, or low ones.
    pub is_high_bad: bool,
    /// How long it must be bad before it is said.
    pub raise_after: Duration,
    /// How long it must be good before that is said.
    pub clear_after: Duration,
    /// Whether somebody must act at once.
    pub is_critical: bool,
}

const fn rule(raise: f64, clear: f64, minutes: u64, is_critical: bool) -> Rule {
    Rule {
        raise,
        clear,
        is_high_bad: clear < raise,
        raise_after: Duration::from_secs(60 * minutes),
        clear_after: Duration::from_secs(120),
        is_critical,
    }
}

impl Condition {
    /// Its rule. Values are shares (0 to 1), seconds, days or counts, as the condition's name and the
    /// reading say.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Self::UrgentMailWaits => rule(900.0, 600.0, 2, true),
            Self::QueueOld => rule(86_400.0, 82_800.0, 30, false),
            Self::NothingGoes => rule(1000.0, 1.0, 30, false),
            Self::OutboxFilling => rule(0.5, 0.4, 5, false),
            Self::OutboxFull => rule(0.9, 0.8, 2, true),
            Self::FeedbackWaiting => rule(5000.0, 2000.0, 10, false),
            Self::CampaignBounces => rule(0.1, 0.08, 10, false),
            Self::CampaignComplaints => rule(0.001, 0.0008, 10, false),
            Self::CampaignComplaintsHigh => rule(0.003, 0.0025, 5, true),
            Self::SiteBounces => rule(0.1, 0.08, 15, false),
            Self::SourceBlocked => rule(0.5, 0.4, 60, false),
            Self::NoRelay => rule(0.5, 0.6, 3, true),
            Self::SilentRelay => rule(60.0, 30.0, 1, false),
            Self::RelayPressed => rule(0.5, 0.7, 10, false),
            Self::AccountsDiffer => rule(0.5, 0.4, 1, true),
            Self::RedisAway => rule(0.5, 0.4, 1, true),
            Self::RedisNotPersisting => rule(0.5, 0.4, 1, true),
            Self::RedisMemoryHigh => rule(0.85, 0.8, 5, false),
            Self::RedisMemoryFull => rule(0.95, 0.9, 2, true),
            Self::RedisSlow => rule(0.05, 0.03, 10, false),
            Self::CertificateEnds => rule(14.0, 15.0, 60, false),
            Self::DkimKeyOld => rule(400.0, 399.0, 60, false),
            Self::DiskLow => rule(0.1, 0.12, 10, false),
            Self::DiskFull => rule(0.03, 0.05, 2, true),
            Self::Test => rule(f64::MAX, 0.0, 0, false),
        }
    }
}

impl Condition {
    /// What is wrong, for people.
    #[must_use]
    pub fn title(self, lang: Lang) -> &'static str {
        let (en, fr) = match self {
            Self::UrgentMailWaits => ("Urgent mail waits", "Du courrier urgent attend"),
            Self::QueueOld => (
                "A campaign has been running for more than a day",
                "Une campagne tourne depuis plus d’un jour",
            ),
            Self::NothingGoes => {
                ("Mail waits and none is tried", "Du courrier attend et rien n’est tenté")
            }
            Self::OutboxFilling => ("History is behind", "L’historique est en retard"),
            Self::OutboxFull => (
                "History is far behind: sending slows",
                "L’historique est très en retard : l’envoi ralentit",
            ),
            Self::FeedbackWaiting => (
                "Returned mail waits to be taken into account",
                "Des retours attendent d’être pris en compte",
            ),
            Self::CampaignBounces => ("Much of a campaign fails", "Une campagne échoue beaucoup"),
            Self::CampaignComplaints => {
                ("A campaign is reported as spam", "Une campagne est signalée comme spam")
            }
            Self::CampaignComplaintsHigh => (
                "A campaign is reported as spam more than providers bear",
                "Une campagne est signalée comme spam plus que les fournisseurs ne tolèrent",
            ),
            Self::SiteBounces => ("Much of what goes to a site fails", "Un site refuse beaucoup"),
            Self::SourceBlocked => ("A site blocks a source", "Un site bloque une source"),
            Self::NoRelay => ("No relay is live", "Aucun relais n’est en service"),
            Self::SilentRelay => ("A relay is silent", "Un relais est muet"),
            Self::RelayPressed => {
                ("A relay’s host is under pressure", "La machine d’un relais est sous pression")
            }
            Self::AccountsDiffer => (
                "Queue and history count differently",
                "La file et l’historique ne comptent pas pareil",
            ),
            Self::RedisAway => ("Redis does not answer", "Redis ne répond pas"),
            Self::RedisNotPersisting => {
                ("Redis does not reach its disk", "Redis n’écrit plus sur son disque")
            }
            Self::RedisMemoryHigh => ("Redis’s memory fills", "La mémoire de Redis se remplit"),
            Self::RedisMemoryFull => {
                ("Redis’s memory is nearly full", "La mémoire de Redis est presque pleine")
            }
            Self::RedisSlow => ("Redis takes long to answer", "Redis est lent à répondre"),
            Self::CertificateEnds => ("A certificate ends soon", "Un certificat expire bientôt"),
            Self::DkimKeyOld => ("A DKIM key is old", "Une clé DKIM est ancienne"),
            Self::DiskLow => ("A disk fills", "Un disque se remplit"),
            Self::DiskFull => ("A disk is nearly full", "Un disque est presque plein"),
            Self::Test => ("A test: nothing is wrong", "Un essai : tout va bien"),
        };
        lang.pick(en, fr)
    }
}

/// One look at one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What it is about.
    pub condition: Condition,
    /// Which one: a campaign, a relay, a site; empty where there is one only.
    pub subject: String,
    /// What was measured.
    pub value: f64,
    /// The same for people: the evidence.
    pub says: String,
}

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Bad, not for long enough.
    Rising,
    /// Raised.
    Raised,
    /// Raised, and good, not for long enough.
    Falling,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What is wrong.
    pub condition: Condition,
    /// With which one.
    pub subject: String,
    /// Where it stands.
    pub standing: Standing,
    /// Since when it stands so.
    pub since: Timestamp,
    /// When it was raised.
    pub raised_at: Option<Timestamp>,
    /// When people were last told.
    pub told_at: Option<Timestamp>,
    /// What was measured last.
    pub value: f64,
    /// The evidence.
    pub says: String,
}

impl Alarm {
    /// Whether it is raised, falling or not.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        matches!(self.standing, Standing::Raised | Standing::Falling)
    }
}

crate::category::words! {
    /// What is told of an alarm.
    What {
        /// It is raised.
        Raised = "raised",
        /// It is still raised.
        Reminded = "reminded",
        /// It is over.
        Cleared = "cleared",
    }
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// What happened.
    pub what: What,
    /// The alarm as it is.
    pub alarm: Alarm,
    /// When.
    pub at: Timestamp,
}

impl News {
    /// The same for the same news, however often it is told.
    #[must_use]
    pub fn id(&self) -> String {
        let Self { what, alarm, at } = self;
        let subject: String = (alarm.subject.chars())
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .take(80)
            .collect();
        format!("{}-{subject}-{what}-{}", alarm.condition, at.secs())
    }
}

/// Of what nobody is to be told for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// This condition; `None`: all of them.
    pub condition: Option<Condition>,
    /// This subject; empty: all of them.
    pub subject: String,
    /// When it ends.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

impl Silence {
    /// Whether it is about this alarm, now.
    #[must_use]
    pub fn covers(&self, alarm: &Alarm, now: Timestamp) -> bool {
        self.until > now
            && self.condition.is_none_or(|condition| condition == alarm.condition)
            && (self.subject.is_empty() || self.subject == alarm.subject)
    }
}

/// All alarms of a platform.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    alarms: Vec<Alarm>,
}

/// Alarms kept; a platform in which more is wrong has one trouble.
pub const ALARMS_MAX: usize = 500;

impl Book {
    /// The alarms, those that are raised first, critical ones before others.
    #[must_use]
    pub fn alarms(&self) -> Vec<&Alarm> {
        let mut alarms: Vec<&Alarm> = self.alarms.iter().collect();
        alarms.sort_by_key(|alarm| {
            (!alarm.is_raised(), !alarm.condition.rule().is_critical, alarm.since)
        });
        alarms
    }

    /// Nobody looked for a while: how it was meanwhile is not known, and what was about to be raised or
    /// cleared begins anew.
    pub fn begin_anew(&mut self, now: Timestamp) {
        for alarm in self.alarms.iter_mut().filter(|alarm| alarm.standing != Standing::Raised) {
            alarm.since = now;
        }
    }

    /// Takes a look into account, and answers what is to be told. Of a condition that was looked at, what
    /// there is no reading of is well, because it is gone; alarms of others stay as they are.
    pub fn look(
        &mut self,
        readings: &[Reading],
        looked_at: &[Condition],
        silences: &[Silence],
        remind_after: Duration,
        now: Timestamp,
    ) -> Vec<News> {
        let key = |reading: &Reading| (reading.condition, reading.subject.clone());
        let mut seen: BTreeMap<(Condition, String), &Reading> =
            readings.iter().map(|reading| (key(reading), reading)).collect();
        let mut news = Vec::new();
        let mut kept = Vec::new();
        for mut alarm in std::mem::take(&mut self.alarms) {
            let reading = seen.remove(&(alarm.condition, alarm.subject.clone()));
            alarm.was_not_yet(now);
            if reading.is_none() && !looked_at.contains(&alarm.condition) {
                kept.push(alarm);
                continue;
            }
            let is_silent = silences.iter().any(|silence| silence.covers(&alarm, now));
            let (stays, what) = alarm.step(reading, is_silent, remind_after, now);
            if let Some(what) = what {
                news.push(News { what, alarm: alarm.clone(), at: now });
            }
            kept.extend(stays.then_some(alarm));
        }
        self.alarms = kept;
        for reading in seen.into_values() {
            if self.alarms.len() < ALARMS_MAX && is_bad(reading) {
                self.alarms.push(Alarm {
                    condition: reading.condition,
                    subject: reading.subject.clone(),
                    standing: Standing::Rising,
                    since: now,
                    raised_at: None,
                    told_at: None,
                    value: reading.value,
                    says: reading.says.clone(),
                });
            }
        }
        news
    }
}

impl Alarm {
    /// One step on: whether it stays in the book, and what is to be told of it.
    fn step(
        &mut self,
        reading: Option<&Reading>,
        is_silent: bool,
        remind_after: Duration,
        now: Timestamp,
    ) -> (bool, Option<What>) {
        if let Some(reading) = reading {
            self.value = reading.value;
            self.says.clone_from(&reading.says);
        }
        let (is_bad, is_good) = (reading.is_some_and(is_bad), reading.is_none_or(is_good));
        let rule = self.condition.rule();
        let has_lasted = |since: Timestamp, time: Duration| now.since(since) >= time;
        match self.standing {
            Standing::Rising if is_good => (false, None),
            Standing::Rising if is_bad && has_lasted(self.since, rule.raise_after) => {
                self.stand(Standing::Raised, now);
                self.raised_at = Some(now);
                (true, self.tell(What::Raised, is_silent, now))
            }
            Standing::Raised if is_good => {
                self.stand(Standing::Falling, now);
                (true, None)
            }
            Standing::Falling if is_bad => {
                self.stand(Standing::Raised, now);
                (true, None)
            }
            // Who was told that it began is told that it is over, silence or not; nobody else is.
            Standing::Falling if is_good && has_lasted(self.since, rule.clear_after) => {
                (false, self.told_at.map(|_| What::Cleared))
            }
            Standing::Raised => {
                // A silence is over, or it has been long.
                let what = match self.told_at {
                    None => Some(What::Raised),
                    Some(at) if has_lasted(at, remind_after) => Some(What::Reminded),
                    Some(_) => None,
                };
                (true, what.and_then(|what| self.tell(what, is_silent, now)))
            }
            Standing::Rising | Standing::Falling => (true, None),
        }
    }

    /// A clock that was set back does not keep an alarm waiting for what it said before.
    fn was_not_yet(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.told_at = self.told_at.map(|at| at.min(now));
    }

    fn stand(&mut self, standing: Standing, now: Timestamp) {
        self.standing = standing;
        self.since = now;
    }

    fn tell(&mut self, what: What, is_silent: bool, now: Timestamp) -> Option<What> {
        if is_silent {
            return None;
        }
        self.told_at = Some(now);
        Some(what)
    }
}

fn is_bad(reading: &Reading) -> bool {
    let rule = reading.condition.rule();
    match rule.is_high_bad {
        true => reading.value > rule.raise,
        false => reading.value < rule.raise,
    }
}

fn is_good(reading: &Reading) -> bool {
    let rule = reading.condition.rule();
    match rule.is_high_bad {
        true => reading.value <= rule.clear,
        false => reading.value >= rule.clear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn reading(condition: Condition, value: f64) -> Reading {
        Reading { condition, subject: "x".into(), value, says: format!("it is {value}") }
    }

    /// Looks every ten seconds at these values; what was told, with the second.
    fn told(condition: Condition, values: &[f64], silences: &[Silence]) -> Vec<(u64, What)> {
        let mut book = Book::default();
        let mut told = Vec::new();
        for (n, value) in values.iter().enumerate() {
            let now = Timestamp(n as u64 * 10_000);
            let news = book.look(&[reading(condition, *value)], Condition::ALL, silences, DAY, now);
            told.extend(news.into_iter().map(|news| (now.secs(), news.what)));
        }
        told
    }

    fn silence(until_s: u64) -> Silence {
        Silence {
            id: 1,
            condition: Some(Condition::OutboxFull),
            subject: String::new(),
            until: Timestamp(until_s * 1000),
            by: "ann".into(),
            why: "known".into(),
            at: Timestamp(0),
        }
    }

    #[test]
    fn an_alarm_is_raised_once_after_its_time_and_cleared_once_after_its_own() {
        let values = [vec![0.95; 30], vec![0.5; 30]].concat();
        let expected = [(120, What::Raised), (300 + 120, What::Cleared)];
        assert_eq!(told(Condition::OutboxFull, &values, &[]), expected);
        // Low values are bad of others.
        let values = [vec![0.01; 30], vec![0.5; 30]].concat();
        assert_eq!(told(Condition::DiskFull, &values, &[]), expected);
    }

    #[test]
    fn what_flutters_about_a_bound_is_told_once() {
        let fluttering: Vec<f64> = (0..300).map(|n| if n % 2 == 0 { 0.91 } else { 0.89 }).collect();
        assert_eq!(told(Condition::OutboxFull, &fluttering, &[]).len(), 1);
        let short: Vec<f64> = (0..300).map(|n| if n % 5 == 0 { 0.91 } else { 0.5 }).collect();
        assert_eq!(told(Condition::OutboxFull, &short, &[]), []);
    }

    #[test]
    fn what_is_silenced_is_told_when_the_silence_is_over_and_it_still_is_so() {
        let bad = vec![0.95; 100];
        assert_eq!(told(Condition::OutboxFull, &bad, &[silence(500)]), [(500, What::Raised)]);
        let over = [vec![0.95; 30], vec![0.1; 70]].concat();
        assert_eq!(told(Condition::OutboxFull, &over, &[silence(500)]), []);
        // Another condition is not covered.
        assert_eq!(told(Condition::OutboxFilling, &bad, &[silence(5000)]).len(), 1);
    }

    #[test]
    fn what_lasts_is_told_again_and_what_is_gone_is_cleared() {
        let mut book = Book::default();
        let mut told = Vec::new();
        for minute in 0..3 * 1440 {
            let readings = [reading(Condition::NoRelay, 0.0)];
            let seen = if minute < 2 * 1440 + 5 { &readings[..] } else { &[] };
            let news = book.look(seen, Condition::ALL, &[], DAY, Timestamp(minute * 60_000));
            told.extend(news.into_iter().map(|news| (minute, news.what, news.id())));
        }
        let what: Vec<What> = told.iter().map(|(_, what, _)| *what).collect();
        assert_eq!(what, [What::Raised, What::Reminded, What::Reminded, What::Cleared]);
        assert_eq!(told[0].2, "NoRelay-x-raised-180");
        assert!(book.alarms().is_empty());
    }

    #[test]
    fn who_sees_nothing_of_it_says_nothing_of_it() {
        let mut book = Book::default();
        for n in 0..100 {
            let (bad, now) = ([reading(Condition::OutboxFull, 0.95)], Timestamp(n * 10_000));
            let seen = if n < 30 { &bad[..] } else { &[] };
            let looked_at = if n < 30 { Condition::ALL } else { &[Condition::DiskLow] };
            let news = book.look(seen, looked_at, &[], DAY, now);
            assert_eq!(news.len(), usize::from(n == 12));
        }
        assert!(book.alarms()[0].is_raised());
    }

    #[test]
    fn rules_leave_room_between_their_bounds() {
        for condition in Condition::ALL {
            let rule = condition.rule();
            assert!(rule.raise != rule.clear, "{condition}");
            assert_eq!(rule.is_high_bad, rule.clear < rule.raise, "{condition}");
        }
    }

    #[test]
    fn time_that_nobody_watched_and_a_clock_set_back_raise_and_hold_nothing() {
        let (mut book, bad) = (Book::default(), [reading(Condition::OutboxFull, 0.95)]);
        let look = |book: &mut Book, second: u64| {
            book.look(&bad, Condition::ALL, &[], DAY, Timestamp(second * 1000)).len()
        };
        assert_eq!(look(&mut book, 1000), 0);
        book.begin_anew(Timestamp(5_000_000));
        assert_eq!(look(&mut book, 5000), 0, "nobody knows how it was meanwhile");
        assert_eq!(look(&mut book, 5120), 1);
        let mut book = Book::default();
        assert_eq!(look(&mut book, 90_000), 0);
        assert_eq!(look(&mut book, 10), 0);
        assert_eq!(look(&mut book, 130), 1, "the clock was wrong before");
    }

    #[test]
    fn who_was_told_that_it_began_hears_that_it_is_over_through_a_silence() {
        let (mut book, mut told) = (Book::default(), Vec::new());
        for n in 0..60 {
            let silences = if n > 20 { vec![silence(5000)] } else { Vec::new() };
            let value = if n < 30 { 0.95 } else { 0.1 };
            let seen = [reading(Condition::OutboxFull, value)];
            let now = Timestamp(n * 10_000);
            told.extend(book.look(&seen, Condition::ALL, &silences, DAY, now));
        }
        let what: Vec<What> = told.iter().map(|news| news.what).collect();
        assert_eq!(what, [What::Raised, What::Cleared]);
    }

    proptest! {
        /// Whatever is measured and silenced: raised and cleared take turns, beginning with raised, and a
        /// book that was written down and read again goes on as if nothing had been.
        #[test]
        fn raised_and_cleared_take_turns(
            runs in prop::collection::vec((0..100u32, 1..12usize, any::<bool>()), 0..40),
        ) {
            let (mut book, mut is_raised, mut n) = (Book::default(), false, 0);
            for (hundredths, length, is_silent) in runs {
                let value = f64::from(hundredths) / 100.0;
                let silences = if is_silent { vec![silence(u64::MAX / 1000)] } else { Vec::new() };
                for _ in 0..length {
                    n += 1;
                    let seen = [reading(Condition::OutboxFull, value)];
                    let now = Timestamp(n * 30_000);
                    for news in book.look(&seen, Condition::ALL, &silences, DAY, now) {
                        prop_assert_eq!(news.what == What::Cleared, is_raised);
                        is_raised = !is_raised;
                    }
                    let written = serde_json::to_string(&book).expect("written");
                    let read: Book = serde_json::from_str(&written).expect("read");
                    prop_assert_eq!(&read, &book);
                    book = read;
                }
            }
        }
    }
}
