//! One of each: what the guide shows, and what tests go through.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{BlockList, Check, Particular, Per, Since, Size, Whose};
use crate::Address;
use crate::category::Category;

impl Particular {
    /// What can be particular about failures of a category, as examples.
    #[must_use]
    pub fn samples(category: Category) -> Vec<Self> {
        let ip = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let minutes = |n: u64| Duration::from_secs(n * 60);
        match category {
            Category::NoMailbox => {
                let similar = address("anne.martin@example.org");
                similar.map(Self::Spelling).into_iter().chain([Self::Left, Self::Syntax]).collect()
            }
            Category::Moved => {
                address("anne@example.net").map(Self::NewAddress).into_iter().collect()
            }
            Category::NoDomain => vec![Self::NoSuchDomain, Self::NoMailServer, Self::NullMx],
            Category::MailboxDisabled => {
                vec![
                    Self::Inactive,
                    Self::Suspended,
                    Self::Closed,
                    Self::Locked,
                    Self::OnSendersList,
                ]
            }
            Category::MailboxFull => {
                let (used, quota) = (size(1030 << 20), size(1 << 30));
                vec![
                    Self::Quota { used: None, quota },
                    Self::Quota { used, quota },
                    Self::FullSince(Since::Day(2026, 3, 1)),
                    Self::FullOfMessages,
                ]
            }
            Category::RecipientRefused => {
                vec![Self::KnownSendersOnly, Self::SenderBlocked, Self::OwnFilter]
            }
            Category::TooBig => {
                let limit = |message| Some(Self::SizeLimit { limit: size(10 << 20)?, message });
                [limit(None), limit(size(14 << 20))].into_iter().flatten().collect()
            }
            Category::Content => vec![
                Self::Virus(None),
                Self::Attachment(Some(".exe")),
                Self::BadLink {
                    host: "example.com".parse().ok(),
                    list: Some(BlockList::SpamhausDbl),
                },
                Self::Score { tenths: 83, limit: Some(50) },
            ],
            Category::ReputationBlock => vec![
                Self::Listed { list: BlockList::Spamhaus, whose: Whose::Server, ip, link: None },
                Self::Listed {
                    list: BlockList::SpamhausDbl,
                    whose: Whose::Domain,
                    ip: None,
                    link: None,
                },
                Self::ReverseDns(ip),
                Self::Greeting,
                Self::Reputation(Whose::Server),
                Self::Reputation(Whose::Domain),
            ],
            Category::Policy => vec![
                Self::Relaying,
                Self::TlsWanted,
                Self::MembersOnly,
                Self::InsidersOnly,
                Self::SenderRefused,
                Self::Form,
                Self::LoginWanted,
            ],
            Category::Auth => vec![
                Self::Checks { failed: vec![Check::Dmarc], domain: "example.com".parse().ok() },
                Self::Checks { failed: vec![Check::Spf, Check::Dkim], domain: None },
            ],
            Category::RateLimited => {
                let limit = |per, count| Self::Limit { per, count, wait: None };
                vec![
                    limit(Per::Hour, Some(500)),
                    limit(Per::Connection, Some(20)),
                    limit(Per::AtOnce, None),
                    limit(Per::Message, Some(100)),
                    Self::Slower(minutes(15)),
                    Self::RecipientBusy,
                ]
            }
            Category::Greylisted => vec![Self::Greylist(minutes(5))],
            Category::Network => vec![
                Self::NoAnswer,
                Self::ConnectionRefused,
                Self::BrokenOff,
                Self::NameServers,
                Self::Loop,
            ],
            Category::Expired => vec![Self::Lasted(minutes(14 * 60))],
            Category::System | Category::Protocol | Category::Undetermined => Vec::new(),
        }
    }
}

fn address(text: &str) -> Option<Address> {
    text.parse().ok()
}

fn size(octets: u64) -> Option<Size> {
    Size::new(octets)
}
