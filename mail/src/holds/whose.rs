//! Whom an answer speaks of, and whom a message belongs to.

use super::{Cause, Key, Kind};
use crate::category::Category;
use crate::classify::Signal;
use crate::id::CampaignId;

/// A message, as far as holds are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The domain of its From; empty: not known.
    pub sender: &'a str,
    /// Its tenant; empty: not known.
    pub tenant: &'a str,
    /// Its campaign.
    pub campaign: CampaignId,
    /// The domains that it links to.
    pub links: &'a [String],
}

/// What an answer holds against what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// Against what, and where.
    pub key: Key,
    /// What for.
    pub cause: Cause,
}

impl Mail<'_> {
    /// Everything that a hold of this message at a site could name.
    #[must_use]
    pub fn keys(&self, site: &str) -> Vec<Key> {
        let key = |kind, name: &str| Key { kind, name: name.to_owned(), site: site.to_owned() };
        let named = [(Kind::SenderDomain, self.sender), (Kind::Tenant, self.tenant)];
        let named = named.into_iter().filter(|(_, name)| !name.is_empty());
        let mut keys: Vec<Key> = named.map(|(kind, name)| key(kind, name)).collect();
        keys.push(key(Kind::Campaign, &self.campaign.to_string()));
        keys.extend(self.links.iter().map(|domain| key(Kind::LinkDomain, domain)));
        keys
    }

    /// The link domain that an answer means: the one that it names, or the only one there is.
    fn link(&self, words: &str) -> Option<&String> {
        let words = words.to_lowercase();
        let mut named = self.links.iter().filter(|domain| names(&words, domain));
        match (named.next(), named.next()) {
            (Some(one), None) => Some(one),
            (None, _) if self.links.len() == 1 => self.links.first(),
            _ => None,
        }
    }
}

/// Whether these words have the domain in them, and not as a part of another.
fn names(words: &str, domain: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '-';
    words.match_indices(domain).any(|(at, _)| {
        let before = words[..at].chars().next_back();
        let after = &words[at + domain.len()..];
        let mut after = after.chars();
        let goes_on = match after.next() {
            Some('.') => after.next().is_some_and(part_of_name),
            c => c.is_some_and(part_of_name),
        };
        !goes_on && !before.is_some_and(|c| part_of_name(c) || c == '.')
    })
}

/// What an answer of a site holds against this message beyond its recipient, if anything. What
/// speaks of the source, the connection or the site itself is the pace's business.
#[must_use]
pub fn blame(
    signal: Signal,
    category: Category,
    mail: &Mail<'_>,
    site: &str,
    words: &str,
) -> Option<Blame> {
    let is_quota = category == Category::RateLimited;
    let (kind, name, cause) = match signal {
        Signal::SenderDomain => {
            let cause = match category {
                Category::RateLimited => Cause::Quota,
                Category::Auth => Cause::Auth,
                Category::ReputationBlock => Cause::Reputation,
                _ => Cause::Policy,
            };
            (Kind::SenderDomain, mail.sender.to_owned(), cause)
        }
        Signal::LinkDomain => match mail.link(words) {
            Some(domain) if is_quota => (Kind::LinkDomain, domain.clone(), Cause::Quota),
            Some(domain) => (Kind::LinkDomain, domain.clone(), Cause::Reputation),
            None => {
                let cause = if is_quota { Cause::LinkQuota } else { Cause::Content };
                (Kind::Campaign, mail.campaign.to_string(), cause)
            }
        },
        Signal::Content => {
            let cause = if is_quota { Cause::Quota } else { Cause::Content };
            (Kind::Campaign, mail.campaign.to_string(), cause)
        }
        Signal::None
        | Signal::Rate
        | Signal::Connections
        | Signal::MessagesPerConnection
        | Signal::Block
        | Signal::Greylist
        | Signal::RecipientBusy
        | Signal::SiteTrouble => return None,
    };
    let key = Key { kind, name, site: site.to_owned() };
    (!key.name.is_empty()).then_some(Blame { key, cause })
}
