//! What providers say, in their own words, and what each sentence means. The rules of
//! the relay are never consulted here: the sink says what a provider would say, and
//! the book remembers what was meant.

use mail::Category;
use serde::{Deserialize, Serialize};

/// A situation in which a server has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// More connections than it takes from one source.
    Connections,
    /// Enough messages on this connection; a new one is welcome.
    MessagesPerConnection,
    /// Too fast.
    Rate,
    /// This one mailbox gets mail too quickly.
    Busy,
    /// Come back later, on principle.
    Greylisted,
    /// Over quota, and the server lets us try again.
    FullForNow,
    /// Trouble of its own.
    Trouble,
    /// No such mailbox.
    NoMailbox,
    /// The person has another address.
    Moved,
    /// The mailbox is switched off.
    Disabled,
    /// Over quota, refused for good.
    Full,
    /// This recipient does not want it.
    Refused,
    /// Larger than it takes.
    TooBig,
    /// Spam, by its filter.
    Content,
    /// A rule refuses it.
    Policy,
    /// SPF, DKIM or DMARC failed.
    Auth,
    /// Our address is blocked.
    Blocked,
    /// The sender's domain is over its quota, whatever address it comes from.
    SenderQuota,
}

impl Said {
    /// Every situation.
    pub const ALL: [Self; 18] = [
        Self::Connections,
        Self::MessagesPerConnection,
        Self::Rate,
        Self::Busy,
        Self::Greylisted,
        Self::FullForNow,
        Self::Trouble,
        Self::NoMailbox,
        Self::Moved,
        Self::Disabled,
        Self::Full,
        Self::Refused,
        Self::TooBig,
        Self::Content,
        Self::Policy,
        Self::Auth,
        Self::Blocked,
        Self::SenderQuota,
    ];

    /// What a sender should understand.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::Connections
            | Self::MessagesPerConnection
            | Self::Rate
            | Self::Busy
            | Self::SenderQuota => Category::RateLimited,
            Self::Greylisted => Category::Greylisted,
            Self::FullForNow | Self::Full => Category::MailboxFull,
            Self::Trouble => Category::System,
            Self::NoMailbox => Category::NoMailbox,
            Self::Moved => Category::Moved,
            Self::Disabled => Category::MailboxDisabled,
            Self::Refused => Category::RecipientRefused,
            Self::TooBig => Category::TooBig,
            Self::Content => Category::Content,
            Self::Policy => Category::Policy,
            Self::Auth => Category::Auth,
            Self::Blocked => Category::ReputationBlock,
        }
    }
}

/// Whose manner of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// A small site's Postfix.
    #[default]
    Postfix,
    /// A small site's Exim.
    Exim,
    /// Gmail.
    Gmail,
    /// Outlook.com.
    Outlook,
    /// Orange: the number at the end counts, not the enhanced code.
    Orange,
    /// Yahoo.
    Yahoo,
    /// Free.
    Free,
    /// La Poste.
    Laposte,
    /// GMX and web.de: no enhanced codes at all.
    Gmx,
    /// QQ: 550 where others say 421.
    Qq,
}

impl Style {
    /// Every style.
    pub const ALL: [Self; 10] = [
        Self::Postfix,
        Self::Exim,
        Self::Gmail,
        Self::Outlook,
        Self::Orange,
        Self::Yahoo,
        Self::Free,
        Self::Laposte,
        Self::Gmx,
        Self::Qq,
    ];
}

/// The line for a situation, with `{recipient}` and `{ip}` to be filled in. `ip` is the
/// client's address; the code is always the first three octets.
#[must_use]
pub fn phrase(style: Style, said: Said) -> &'static str {
    match style {
        Style::Gmail => gmail(said),
        Style::Outlook => outlook(said),
        Style::Orange => orange(said),
        Style::Yahoo => yahoo(said),
        Style::Free => free(said),
        Style::Laposte => laposte(said),
        Style::Gmx => gmx(said),
        Style::Qq => qq(said),
        Style::Exim => exim(said),
        Style::Postfix => None,
    }
    .unwrap_or_else(|| postfix(said))
}

const fn postfix(said: Said) -> &'static str {
    match said {
        Said::Connections => "421 4.7.0 Error: too many connections from {ip}",
        Said::MessagesPerConnection => "421 4.7.0 Error: too many messages on this connection",
        Said::Rate => "450 4.7.1 Error: too much mail from {ip}",
        Said::Busy => "450 4.2.1 <{recipient}>: this mailbox is receiving mail too quickly",
        Said::Greylisted => "450 4.2.0 <{recipient}>: Recipient address rejected: Greylisted",
        Said::FullForNow => "452 4.2.2 <{recipient}>: mailbox is over quota",
        Said::Trouble => "451 4.3.0 Error: queue file write error",
        Said::NoMailbox => {
            "550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in local recipient table"
        }
        Said::Moved => "551 5.1.6 <{recipient}>: User has moved to another address",
        Said::Disabled => "550 5.2.1 <{recipient}>: mailbox is disabled",
        Said::Full => "552 5.2.2 <{recipient}>: mailbox is full, quota exceeded",
        Said::Refused => {
            "550 5.2.0 <{recipient}>: the recipient does not accept mail from this sender"
        }
        Said::TooBig => "552 5.3.4 Message size exceeds fixed limit",
        Said::Content => "554 5.7.1 Message rejected as spam by content filter",
        Said::Policy => "554 5.7.1 <{recipient}>: Relay access denied",
        Said::Auth => "550 5.7.26 Message refused: DMARC check failed for the sender's domain",
        Said::Blocked => {
            "554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.spamhaus.org"
        }
        Said::SenderQuota => "451 4.7.1 Error: too many messages from your domain",
    }
}

const fn exim(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections => "421 Too many concurrent SMTP connections; please try again later",
        Said::Rate => "451 Sender rate limit exceeded, please try again later",
        Said::Greylisted => "451 Greylisted, please try again in a few minutes",
        Said::NoMailbox => "550 No such user here: {recipient}",
        Said::Full => "552 Mailbox quota exceeded / mailbox is full",
        Said::Content => "550 This message was classified as SPAM and may not be delivered",
        Said::Trouble => "451 Temporary local problem - please try later",
        _ => return None,
    })
}

const fn gmail(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections => {
            "421 4.7.0 [{ip}] Too many concurrent connections from this IP address, try again later"
        }
        Said::Rate => {
            "421 4.7.28 [{ip}] Our system has detected an unusual rate of unsolicited mail originating from your IP address. To protect our users, mail from it has been temporarily rate limited"
        }
        Said::Busy => {
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time"
        }
        Said::FullForNow => {
            "452 4.2.2 The recipient's inbox is out of storage space and over quota"
        }
        Said::Full => "552 5.2.2 The email account that you tried to reach is over quota",
        Said::NoMailbox => {
            "550 5.1.1 The email account that you tried to reach does not exist. Please check for typos NoSuchUser"
        }
        Said::Disabled => "550 5.2.1 The email account that you tried to reach is disabled",
        Said::Content => {
            "550 5.7.1 [{ip}] Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam, this message has been blocked"
        }
        Said::Auth => {
            "550 5.7.26 Unauthenticated email is not accepted due to the sending domain's DMARC policy"
        }
        Said::TooBig => "552 5.3.4 Your message exceeded the message size limits",
        Said::SenderQuota => {
            "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain. To protect our users from spam, mail sent from it has been temporarily rate limited"
        }
        _ => return None,
    })
}

const fn outlook(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections => {
            "421 RP-003 Unfortunately, some messages from {ip} weren't sent: exceeded the maximum number of connections"
        }
        Said::MessagesPerConnection => {
            "421 4.7.0 The connection has exceeded maximum number of messages per connection"
        }
        Said::Rate => {
            "451 4.7.650 The mail server [{ip}] has been temporarily rate limited due to IP reputation (S775)"
        }
        Said::NoMailbox => {
            "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)"
        }
        Said::Blocked => {
            "550 5.7.1 Unfortunately, messages from [{ip}] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150)"
        }
        Said::Content => "550 SC-001 Mail rejected for policy reasons: the content looks like spam",
        _ => return None,
    })
}

const fn orange(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections | Said::Rate => {
            "421 4.3.2 Trop de connexions, veuillez verifier votre configuration. Too many connections, slow down. OFR004_104"
        }
        Said::Trouble => "421 4.2.1 Service refuse. Veuillez essayer plus tard. OFR_505",
        Said::NoMailbox => {
            "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416"
        }
        Said::Full => "552 5.1.1 Boite du destinataire pleine. Recipient overquota. OFR_417",
        Said::Content => "550 5.2.0 Mail rejete. Mail rejected. OFR_506",
        Said::Blocked => "550 5.7.1 Adresse IP source bloquee pour incident de spam. OFR006_102",
        Said::TooBig => "552 5.3.4 Taille limite du message atteinte. OFR_514",
        _ => return None,
    })
}

const fn yahoo(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::MessagesPerConnection => {
            "421 Max message per connection reached, closing transmission channel"
        }
        Said::Rate => {
            "421 4.7.0 [TSS04] Messages from {ip} temporarily deferred due to unexpected volume or user complaints"
        }
        Said::Busy => "450 User is receiving mail too quickly",
        Said::NoMailbox => "554 delivery error: dd This user doesn't have an account ({recipient})",
        Said::Disabled => {
            "554 delivery error: dd Sorry, your message cannot be delivered. This mailbox is disabled (554.30)"
        }
        Said::Content => "554 5.7.9 Message not accepted for policy reasons [PH01] spam content",
        Said::Auth => "554 5.7.5 (AU01) Message not accepted: DKIM verification failed",
        Said::Blocked => {
            "553 5.7.1 [BL21] Connections will not be accepted from {ip}, because the ip is in Spamhaus's list"
        }
        _ => return None,
    })
}

const fn free(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Rate => "451 too many errors from your ip ({ip}), please slow down",
        Said::NoMailbox => "550 5.1.1 Mauvaise adresse, utilisateur inconnu",
        Said::Full => "552 5.2.2 Boite pleine: quota exceeded",
        Said::Content => "550 spam detected",
        _ => return None,
    })
}

const fn laposte(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::NoMailbox => "550 5.5.0 Adresse destinataire invalide. Invalid recipient. LPN007_416",
        Said::Disabled => {
            "550 5.5.0 Boite du destinataire archivee. Archived recipient. LPN007_420"
        }
        Said::Auth => "550 5.7.1 Message refuse, verification DMARC en echec. LPN007_517",
        _ => return None,
    })
}

const fn gmx(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections => "421 Rate limit reached: too many connections from {ip}",
        Said::Rate => {
            "421 Reject due to policy restrictions. Too many messages have been received in a short period"
        }
        Said::NoMailbox => "550 Requested action not taken: mailbox unavailable",
        Said::Full => "552 Requested mail action aborted: exceeded storage allocation",
        Said::Blocked => "554 IP address is block listed: {ip}",
        _ => return None,
    })
}

const fn qq(said: Said) -> Option<&'static str> {
    Some(match said {
        Said::Connections => "550 Connection frequency limited",
        Said::Rate => "550 Ip frequency limited",
        Said::Content => "550 Mail content denied",
        Said::Blocked => "550 Suspected spam ip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_has_a_reply_for_every_situation() {
        for style in Style::ALL {
            for said in Said::ALL {
                let line = phrase(style, said);
                let reply = mail::Reply::parse(line).expect("a reply");
                assert!(reply.code >= 400, "{line}");
                assert!(line.is_ascii() && line.len() < 400, "{line}");
            }
        }
    }
}
