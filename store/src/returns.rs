//! Mail that came back, brought into the books: what it does to an address, and that it is
//! counted and told once, change together or not at all. Mails that arrive at the same time are
//! written together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mail::hygiene::{Decision, Policy};
use mail::{CampaignId, DeliveryId, Event, ShardId, Timestamp};
use redis::Value;
use serde::Serialize;

use crate::error::StoreError;
use crate::hygiene::{ROUNDS_MAX, Weighed};
use crate::queue::parse;
use crate::{AddressNews, Frame, Store, scripts};

/// Marks of what was counted are kept as long as reports of it may come, in seconds.
const KEEP_S: u64 = 30 * 86_400;

/// What came back about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// A failure, after the destination had taken the message.
    Failure {
        /// It says that the address is dead, which the campaign's gate counts.
        dead: bool,
    },
    /// A complaint.
    Complaint,
    /// Somebody wants no more of it.
    OptOut,
}

impl Returned {
    fn counter(self) -> &'static str {
        match self {
            Self::Failure { .. } => "returned",
            Self::Complaint => "complained",
            Self::OptOut => "unsubscribed",
        }
    }
}

/// One mail that came back.
#[derive(Debug, Clone)]
pub struct Return<'a> {
    /// What it is about.
    pub delivery: DeliveryId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// As what it is counted.
    pub kind: Returned,
    /// What it says of an address of ours, if it names one.
    pub about: Option<AddressNews<'a>>,
    /// What to tell when it is counted.
    pub event: &'a Event,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it was counted now; otherwise it had been.
    pub first: bool,
    /// What was decided about the address.
    pub decision: Option<Decision>,
}

/// Several mails can fail for one reason.
pub type Shared<T> = Result<T, Arc<StoreError>>;

#[derive(Serialize)]
struct MailArgs<'a> {
    /// Empty: it says nothing of an address.
    tenant: &'a str,
    address: &'a str,
    counter: &'static str,
    dead: bool,
    campaign: String,
    seq: u64,
    /// Events of the two frames.
    events: [usize; 2],
}

/// A mail on its way: decided upon a history, until that is the one in the store.
struct Way<'a> {
    mail: &'a Return<'a>,
    about: Option<(&'a AddressNews<'a>, Weighed)>,
    blobs: [Vec<u8>; 5],
    events: [usize; 2],
}

impl<'a> Way<'a> {
    fn new(
        mail: &'a Return<'a>,
        about: Option<(&'a AddressNews<'a>, Weighed)>,
        before: Vec<u8>,
    ) -> Self {
        let weighed = about.as_ref().map(|(_, weighed)| weighed);
        let of_address = weighed.and_then(|weighed| weighed.event.as_ref());
        let frame = |events: &[&Event]| match events {
            [] => Vec::new(),
            events => Frame::encode(&events.iter().copied().cloned().collect::<Vec<_>>()),
        };
        let again: Vec<&Event> = of_address.into_iter().collect();
        let first: Vec<&Event> = again.iter().copied().chain([mail.event]).collect();
        let blobs = [
            before,
            weighed.map(|weighed| weighed.after.clone()).unwrap_or_default(),
            weighed.and_then(Weighed::packed_listing).unwrap_or_default(),
            frame(&again),
            frame(&first),
        ];
        let events = [again.len(), first.len()];
        Self { mail, about, blobs, events }
    }

    fn args(&self) -> MailArgs<'_> {
        let about = self.about.as_ref().map(|(about, _)| (about.tenant, about.address));
        let (tenant, address) = about.unwrap_or_default();
        MailArgs {
            tenant,
            address,
            counter: self.mail.kind.counter(),
            dead: self.mail.kind == Returned::Failure { dead: true },
            campaign: self.mail.campaign.to_string(),
            seq: self.mail.delivery.seq,
            events: self.events,
        }
    }
}

/// What the store says to one of them.
enum Told {
    Taken(Taken),
    /// Somebody was faster: this is the history now.
    Changed(Vec<u8>),
}

/// The answers to a shard's mails.
fn each_told(group: &[(usize, Way<'_>)], told: Result<Value, StoreError>) -> Vec<Shared<Told>> {
    let rows: Vec<(i8, Vec<u8>)> = match told.and_then(parse) {
        Ok(rows) => rows,
        Err(error) => {
            let error = Arc::new(error);
            return group.iter().map(|_| Err(Arc::clone(&error))).collect();
        }
    };
    let told = |(row, (_, way)): ((i8, Vec<u8>), &(usize, Way<'_>))| match row {
        (-1, history) => Ok(Told::Changed(history)),
        (first, _) => {
            let decision = way.about.as_ref().map(|(_, weighed)| weighed.decision);
            Ok(Told::Taken(Taken { first: first == 1, decision }))
        }
    };
    rows.into_iter().zip(group).map(told).collect()
}

impl Store {
    /// Takes mails that came back: weighs what they say of addresses (which are folded), counts
    /// each once per delivery and kind, and tells of it. To say the same again changes nothing.
    /// Each mail has an answer of its own, in order; the level of durability is reached before.
    ///
    /// # Errors
    /// When Redis does not answer, or an address's history does not read: say it again.
    pub async fn take_back(
        &self,
        mails: &[Return<'_>],
        now: Timestamp,
        policy: &Policy,
    ) -> Vec<Shared<Taken>> {
        let mut answers: Vec<Option<Shared<Taken>>> = mails.iter().map(|_| None).collect();
        // Most addresses have no history: that is tried first, and the store answers with what
        // there is.
        let mut histories: Vec<Vec<u8>> = mails.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS_MAX {
            let mut ways: BTreeMap<ShardId, Vec<(usize, Way<'_>)>> = BTreeMap::new();
            // Several mails about one address go on from what the one before left.
            let mut left: HashMap<(&str, &str), Vec<u8>> = HashMap::new();
            let open = (0..mails.len()).filter(|at| answers[*at].is_none()).collect::<Vec<_>>();
            for at in open {
                let mail = &mails[at];
                let address = mail.about.as_ref().map(|about| (about.tenant, about.address));
                let before = address.and_then(|address| left.get(&address));
                let before = before.unwrap_or(&histories[at]).clone();
                match self.way(mail, &before, now, policy).await {
                    Ok(way) => {
                        if let (Some(address), Some((_, weighed))) = (address, &way.about) {
                            left.insert(address, weighed.after.clone());
                        }
                        ways.entry(mail.delivery.shard).or_default().push((at, way));
                    }
                    Err(error) => answers[at] = Some(Err(Arc::new(error))),
                }
            }
            if ways.is_empty() {
                break;
            }
            for (group, told) in ways.values().zip(self.tell_returns(&ways).await) {
                for ((at, _), told) in group.iter().zip(each_told(group, told)) {
                    answers[*at] = match told {
                        Ok(Told::Changed(history)) => {
                            histories[*at] = history;
                            None
                        }
                        Ok(Told::Taken(taken)) => Some(Ok(taken)),
                        Err(error) => Some(Err(error)),
                    };
                }
            }
        }
        let busy = || Err(Arc::new(StoreError::Busy));
        answers.into_iter().map(|answer| answer.unwrap_or_else(busy)).collect()
    }

    /// A mail with what is decided about its address. An address in another shard than its
    /// delivery, which only a store with other shards can have made, is weighed by itself.
    async fn way<'a>(
        &self,
        mail: &'a Return<'a>,
        history: &[u8],
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Way<'a>, StoreError> {
        let Some(about) = &mail.about else { return Ok(Way::new(mail, None, Vec::new())) };
        if self.shard_of_address(about.address) != mail.delivery.shard {
            self.weigh_address(about, now, policy).await?;
            return Ok(Way::new(mail, None, Vec::new()));
        }
        let weighed = self.weigh(about, about.address, history, now, policy).await?;
        Ok(Way::new(mail, Some((about, weighed)), history.to_vec()))
    }

    async fn tell_returns(
        &self,
        ways: &BTreeMap<ShardId, Vec<(usize, Way<'_>)>>,
    ) -> Vec<Result<Value, StoreError>> {
        #[derive(Serialize)]
        struct Mails<'a> {
            keep_s: u64,
            mails: Vec<MailArgs<'a>>,
        }
        let groups: Vec<&Vec<(usize, Way<'_>)>> = ways.values().collect();
        let keys: Vec<String> = ways.keys().map(|shard| self.shard_key(*shard, "meta")).collect();
        let command = |at: usize| {
            let mails = groups[at].iter().map(|(_, way)| way.args()).collect();
            let args = self.args(None, Mails { keep_s: KEEP_S, mails });
            let blobs = groups[at].iter().flat_map(|(_, way)| way.blobs.iter().map(Vec::as_slice));
            scripts::RETURNED.command(&keys[at], &args, &blobs.collect::<Vec<_>>())
        };
        self.spread_confirmed(&keys, command).await
    }
}
