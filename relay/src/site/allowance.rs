//! Where hours and days have ceilings, a site's driver takes messages out of what is left for all
//! relays before it asks for the pace. When nothing is left the source rests at the site like one
//! that is blocked: whoever waits goes from another of the pool, or back to the queue until then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mail::load::{is_urgent, within};
use mail::quota::{Answer, Ask, Ceilings, Follows};
use mail::share::Demand;
use mail::{Event, Timestamp};

use super::SiteLane;
use crate::meters;
use crate::relay::{Relay, lock};

/// A source whose plan is over is asked about again after this: a long silence begins it anew.
const WARM_FOR: Duration = Duration::from_secs(60);
/// Ahead of what the pace grants at most this much is taken: it is missing to others.
const AHEAD_S: f64 = 1.0;

/// What this relay has taken and not yet used.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    held: u64,
    /// Nothing need be asked until then.
    free_until: Option<Instant>,
}

/// What counts together: a source at a provider, or at a site that is nobody's.
struct Counted {
    group: String,
    ceilings: Ceilings,
    follows: Option<Arc<Follows>>,
}

/// What a driver may ask the pace for.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    /// There is a bound, and more waits than may go.
    pub(super) is_less: bool,
    is_bound: bool,
}

impl SiteLane {
    /// Until when an hour or a day has no message left.
    pub(crate) fn full_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp(self.full_until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    /// What counts here; `None`, as nearly everywhere: nothing does.
    fn counted(&self) -> Option<Counted> {
        let (ceilings, provider) = (self.pace.ceilings(), self.provider());
        let provider = provider.as_ref().map(|provider| provider.name.as_str());
        // A smart host sends from addresses of its own.
        let follows = self.egress.follows(provider).filter(|_| self.smart.is_none()).cloned();
        let counts = ceilings.are_any() || follows.is_some();
        counts.then(|| {
            let group = provider.unwrap_or(self.key.site.as_str()).to_owned();
            Counted { group, ceilings, follows }
        })
    }

    /// Reduces what waits to what hours and days leave.
    pub(super) async fn allow(&self, relay: &Relay, flows: &mut Vec<Demand>) -> Allowed {
        let Some(counted) = self.counted() else { return Allowed::default() };
        if lock(&self.allowance).free_until.is_some_and(|until| Instant::now() < until) {
            return Allowed::default();
        }
        let wanted: u64 = flows.iter().map(|flow| u64::from(flow.waiting)).sum();
        let ahead = (self.pace.own_part() * AHEAD_S).ceil().max(1.0) as u64;
        let held = lock(&self.allowance).held;
        let missing = wanted.min(ahead).saturating_sub(held);
        if missing > 0 {
            self.take(relay, &counted, missing).await;
        }
        let held = lock(&self.allowance).held;
        let is_less = held < wanted;
        if is_less {
            let urgent = flows.iter().filter(|flow| is_urgent(flow.priority));
            let urgent: u64 = urgent.map(|flow| u64::from(flow.waiting)).sum();
            let urgent = urgent.min(held);
            *flows = within(flows, urgent as u32, (held - urgent) as u32);
            self.pace.hold_back();
        }
        Allowed { is_less, is_bound: true }
    }

    /// What the pace granted of it is used.
    pub(super) fn used(&self, allowed: &Allowed, granted: u32) {
        if allowed.is_bound {
            let mut allowance = lock(&self.allowance);
            allowance.held = allowance.held.saturating_sub(u64::from(granted));
        }
    }

    /// Takes out of what all relays have. Without an answer nothing more goes than was taken.
    async fn take(&self, relay: &Relay, counted: &Counted, missing: u64) {
        let (back, bad) = self.pace.since_counted();
        let (ceilings, follows) = (counted.ceilings, counted.follows.as_deref());
        let ask = Ask { wanted: missing, back, bad, ceilings, follows };
        let (source, group) = (&self.key.source, &counted.group);
        let answer = match relay.store.take_quota(source, group, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(site = %self.key.site, %error, "no part of an hour or a day");
                return;
            }
        };
        let became_full = {
            let mut allowance = lock(&self.allowance);
            allowance.held += answer.granted;
            let is_free = !answer.ceilings.are_any();
            allowance.free_until = is_free.then(|| Instant::now() + WARM_FOR);
            let is_full = allowance.held == 0 && answer.until.is_some();
            let until = answer.until.filter(|_| is_full).unwrap_or(Timestamp(0));
            let was_full = self.full_until.swap(until.0, Ordering::Relaxed) > 0;
            is_full && !was_full
        };
        if became_full {
            meters::quota_full(source);
        }
        let news = told(counted, &answer, became_full).into_iter();
        let events: Vec<Event> = news.map(|note| relay.pace_event(Some(&self.key), note)).collect();
        relay.tell_pace_events(&events).await;
    }
}

/// What is worth a line in history.
fn told(counted: &Counted, answer: &Answer, became_full: bool) -> Vec<String> {
    let mut news = Vec::new();
    if let (Some(turned), Some(follows)) = (answer.turned, counted.follows.as_deref()) {
        let (name, days) = (&follows.name, follows.plan.ceilings.len());
        let of = answer.day.map_or_else(String::new, |day| format!(", day {day} of {days}"));
        news.push(format!("warm-up {name} at {}: {turned}{of}{}", counted.group, most(answer)));
    }
    if let Some(until) = answer.until.filter(|_| became_full) {
        news.push(format!("{} is used up{}: more at {until}", counted.group, most(answer)));
    }
    news
}

fn most(answer: &Answer) -> String {
    let Ceilings { hour, day } = answer.ceilings;
    let hour = hour.map(|most| format!(", {most} in any hour"));
    let day = day.map(|most| format!(", {most} in any day"));
    hour.into_iter().chain(day).collect()
}

#[cfg(test)]
mod tests {
    use mail::warmup::{Plan, Turned};

    use super::*;

    #[test]
    fn history_says_what_a_plan_came_to_and_when_there_is_more() {
        let plan = Plan::parse("title = 'T'\nper = 'day'\nceilings = [10, 20]").expect("a plan");
        let follows = Some(Arc::new(Follows { name: "slow".into(), plan }));
        let counted = Counted { group: "gmail".into(), ceilings: Ceilings::default(), follows };
        let ceilings = Ceilings { hour: Some(5), day: Some(20) };
        let until = Some(Timestamp(1_800_000_000_000));
        let turned = Some(Turned::Rose);
        let answer = Answer { granted: 0, until, ceilings, day: Some(2), turned };
        assert_eq!(
            told(&counted, &answer, true),
            [
                "warm-up slow at gmail: rose, day 2 of 2, 5 in any hour, 20 in any day",
                "gmail is used up, 5 in any hour, 20 in any day: more at 2027-01-15T08:00:00.000Z",
            ]
        );
        let warm = Answer { turned: Some(Turned::Warm), ..Answer::default() };
        assert_eq!(told(&counted, &warm, false), ["warm-up slow at gmail: warm"]);
        assert!(told(&counted, &Answer::default(), false).is_empty());
    }
}
