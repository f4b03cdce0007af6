//! A campaign's life: which verb leads where, and making it so. The status in the store
//! is the truth; what the shards know follows it, and can be told again.

use mail::event::EventKind;
use mail::queue::CampaignState;
use mail::{CampaignId, Event, ShardId, Timestamp};
use store::{Campaign, CampaignStatus, StartAt, Store, StoreError};

use crate::clock;
use crate::problem::{Answer, Problem};

mail::words! {
    /// What a client can ask of a campaign.
    Verb {
        /// Add recipients.
        Upload = "upload",
        /// Accept them.
        Close = "close",
        /// Send, now or at its time.
        Start = "start",
        /// Stop for a while.
        Pause = "pause",
        /// Go on.
        Resume = "resume",
        /// Never send the rest.
        Cancel = "cancel",
    }
}

/// What a verb does to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It changes.
    To(CampaignStatus),
    /// It is so already: repeating a verb is harmless.
    Already,
    /// The verb makes no sense now.
    Impossible,
}

/// Where a verb leads from a status.
pub(crate) fn step(verb: Verb, status: CampaignStatus, start: StartAt, now: Timestamp) -> Step {
    use CampaignStatus as S;
    let going = match start {
        StartAt::At(at) if at > now => S::Scheduled,
        StartAt::At(_) | StartAt::Now => S::Running,
    };
    match (verb, status) {
        (Verb::Upload, S::Draft) => Step::Already,
        (Verb::Close, S::Draft) => Step::To(S::Closing),
        (Verb::Close, S::Closing | S::Ready | S::Scheduled) => Step::Already,
        (Verb::Close, S::Running | S::Paused | S::Finished) => Step::Already,
        (Verb::Start, S::Ready) | (Verb::Resume, S::Paused) => Step::To(going),
        (Verb::Start | Verb::Resume, S::Scheduled | S::Running) => Step::Already,
        (Verb::Start, S::Finished) => Step::Already,
        (Verb::Pause, S::Scheduled | S::Running) => Step::To(S::Paused),
        (Verb::Pause, S::Paused) => Step::Already,
        // Nothing of a draft is in the queue: there is nobody to wait for.
        (Verb::Cancel, S::Draft) => Step::To(S::Cancelled),
        (Verb::Cancel, S::Ready | S::Scheduled | S::Running | S::Paused) => Step::To(S::Cancelling),
        (Verb::Cancel, S::Cancelling | S::Cancelled) => Step::Already,
        (
            Verb::Upload | Verb::Close | Verb::Start | Verb::Pause | Verb::Resume | Verb::Cancel,
            _,
        ) => Step::Impossible,
    }
}

/// The verbs that change something now.
#[must_use]
pub fn possible(campaign: &Campaign) -> Vec<&'static str> {
    let now = clock::now();
    let helps = |verb: &&Verb| match step(**verb, campaign.status, campaign.record.start, now) {
        Step::To(_) => true,
        Step::Already => **verb == Verb::Upload,
        Step::Impossible => false,
    };
    Verb::ALL.iter().filter(helps).map(|verb| verb.as_str()).collect()
}

/// The answer to a verb that makes no sense now.
pub(crate) fn impossible(campaign: &Campaign, verb: Verb) -> Problem {
    let (status, possible) = (campaign.status.as_str(), possible(campaign));
    let next = match campaign.status {
        CampaignStatus::Closing => "wait until its recipients are accepted".to_owned(),
        _ if possible.is_empty() => "nothing can change it any more".to_owned(),
        _ => format!("possible now: {}", possible.join(", ")),
    };
    let detail = format!("campaign {} is {status}: {verb} is not possible; {next}", campaign.id);
    Problem::conflict("wrong-state", detail).with("state", status).with("possible", possible)
}

/// Does what a verb asks, as often as it is asked, and answers the campaign as it is then.
pub(crate) async fn act(
    store: &Store,
    mut campaign: Campaign,
    verb: Verb,
    who: &str,
) -> Answer<Campaign> {
    /// Others may change it at the same time; not for ever.
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        match step(verb, campaign.status, campaign.record.start, clock::now()) {
            Step::Impossible => return Err(impossible(&campaign, verb)),
            Step::Already => {
                tell_shards(store, campaign.id).await?;
                return Ok(campaign);
            }
            Step::To(to) => {
                let changed = change(store, &campaign, to, who).await?;
                let now = store.campaign(campaign.id).await?;
                campaign = now.ok_or_else(|| Problem::not_found(campaign.id))?;
                if changed {
                    tell_shards(store, campaign.id).await?;
                    return Ok(campaign);
                }
            }
        }
    }
    Err(Problem::later("busy", format!("campaign {} keeps changing; try again", campaign.id)))
}

/// Cancels a campaign for an operator, from wherever the store can be reached. Answers what
/// it was or became, or in words why it cannot be.
///
/// # Errors
/// When Redis does not answer; doing it again is harmless.
pub async fn cancel(
    store: &Store,
    campaign: Campaign,
    who: &str,
) -> Result<Result<Campaign, String>, StoreError> {
    ask(store, campaign, Verb::Cancel, who).await
}

/// Lets a campaign stand still for an operator, from wherever the store can be reached. Answers what
/// it was or became, or in words why it cannot be.
///
/// # Errors
/// When Redis does not answer; doing it again is harmless.
pub async fn pause(
    store: &Store,
    campaign: Campaign,
    who: &str,
) -> Result<Result<Campaign, String>, StoreError> {
    ask(store, campaign, Verb::Pause, who).await
}

/// Lets a paused campaign go on for an operator, from wherever the store can be reached. Answers
/// what it was or became, or in words why it cannot be.
///
/// # Errors
/// When Redis does not answer; doing it again is harmless.
pub async fn resume(
    store: &Store,
    campaign: Campaign,
    who: &str,
) -> Result<Result<Campaign, String>, StoreError> {
    ask(store, campaign, Verb::Resume, who).await
}

async fn ask(
    store: &Store,
    campaign: Campaign,
    verb: Verb,
    who: &str,
) -> Result<Result<Campaign, String>, StoreError> {
    let (id, status) = (campaign.id, campaign.status);
    match step(verb, status, campaign.record.start, clock::now()) {
        Step::Impossible => Ok(Err(format!("campaign {id} is {status}: {verb} is not possible"))),
        Step::Already => Ok(Ok(campaign)),
        Step::To(to) => {
            if !change(store, &campaign, to, who).await? {
                return Ok(Err(format!("campaign {id} just changed; try again")));
            }
            tell_shards(store, id).await?;
            let now = store.campaign(id).await?;
            Ok(now.ok_or_else(|| format!("campaign {id} is gone")))
        }
    }
}

/// Changes the status if it is still what it was, and tells about it. What is closed has the files
/// that were looked at.
pub(crate) async fn change(
    store: &Store,
    campaign: &Campaign,
    to: CampaignStatus,
    who: &str,
) -> Result<bool, StoreError> {
    let now = clock::now();
    let is_now = match (campaign.status, to) {
        (CampaignStatus::Draft, CampaignStatus::Closing) => {
            store.close_draft(campaign, now).await?
        }
        (from, to) => store.change_status(campaign.id, &[from], to, now).await?,
    };
    if is_now != to {
        return Ok(false);
    }
    tracing::info!(request = campaign.record.request, campaign = %campaign.id, from = %campaign.status, to = %to, by = who, "campaign changed");
    let event = Event {
        campaign: Some(campaign.id),
        service: "api".into(),
        note: format!("{} to {to} by {who}", campaign.status),
        ..Event::new(EventKind::CampaignChanged, now)
    };
    if to.is_over() {
        store.retire_campaign(campaign.id).await?;
    }
    store.emit(home(store, campaign.id), &[event]).await?;
    Ok(true)
}

/// The shard whose outbox tells a campaign's own story.
pub(crate) fn home(store: &Store, id: CampaignId) -> ShardId {
    ShardId((id.0 % u64::from(store.shards())) as u16)
}

/// Makes every shard know what the status says; again if it changed meanwhile.
pub(crate) async fn tell_shards(store: &Store, id: CampaignId) -> Result<(), StoreError> {
    /// Two clients that pause and resume by turns do not keep us here.
    const ROUNDS: usize = 5;
    for _ in 0..ROUNDS {
        let Some(campaign) = store.campaign(id).await? else { return Ok(()) };
        let Some(state) = campaign.status.shard_state() else { return Ok(()) };
        store.set_campaign_state(id, state, campaign.record.priority).await?;
        if state == CampaignState::Cancelling {
            store.expedite(id).await?;
        }
        if store.campaign_status(id).await? == Some(campaign.status) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_leads_where_the_documentation_says() {
        use CampaignStatus as S;
        let now = Timestamp(1000);
        let later = StartAt::At(Timestamp(2000));
        let cases = [
            (Verb::Start, S::Ready, StartAt::Now, Step::To(S::Running)),
            (Verb::Start, S::Ready, later, Step::To(S::Scheduled)),
            (Verb::Start, S::Ready, StartAt::At(Timestamp(500)), Step::To(S::Running)),
            (Verb::Start, S::Running, StartAt::Now, Step::Already),
            (Verb::Start, S::Paused, StartAt::Now, Step::Impossible),
            (Verb::Start, S::Draft, StartAt::Now, Step::Impossible),
            (Verb::Pause, S::Scheduled, later, Step::To(S::Paused)),
            (Verb::Resume, S::Paused, later, Step::To(S::Scheduled)),
            (Verb::Resume, S::Paused, StartAt::Now, Step::To(S::Running)),
            (Verb::Cancel, S::Draft, StartAt::Now, Step::To(S::Cancelled)),
            (Verb::Cancel, S::Paused, StartAt::Now, Step::To(S::Cancelling)),
            (Verb::Cancel, S::Finished, StartAt::Now, Step::Impossible),
            (Verb::Upload, S::Closing, StartAt::Now, Step::Impossible),
        ];
        for (verb, status, start, expected) in cases {
            assert_eq!(step(verb, status, start, now), expected, "{verb} when {status}");
        }
    }

    #[test]
    fn what_a_verb_has_done_it_does_not_do_again() {
        for verb in Verb::ALL {
            for status in CampaignStatus::ALL {
                if let Step::To(to) = step(*verb, *status, StartAt::Now, Timestamp(1)) {
                    let again = step(*verb, to, StartAt::Now, Timestamp(1));
                    assert_eq!(again, Step::Already, "{verb} twice from {status}");
                }
            }
        }
    }
}
