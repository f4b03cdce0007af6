//! Whose it was: the delivery that a returned mail concerns, by proof only, and the
//! recipient that it names, if that is the one that the message went to.

use mail::hygiene::What;
use mail::returned::{FailedRecipient, Returned};
use mail::unsubscribe::{self, Unsubscription};
use mail::verp::{ReturnPath, ReturnPathKeys};
use mail::{Address, CampaignId, DeliveryId, Hygiene};

/// What only the platform can make, and what opens it.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) paths: ReturnPathKeys,
    pub(crate) links: ReturnPathKeys,
}

/// What mail is addressed to here.
#[derive(Debug, Clone)]
pub(crate) enum Recipient {
    /// The return path of one message.
    ReturnPath(ReturnPath),
    /// Where somebody unsubscribes who was written to: the local part.
    Unsubscribe(String),
    /// Where people answer to who write by themselves: the local part.
    Answers(String),
    /// `postmaster`, `abuse` and the like.
    Office(&'static str),
}

/// A message of ours.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    pub(crate) delivery: DeliveryId,
    pub(crate) campaign: CampaignId,
    proof: Proof,
}

#[derive(Debug, Clone)]
enum Proof {
    /// A return path knows its recipient when it is named.
    Path(ReturnPath),
    /// The link of an unsubscription names it.
    Link(String),
}

impl Whose {
    /// By the return path that the mail came to; or, elsewhere, by one that it quotes
    /// or by a quoted unsubscribe link. All else can be written by anybody.
    pub(crate) fn find(to: &Recipient, mail: &Returned, keys: &Keys) -> Option<Self> {
        if let Recipient::ReturnPath(path) = to {
            return Some(Self::by_path(path.clone()));
        }
        let quoted = [
            mail.original.return_path.as_deref(),
            mail.feedback.as_ref().and_then(|f| f.mail_from.as_deref()),
        ];
        let local = |text| -> &str { str::rsplit_once(text, '@').map_or(text, |(local, _)| local) };
        let quoted = quoted.into_iter().flatten().map(local);
        let mut tokens = quoted.chain(mail.original.tokens.iter().map(String::as_str));
        let path = tokens.find_map(|token| keys.paths.decode(token).ok());
        path.map(Self::by_path).or_else(|| Some(Self::by_link(&link(mail, keys)?)))
    }

    fn by_path(path: ReturnPath) -> Self {
        Self { delivery: path.delivery, campaign: path.campaign, proof: Proof::Path(path) }
    }

    /// By an unsubscription that was verified.
    pub(crate) fn by_link(link: &Unsubscription) -> Self {
        let proof = Proof::Link(link.address.to_lowercase());
        Self { delivery: link.delivery, campaign: link.campaign, proof }
    }

    fn is(&self, address: &Address) -> bool {
        match &self.proof {
            Proof::Path(path) => path.matches(address),
            Proof::Link(linked) => *linked == address.folded(),
        }
    }

    fn fits(&self, text: &str) -> Option<Address> {
        text.trim().parse().ok().filter(|address| self.is(address))
    }

    /// The recipient, if the mail names it anywhere.
    pub(crate) fn recipient(&self, mail: &Returned, keys: &Keys) -> Option<Address> {
        let reported = mail
            .failures
            .iter()
            .flat_map(|f| f.recipient.iter().chain(&f.final_recipient))
            .map(String::as_str);
        let told = mail.feedback.iter().flat_map(|f| &f.recipients).map(String::as_str);
        let quoted = mail.original.to.iter().map(String::as_str);
        let writer = mail.from.as_deref();
        let mut candidates = reported.chain(told).chain(quoted).chain(writer);
        let by_link = || self.fits(&link(mail, keys)?.address);
        candidates.find_map(|text| self.fits(text)).or_else(by_link)
    }

    /// The failure that concerns our recipient: the one that names it, or else the only
    /// thing that the mail reports at all.
    pub(crate) fn failure<'m>(&self, mail: &'m Returned) -> Option<&'m FailedRecipient> {
        let names_it = |f: &&FailedRecipient| {
            f.recipient.iter().chain(&f.final_recipient).any(|text| self.fits(text).is_some())
        };
        mail.failures.iter().find(names_it).or_else(|| mail.failures.first())
    }

    /// What a failure says about our recipient's address. When the report names only
    /// strangers the mail was forwarded and failed there: that counts, and proves nothing.
    pub(crate) fn news(&self, failure: &FailedRecipient) -> What {
        let named: Vec<&String> =
            failure.recipient.iter().chain(&failure.final_recipient).collect();
        let is_ours = named.is_empty() || named.iter().any(|text| self.fits(text).is_some());
        match What::failed(&failure.finding) {
            What::Failed { category, hygiene: Hygiene::Suppress } if !is_ours => {
                What::Failed { category, hygiene: Hygiene::Count }
            }
            what => what,
        }
    }
}

/// The link of ours in the quoted header.
fn link(mail: &Returned, keys: &Keys) -> Option<Unsubscription> {
    let mut fields = mail.original.ours.iter().filter(|(name, _)| name == "list-unsubscribe");
    fields.find_map(|(_, value)| {
        let (token, address) = unsubscribe::link_parts(value)?;
        unsubscribe::verify(&keys.links, token, address).ok()
    })
}
