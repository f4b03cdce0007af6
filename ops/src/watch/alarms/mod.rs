//! Alarms without Prometheus: what the eyes see is held against the rules of `mail::alarm`; what is
//! raised and cleared stands in the log, in history and in the console, and is told by mail and by a
//! signed webhook until each has taken it. Decided in `mail`; here it is measured, kept and told.

mod config;
mod readings;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::alarm::{News, Silence};
use mail::event::EventKind;
use mail::{Event, ShardId, Timestamp};
use metrics::gauge;
use store::{AlarmRecord, Store, Untold};
use tokio::task::JoinHandle;

pub use config::Config as AlarmsConfig;
pub(crate) use ways::Ways;

use super::sights::Sights;
use crate::config::Config;
use readings::Readings;

/// News that waits to be told; of more than this the oldest are dropped, and that is said.
const UNTOLD_MAX: usize = 200;
/// The first pause of news that a way does not take, and the longest; each is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(900)];

/// Watches over what is wrong.
pub(super) struct Alarms {
    store: Store,
    ways: Arc<Ways>,
    remind_after: Duration,
    readings: Readings,
    /// As it was read at first and written since; Redis may be away.
    record: Option<AlarmRecord>,
    silences: Vec<Silence>,
    /// What goes out at the moment: the news, and the ways that took it.
    telling: Option<JoinHandle<(String, Vec<String>)>>,
    failures: u32,
    again_at: Instant,
}

impl Alarms {
    pub(super) fn new(store: &Store, config: &Config, ways: Ways) -> Self {
        Self {
            store: store.clone(),
            ways: Arc::new(ways),
            remind_after: Duration::from_secs(config.alarms.remind_hours * 3600),
            readings: Readings::new(config),
            record: None,
            silences: Vec::new(),
            telling: None,
            failures: 0,
            again_at: Instant::now(),
        }
    }

    /// Holds what was seen against the rules; `None`: Redis does not answer.
    pub(super) async fn look(&mut self, sights: Option<&Sights>, at: Timestamp) {
        if self.record.is_none() && sights.is_some() {
            self.record = self.store.alarms().await.ok();
        }
        if let Ok(silences) = self.store.silences(at).await {
            self.silences = silences;
        }
        let readings = self.readings.take(sights, &self.store).await;
        let mut record = self.record.take().unwrap_or_default();
        let news =
            record.book.look(&readings, sights.is_some(), &self.silences, self.remind_after, at);
        record.looked_at = at;
        for news in news {
            self.say(&news).await;
            record.untold.push(Untold { news, told: Vec::new() });
        }
        self.tell(&mut record).await;
        let raised = record.book.alarms().iter().filter(|alarm| alarm.is_raised()).count();
        gauge!("malleposte_alarms_raised").set(raised as f64);
        gauge!("malleposte_alarms_untold").set(record.untold.len() as f64);
        if sights.is_some()
            && let Err(error) = self.store.put_alarms(&record).await
        {
            tracing::warn!("alarms cannot be kept: {error}");
        }
        self.record = Some(record);
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
    /// may take its time.
    async fn tell(&mut self, record: &mut AlarmRecord) {
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
            self.took(record, &id, told);
        }
        let is_due = self.telling.is_none() && Instant::now() >= self.again_at;
        if let Some(next) = record.untold.first().filter(|_| is_due) {
            let (ways, next) = (Arc::clone(&self.ways), next.clone());
            self.telling = Some(tokio::spawn(async move {
                (next.news.id(), ways.tell(&next.news, &next.told).await)
            }));
        }
    }

    fn took(&mut self, record: &mut AlarmRecord, id: &str, told: Vec<String>) {
        let Some(at) = record.untold.iter().position(|untold| untold.news.id() == id) else {
            return;
        };
        if self.ways.are_all(&told) {
            record.untold.remove(at);
            self.failures = 0;
            self.again_at = Instant::now();
            return;
        }
        record.untold[at].told = told;
        let [first, longest] = PAUSES;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        (self.failures, self.again_at) = (self.failures + 1, Instant::now() + pause);
        // Others may go meanwhile.
        let mut untold: VecDeque<Untold> = std::mem::take(&mut record.untold).into();
        untold.rotate_left(1);
        record.untold = untold.into();
    }
}
