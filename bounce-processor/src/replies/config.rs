//! Where answers of people go.

use std::path::PathBuf;

use mail::{Address, Domain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::Hook;

use crate::error::BounceError;
use crate::hop::{Hop, NextHop};

/// What people answer to campaigns. It is kept in the mailbox's folder `.Replies` whatever else
/// becomes of it: sent on, told to a web service, or both, until each has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Replies {
    /// Local parts that answers go to, besides the return paths: name one of them as `reply_to` of
    /// a campaign.
    pub addresses: Vec<String>,
    /// The address that answers are sent on to, a ticket system's for one. Empty: nowhere.
    pub forward_to: String,
    /// The envelope sender of what is sent on. Empty: `postmaster` at the first of
    /// `bounces.domains`.
    pub forward_from: String,
    /// The mail server that takes what is sent on.
    pub next_hop: NextHop,
    /// The URL that answers are told to as JSON, signed as Standard Webhooks are. Empty: none.
    pub webhook: String,
    /// The file that holds what is signed with: `whsec_` and 24 to 64 octets in base64.
    pub webhook_secret_file: PathBuf,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            addresses: vec!["reply".into(), "replies".into()],
            forward_to: String::new(),
            forward_from: String::new(),
            next_hop: NextHop::default(),
            webhook: String::new(),
            webhook_secret_file: PathBuf::new(),
        }
    }
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Ways {
    pub(crate) mail: Option<ByMail>,
    pub(crate) hook: Option<Hook>,
}

/// How answers are sent on.
#[derive(Debug, Clone)]
pub(crate) struct ByMail {
    pub(crate) to: Address,
    pub(crate) from: Address,
    pub(crate) hop: Hop,
}

impl Replies {
    /// The ways that answers go.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub(crate) fn ways(&self, domains: &[Domain]) -> Result<Ways, BounceError> {
        for local in &self.addresses {
            if format!("{local}@example.org").parse::<Address>().is_err() {
                return Err(refuse("addresses", local, "cannot stand before an @"));
            }
        }
        Ok(Ways { mail: self.by_mail(domains)?, hook: self.hook()? })
    }

    fn by_mail(&self, domains: &[Domain]) -> Result<Option<ByMail>, BounceError> {
        if self.forward_to.is_empty() {
            return Ok(None);
        }
        let address = |key: &'static str, text: &str| -> Result<Address, BounceError> {
            text.parse().map_err(|why| refuse(key, text, &format!("{why}")))
        };
        let to = address("forward_to", &self.forward_to)?;
        if to.domain_str().parse::<Domain>().is_ok_and(|domain| domains.contains(&domain)) {
            return Err(refuse("forward_to", &self.forward_to, "would come back here"));
        }
        let from = match (self.forward_from.as_str(), domains.first()) {
            ("", Some(first)) => address("forward_from", &format!("postmaster@{first}"))?,
            (text, _) => address("forward_from", text)?,
        };
        let hop = Hop::new(&self.next_hop)
            .map_err(|wrong| refuse(&format!("next_hop.{}", wrong.key), &wrong.text, &wrong.why))?;
        Ok(Some(ByMail { to, from, hop }))
    }

    fn hook(&self) -> Result<Option<Hook>, BounceError> {
        let hook = Hook::of_settings(&self.webhook, &self.webhook_secret_file);
        hook.map_err(|wrong| refuse(wrong.key, &wrong.text, &wrong.why))
    }
}

fn refuse(key: &str, text: &str, why: &str) -> BounceError {
    BounceError::Setting(format!("bounces.replies.{key}: {text:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_that_lead_nowhere_are_refused_with_their_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let domains = ["bounces.example.org".parse::<Domain>().unwrap()];
        let good = || Replies {
            forward_to: "tickets@example.org".into(),
            webhook: "https://example.org/hook".into(),
            webhook_secret_file: file("good", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"),
            ..Replies::default()
        };
        let ways = good().ways(&domains).unwrap();
        assert_eq!(ways.mail.unwrap().from.to_string(), "postmaster@bounces.example.org");
        assert!(ways.hook.is_some());
        let nothing = Replies::default().ways(&domains).unwrap();
        assert!(nothing.mail.is_none() && nothing.hook.is_none());
        let hop = |change: fn(&mut NextHop)| {
            let mut hop = NextHop::default();
            change(&mut hop);
            Replies { next_hop: hop, ..good() }
        };
        for (replies, words) in [
            (Replies { addresses: vec!["a b".into()], ..good() }, ["addresses", "a b"]),
            (Replies { forward_to: "nobody".into(), ..good() }, ["forward_to", "nobody"]),
            (
                Replies { forward_to: "a@Bounces.example.org".into(), ..good() },
                ["forward_to", "come back"],
            ),
            (Replies { forward_from: "@".into(), ..good() }, ["forward_from", "@"]),
            (Replies { webhook: "example.org".into(), ..good() }, ["webhook", "example.org"]),
            (
                Replies { webhook_secret_file: file("bad", "secret"), ..good() },
                ["webhook_secret_file", "whsec_"],
            ),
            (
                Replies { webhook_secret_file: PathBuf::new(), ..good() },
                ["webhook_secret_file", "No such file"],
            ),
            (hop(|hop| hop.host.clear()), ["next_hop.host", "no server"]),
            (hop(|hop| hop.user = "me".into()), ["next_hop.user", "secret_file"]),
            (hop(|hop| hop.secret_file = "x".into()), ["next_hop.user", "needs"]),
        ] {
            let refused = replies.ways(&domains).unwrap_err().to_string();
            assert!(words.iter().all(|word| refused.contains(word)), "{words:?}: {refused}");
        }
    }
}
