//! Alarms without Prometheus: what the eyes see is held against the rules of `mail::alarm`; what is
//! raised and cleared stands in the log, in history and in the console, and is told by mail and by a
//! signed webhook until each has taken it. Decided in `mail`; here it is measured, kept and told.

mod config;
mod readings;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::Ledger;
use mail::alarm::{News, Silence};
use mail::event::EventKind;
use mail::{Event, ShardId, Timestamp};
use metrics::gauge;
use store::{AlarmRecord, Store, Untold};
use tokio::task::JoinHandle;

pub use config::Config as AlarmsConfig;
pub(crate) use readings::SiteComplaints;
pub(crate) use ways::Ways;

use super::sights::Sights;
use crate::config::Config;
use readings::Readings;

/// News that waits to be told; of more than this the oldest are dropped, and that is said.
const UNTOLD_MAX: usize = 200;
/// Whoever has not looked for so long does not know how it was meanwhile.
const UNWATCHED: Duration = Duration::from_secs(60);
/// The first pause of news that a way does not take, and the longest; each is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(900)];

/// What a look brought.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look<'a> {
    /// Everything.
    All(&'a Sights),
    /// Redis does not answer.
    Away,
    /// Redis answers, and something in it does not read: the log says what.
    Nothing,
}

/// Watches over what is wrong.
pub(super) struct Alarms {
    store: Store,
    ways: Arc<Ways>,
    remind_after: Duration,
    readings: Readings,
    /// As it was read at first and written since; Redis may be away.
    record: AlarmRecord,
    /// Whether what was kept has been read: before that nothing may be written over it.
    is_loaded: bool,
    silences: Vec<Silence>,
    /// What goes out at the moment: the news, and the ways that took it.
    telling: Option<JoinHandle<(String, Vec<String>)>>,
    /// How often news was not taken, and when it is tried again.
    put_off: HashMap<String, (u32, Instant)>,
}

impl Alarms {
    pub(super) fn new(store: &Store, config: &Config, ledger: Ledger, ways: Ways) -> Self {
        Self {
            store: store.clone(),
            ways: Arc::new(ways),
            remind_after: Duration::from_secs(config.alarms.remind_hours * 3600),
            readings: Readings::new(config, ledger),
            record: AlarmRecord::default(),
            is_loaded: false,
            silences: Vec::new(),
            telling: None,
            put_off: HashMap::new(),
        }
    }

    /// What sites' people reported as spam, as history had it last.
    pub(super) fn complaints(&self) -> &[SiteComplaints] {
        self.readings.complaints()
    }

    /// Holds what was seen against the rules.
    pub(super) async fn look(&mut self, seen: Look<'_>, at: Timestamp) {
        let sights = match seen {
            Look::All(sights) => Some(sights),
            Look::Away | Look::Nothing => None,
        };
        if !self.is_loaded && sights.is_some() {
            self.load().await;
        }
        if let Ok(silences) = self.store.silences(at).await {
            self.silences = silences;
        }
        if at.since(self.record.looked_at) > UNWATCHED {
            self.record.book.begin_anew(at);
        }
        let (readings, looked_at) = self.readings.take(seen).await;
        let (silences, remind) = (&self.silences, self.remind_after);
        let news = self.record.book.look(&readings, &looked_at, silences, remind, at);
        self.record.looked_at = at;
        for news in news {
            self.say(&news).await;
            self.record.untold.push(Untold { news, told: Vec::new() });
        }
        self.tell().await;
        let raised = self.record.book.alarms().iter().filter(|alarm| alarm.is_raised()).count();
        gauge!("malleposte_alarms_raised").set(raised as f64);
        gauge!("malleposte_alarms_untold").set(self.record.untold.len() as f64);
        if self.is_loaded
            && let Err(error) = self.store.put_alarms(&self.record).await
        {
            tracing::warn!("alarms cannot be kept: {error}");
        }
    }

    /// Reads what was kept; what came up before that, while Redis was away, is told behind it.
    async fn load(&mut self) {
        let Ok(mut kept) = self.store.alarms().await else { return };
        kept.untold.append(&mut self.record.untold);
        self.record = kept;
        self.is_loaded = true;
    }

    /// To the log and to history.
    async fn say(&self, news: &News) {
        let News { what, alarm, at } = news;
        let (condition, subject, says) = (alarm.condition, &alarm.subject, &alarm.says);
        tracing::warn!(%condition, subject, "alarm {what}: {says}");
        let note = format!("alarm {condition} {subject} {what}: {says}");
        let event = Event {
            service: "watch".into(),
            note: mail::reply::clean_text(&note),
            ..Event::new(EventKind::Service, *at)
        };
        if let Err(error) = self.store.emit(ShardId(0), &[event]).await {
            tracing::debug!("history is not told of an alarm: {error}");
        }
    }

    /// One after the other, each to every way that has not taken it; beside the looks, because a way
    /// may take its time. News that is not taken rests, and other news goes meanwhile; but not that of
    /// the same alarm: nobody shall hear of its end before its beginning.
    async fn tell(&mut self) {
        let record = &mut self.record;
        if self.ways.is_empty() {
            record.untold.clear();
            return;
        }
        if record.untold.len() > UNTOLD_MAX {
            let dropped = record.untold.len() - UNTOLD_MAX;
            tracing::warn!(dropped, "nobody takes the news of alarms: the oldest are dropped");
            record.untold.drain(..dropped);
        }
        if let Some(telling) = self.telling.take_if(|telling| telling.is_finished())
            && let Ok((id, told)) = telling.await
        {
            self.took(&id, told);
        }
        if self.telling.is_some() {
            return;
        }
        if let Some(next) = next(&self.record.untold, &self.put_off) {
            let (ways, next) = (Arc::clone(&self.ways), next.clone());
            self.telling = Some(tokio::spawn(async move {
                (next.news.id(), ways.tell(&next.news, &next.told).await)
            }));
        }
    }

    fn took(&mut self, id: &str, told: Vec<String>) {
        let untold = &mut self.record.untold;
        let Some(at) = untold.iter().position(|untold| untold.news.id() == id) else { return };
        if self.ways.are_all(&told) {
            untold.remove(at);
            self.put_off.remove(id);
            return;
        }
        untold[at].told = told;
        let (tries, again_at) = self.put_off.entry(id.to_owned()).or_insert((0, Instant::now()));
        let [first, longest] = PAUSES;
        *again_at = Instant::now() + first.saturating_mul(1 << (*tries).min(10)).min(longest);
        *tries += 1;
    }
}

/// What is to be told next: of each alarm only the oldest news; what was never tried comes first.
fn next<'a>(untold: &'a [Untold], put_off: &HashMap<String, (u32, Instant)>) -> Option<&'a Untold> {
    let of = |untold: &Untold| (untold.news.alarm.condition, untold.news.alarm.subject.clone());
    let mut seen = HashSet::new();
    let oldest = untold.iter().filter(|untold| seen.insert(of(untold)));
    let state = |untold: &Untold| put_off.get(&untold.news.id()).copied();
    let due = oldest.filter(|untold| state(untold).is_none_or(|(_, at)| at <= Instant::now()));
    due.min_by_key(|untold| state(untold).map_or(0, |(tries, _)| tries))
}
