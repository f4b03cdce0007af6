//! What is particular, in English.

use std::net::IpAddr;
use std::time::Duration;

use super::{Lang, own};
use crate::classify::{Own, Permanence};
use crate::particular::{BlockList, Check, Particular, Per, Since, Size, Whose, in_words};

const EN: Lang = Lang::En;

/// What happened.
pub(super) fn what(particular: &Particular) -> String {
    use Particular as P;
    match particular {
        P::Quota { used, quota } => full(*used, *quota),
        P::FullSince(Since::Day(year, month, day)) => {
            format!("The mailbox has been full since {year:04}-{month:02}-{day:02}.")
        }
        P::FullSince(Since::For(span)) => format!("The mailbox has been full for {}.", time(*span)),
        P::FullOfMessages => "The mailbox is full: there are too many messages in it.".into(),
        P::SizeLimit { limit, message } => too_big(*limit, *message),
        P::Syntax => "The address is not written as an address has to be.".into(),
        P::Spelling(similar) => {
            format!("The user is unknown; the recipient's server suggests {similar}.")
        }
        P::Left => "The person no longer works there, and the mailbox is gone.".into(),
        P::NoSuchDomain => own::explain(Own::NoDomain, EN).what.into(),
        P::NoMailServer => own::explain(Own::NoExchanger, EN).what.into(),
        P::NullMx => own::explain(Own::NullMx, EN).what.into(),
        P::NewAddress(new) => format!("The person has another address now: {new}."),
        P::Inactive => "The mailbox is switched off because nobody uses it.".into(),
        P::Suspended => "The provider has suspended this person's account.".into(),
        P::Closed => "This person's account has been closed.".into(),
        P::Locked => "The mailbox is locked for the time being.".into(),
        P::OnSendersList => {
            "A sending service on the way has this address on its own list of failed addresses."
                .into()
        }
        P::KnownSendersOnly => "This recipient takes mail from known senders only.".into(),
        P::SenderBlocked => "This recipient has blocked the sender.".into(),
        P::OwnFilter => "A filter that this recipient has set up refuses the message.".into(),
        P::Listed { list, whose, ip, .. } => listed(*list, *whose, *ip),
        P::ReverseDns(ip) => {
            format!(
                "The server that sent it{} has no proper name in DNS (reverse DNS).",
                named(*ip)
            )
        }
        P::Greeting => {
            "The recipient's server does not accept the name by which the sending server greets it."
                .into()
        }
        P::Reputation(Whose::Server) => {
            "The recipient's provider does not trust the server that sent it.".into()
        }
        P::Reputation(Whose::Domain) => {
            "The recipient's provider does not trust the sender's domain.".into()
        }
        P::Checks { failed, domain } => {
            let whose = domain.as_ref().map_or("your domain", |domain| domain.as_str());
            let failed = checks(failed);
            format!(
                "The server could not verify that the message comes from {whose}: {failed} failed."
            )
        }
        P::Virus(Some(name)) => {
            format!("The recipient's server finds a virus in the message: {name}.")
        }
        P::Virus(None) => "The recipient's server finds a virus in the message.".into(),
        P::Attachment(Some(kind)) => {
            format!("The recipient's server takes no attachments of the kind {kind}.")
        }
        P::Attachment(None) => {
            "The recipient's server does not take one of the attachments.".into()
        }
        P::BadLink { host, list } => {
            let host = host.as_ref().map_or("a domain", |host| host.as_str());
            let list = list.map_or_else(String::new, |list| format!(" ({list})"));
            format!("The message contains a link to {host} that is on a block list{list}.")
        }
        P::Score { tenths, limit } => score(*tenths, *limit),
        P::Limit { per, count, wait } => limit(*per, *count, *wait),
        P::Slower(wait) => {
            let wait = time(*wait);
            format!(
                "The recipient's provider asks us to send more slowly and to come back in {wait}."
            )
        }
        P::RecipientBusy => {
            "This one mailbox receives more mail at the moment than its provider lets in.".into()
        }
        P::Greylist(wait) => {
            format!("The server asks unknown senders to come back in {}.", time(*wait))
        }
        P::Relaying => {
            "The server that was asked does not take mail for the recipient's domain.".into()
        }
        P::TlsWanted => "The recipient's server takes mail over secure connections only.".into(),
        P::MembersOnly => {
            "The address is a group's, which takes mail from its members only.".into()
        }
        P::InsidersOnly => "The address takes mail from inside its organisation only.".into(),
        P::SenderRefused => {
            "The recipient's server does not accept the sender's address or its domain.".into()
        }
        P::Form => "The message is not built as the recipient's server wants it.".into(),
        P::LoginWanted => "The recipient's server takes mail only from senders who log in.".into(),
        P::NoAnswer => "The recipient's server does not answer.".into(),
        P::ConnectionRefused => "The recipient's server refuses connections.".into(),
        P::BrokenOff => "The connection to the recipient's server broke off.".into(),
        P::NameServers => own::explain(Own::Unresolved, EN).what.into(),
        P::Loop => "The recipient's mail goes round in a circle between servers.".into(),
        P::Lasted(span) => {
            format!("The message was tried for {} and could not be delivered.", time(*span))
        }
    }
}

/// What to do, where it is more than the category's. `goes`: whether it is tried again; `fate`: what
/// becomes of the address.
pub(super) fn todo(particular: &Particular, goes: Permanence, fate: &str) -> Option<String> {
    use Particular as P;
    Some(match particular {
        P::FullSince(_) => {
            format!("Nobody seems to read it: reach the person another way if it matters. {fate}")
        }
        P::SizeLimit { limit, .. } => format!(
            "Bring the message below {}: link to large pictures and documents. {fate}",
            limit.in_words(EN)
        ),
        P::Syntax => {
            format!("Correct the address: look for blanks, commas and missing dots. {fate}")
        }
        P::Spelling(similar) => {
            format!("Ask the person whether {similar} is right: it is never used by itself. {fate}")
        }
        P::Left => format!("Ask the organisation whom to write to instead. {fate}"),
        P::NewAddress(new) => {
            format!(
                "Ask the person whether you may write to {new}: it is never used by itself. {fate}"
            )
        }
        P::Closed => format!("Reach the person another way. {fate}"),
        P::OnSendersList => {
            format!(
                "If the address is right, ask the operators to have it taken off that list. {fate}"
            )
        }
        P::KnownSendersOnly => {
            format!("Ask the person to add the sender's address to their contacts. {fate}")
        }
        P::SenderBlocked => format!("Take the person off the list, or ask another way. {fate}"),
        P::Listed { whose, link, .. } => {
            let look = link.as_ref().map_or_else(String::new, |link| format!(" Details: {link}"));
            match whose {
                Whose::Server => {
                    format!("Nothing for you to do: the operators are told. {fate}{look}")
                }
                Whose::Domain => {
                    format!("Have the operators find out why the domain is listed. {fate}{look}")
                }
            }
        }
        P::Reputation(Whose::Domain) => {
            format!(
                "Write first to those who read your mail, and less to those who never do. {fate}"
            )
        }
        P::Checks { failed, domain: Some(domain) } => format!(
            "Have the DNS records of {domain} for {} checked before sending again. {fate}",
            checks(failed)
        ),
        P::Virus(_) => {
            format!("Have the attachments and the links checked before sending again. {fate}")
        }
        P::Attachment(_) => format!("Put the file on a web page and link to it. {fate}"),
        P::BadLink { .. } => {
            format!("Take the link out or replace it before sending again. {fate}")
        }
        P::Greylist(_) if goes == Permanence::Temporary => {
            "Nothing: it is tried again after that.".into()
        }
        P::Relaying => format!(
            "Check the spelling after the @; if it is right, whoever runs the domain must mend its settings. {fate}"
        ),
        P::MembersOnly => {
            format!("Write to a member instead, or ask the group's owner to be let in. {fate}")
        }
        P::InsidersOnly => {
            format!("Ask the person for an address that outsiders may write to. {fate}")
        }
        P::SenderRefused => {
            format!("Check the campaign's sender: its domain must exist and take mail. {fate}")
        }
        P::Loop => format!("Whoever runs the recipient's domain must mend it. {fate}"),
        _ => return None,
    })
}

fn full(used: Option<Size>, quota: Option<Size>) -> String {
    let size = |size: Size| size.in_words(EN);
    match (used, quota) {
        (Some(used), Some(quota)) if used > quota => {
            format!("The mailbox is full: it holds {} and may hold {}.", size(used), size(quota))
        }
        (_, Some(quota)) => {
            format!("The mailbox is full: its quota of {} is used up.", size(quota))
        }
        (Some(used), None) => format!("The mailbox is full: it holds {}.", size(used)),
        (None, None) => "The mailbox is full.".into(),
    }
}

fn too_big(limit: Size, message: Option<Size>) -> String {
    let limit = limit.in_words(EN);
    match message {
        Some(message) => format!(
            "The message is {}, and the recipient's server takes {limit} at most.",
            message.in_words(EN)
        ),
        None => {
            format!("The message is larger than the {limit} that the recipient's server takes.")
        }
    }
}

fn listed(list: BlockList, whose: Whose, ip: Option<IpAddr>) -> String {
    match whose {
        Whose::Server => {
            format!("The server that sent it{} is on the block list of {list}.", named(ip))
        }
        Whose::Domain => format!("The sender's domain is on the block list of {list}."),
    }
}

fn named(ip: Option<IpAddr>) -> String {
    ip.map_or_else(String::new, |ip| format!(" ({ip})"))
}

fn checks(failed: &[Check]) -> String {
    let words: Vec<&str> = failed.iter().map(|check| check.as_str()).collect();
    match words.split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}

fn score(tenths: u32, limit: Option<u32>) -> String {
    let points = |tenths: u32| match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
    };
    let limit =
        limit.map_or_else(String::new, |limit| format!(", and refuses from {} on", points(limit)));
    format!("The recipient's spam filter gives the message {} points{limit}.", points(tenths))
}

fn limit(per: Per, count: Option<u32>, wait: Option<Duration>) -> String {
    let many =
        count.map_or_else(|| "only a limited number of".into(), |count| format!("at most {count}"));
    let what = match per {
        Per::Connection => "messages over one connection",
        Per::AtOnce => "connections at a time",
        Per::Message => "recipients for one message",
        Per::Minute => "messages a minute",
        Per::Hour => "messages an hour",
        Per::Day => "messages a day",
    };
    let back =
        wait.map_or_else(String::new, |wait| format!(" We may come back in {}.", time(wait)));
    format!("The recipient's provider takes {many} {what}.{back}")
}

fn time(span: Duration) -> String {
    in_words(span, EN)
}
