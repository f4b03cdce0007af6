//! What a relay tells history of the pace: at a site, or of what it takes at all.

use mail::event::EventKind;
use mail::{Event, ShardId};

use super::Relay;
use crate::site::SiteKey;

impl Relay {
    /// A change of the pace at a site; without one, of what this relay takes.
    pub(crate) fn pace_event(&self, at: Option<&SiteKey>, note: String) -> Event {
        let mut event = Event::new(EventKind::PaceChanged, self.now());
        at.into_iter().for_each(|key| key.write(&mut event));
        self.heart.relay().clone_into(&mut event.service);
        event.note = note;
        event
    }

    /// Adds such events, all of one site or of none, to history. They move no account: while Redis
    /// is away they are lost.
    pub(crate) async fn tell_pace_events(&self, events: &[Event]) {
        let of = events.first().map_or("", |event| event.site.as_str());
        let of = if of.is_empty() { &self.name } else { of };
        let shard = ShardId::of_domain(of, self.store.shards());
        if let Err(error) = self.store.emit(shard, events).await {
            tracing::debug!(%error, "a change of pace was not told");
        }
    }
}
