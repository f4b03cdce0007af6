//! The settings of the bounce processor.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::BounceError;
use crate::imap::{ImapMailbox, Poll};
use crate::replies::{Replies, Ways};

/// Mail servers wait five minutes for a greeting (RFC 5321, 4.5.3.2.1), impatient ones one.
const DELAY_MS_MAX: u64 = 60_000;

/// Mail that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where returned mail is received, as address:port. The MX of the return-path domain must
    /// lead here, to port 25, directly or through a forwarder.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Where the same mail is received over LMTP (RFC 2033), from a mail server on this host or
    /// network that takes it in: `address:port`, or `unix:/path` of a socket. Empty: nowhere.
    pub lmtp: String,
    /// The certificate that is shown to whoever says STARTTLS.
    pub tls: Tls,
    /// How long a client that is not known waits for the greeting, in milliseconds; it is turned
    /// away when it talks before. 0: nobody waits, 60000: the longest.
    pub greeting_delay_ms: u64,
    /// How long a client waits for the greeting that behaved badly within the last hour, in
    /// milliseconds.
    pub impolite_delay_ms: u64,
    /// Domains of return paths; mail for any other is refused. Empty: the relay's
    /// `return_path_domain`.
    pub domains: Vec<String>,
    /// The name in the greeting. Empty: `bounces.` and the first domain.
    pub name: String,
    /// A Maildir for mail that a person should read: to postmaster@ and abuse@, answers of people in
    /// its folder `.Replies`, and reports that could not be placed in `.Unmatched`. Empty: `mailbox`
    /// in the data folder.
    pub mailbox: PathBuf,
    /// Mailboxes that are looked into over IMAP.
    pub imap: Vec<ImapMailbox>,
    /// Where answers of people go.
    pub replies: Replies,
    /// Octets that the mailbox may hold. When it is full its mail is put off, never dropped.
    pub mailbox_bytes_max: u64,
    /// Octets of one mail. Reports are small; those that quote a whole newsletter are not.
    pub bytes_max: usize,
    /// Octets of one line of a mail. RFC 5321 allows 1000; careless systems send more.
    pub line_bytes_max: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Connections at the same time from one address.
    pub connections_per_client_max: usize,
    /// How long a client may take for one command, in seconds.
    pub command_timeout_s: u64,
    /// How long a client may take to hand over one mail, in seconds.
    pub data_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 2526)),
            lmtp: String::new(),
            tls: Tls::default(),
            greeting_delay_ms: 300,
            impolite_delay_ms: 5_000,
            domains: Vec::new(),
            name: String::new(),
            mailbox: PathBuf::new(),
            imap: Vec::new(),
            replies: Replies::default(),
            mailbox_bytes_max: 1 << 30,
            bytes_max: 10 * 1024 * 1024,
            line_bytes_max: 64 * 1024,
            connections_max: 200,
            connections_per_client_max: 50,
            command_timeout_s: 60,
            data_timeout_s: 300,
        }
    }
}

/// A certificate and its key. They are read again when the files change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate with those that lead to its root, as a PEM file. Empty: STARTTLS is not
    /// offered.
    pub certificate: PathBuf,
    /// Its private key, as a PEM file.
    pub key: PathBuf,
}

/// Where LMTP is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LmtpPlace {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) domains: Vec<Domain>,
    pub(crate) lmtp: Option<LmtpPlace>,
    pub(crate) ways: Ways,
    pub(crate) polls: Vec<Poll>,
    pub(crate) name: Domain,
    pub(crate) limits: Limits,
}

/// What a client may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) line_bytes_max: usize,
    pub(crate) command: Duration,
    pub(crate) data: Duration,
}

impl Config {
    /// Whether the settings can be used, without opening anything.
    ///
    /// # Errors
    /// The first one that cannot.
    pub fn check(&self) -> Result<(), BounceError> {
        self.settings().map(|_| ())
    }

    pub(crate) fn settings(&self) -> Result<Settings, BounceError> {
        let refuse = |what: String| BounceError::Setting(what);
        let domain = |key: &str, text: &str| {
            text.parse::<Domain>().map_err(|e| refuse(format!("bounces.{key}: {text:?} {e}")))
        };
        let domains: Vec<Domain> =
            self.domains.iter().map(|d| domain("domains", d)).collect::<Result<_, _>>()?;
        let first = domains.first().ok_or_else(|| {
            refuse("bounces.domains is empty: name the domain of the return paths".into())
        })?;
        let name = match self.name.as_str() {
            "" => domain("name", &format!("bounces.{first}"))?,
            name => domain("name", name)?,
        };
        self.check_numbers()?;
        let lmtp = self.lmtp_place()?;
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return Err(refuse("bounces.tls needs both a certificate and a key".into()));
        }
        let limits = Limits {
            bytes_max: self.bytes_max,
            line_bytes_max: self.line_bytes_max,
            command: Duration::from_secs(self.command_timeout_s),
            data: Duration::from_secs(self.data_timeout_s),
        };
        let ways = self.replies.ways(&domains)?;
        let polls = self.imap.iter().enumerate().map(|(at, mailbox)| mailbox.poll(at));
        let polls = polls.collect::<Result<_, _>>()?;
        Ok(Settings { domains, lmtp, ways, polls, name, limits })
    }

    fn lmtp_place(&self) -> Result<Option<LmtpPlace>, BounceError> {
        let text = self.lmtp.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Some(LmtpPlace::Unix(path.into())));
        }
        let place = text.parse().map(|address| Some(LmtpPlace::Tcp(address)));
        place.map_err(|_| {
            let what = format!("bounces.lmtp: {text:?} is neither address:port nor unix:/path");
            BounceError::Setting(what)
        })
    }

    fn check_numbers(&self) -> Result<(), BounceError> {
        let at_least = |key: &str, given: u64, least: u64| {
            if given < least {
                let what = format!("bounces.{key} is {given}: at least {least}");
                return Err(BounceError::Setting(what));
            }
            Ok(())
        };
        at_least("bytes_max", self.bytes_max as u64, 64 * 1024)?;
        at_least("line_bytes_max", self.line_bytes_max as u64, 1000)?;
        at_least("connections_max", self.connections_max as u64, 1)?;
        at_least("connections_per_client_max", self.connections_per_client_max as u64, 1)?;
        at_least("mailbox_bytes_max", self.mailbox_bytes_max, self.bytes_max as u64)?;
        at_least("command_timeout_s", self.command_timeout_s, 1)?;
        at_least("data_timeout_s", self.data_timeout_s, 1)?;
        for (key, given) in [
            ("greeting_delay_ms", self.greeting_delay_ms),
            ("impolite_delay_ms", self.impolite_delay_ms),
        ] {
            if given > DELAY_MS_MAX {
                let what = format!("bounces.{key} is {given}: at most {DELAY_MS_MAX}");
                return Err(BounceError::Setting(what));
            }
        }
        if self.mailbox.as_os_str().is_empty() {
            let what = "bounces.mailbox is not set: name a folder for mail that a person reads";
            return Err(BounceError::Setting(what.into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_with_their_key() {
        let good = || Config {
            domains: vec!["bounces.example.org".into()],
            mailbox: "mailbox".into(),
            ..Config::default()
        };
        assert_eq!(good().settings().unwrap().name.as_str(), "bounces.bounces.example.org");
        for (config, word) in [
            (Config { domains: vec![], ..good() }, "domains"),
            (Config { domains: vec!["local host".into()], ..good() }, "local host"),
            (Config { name: "-".into(), ..good() }, "name"),
            (Config { mailbox: PathBuf::new(), ..good() }, "mailbox"),
            (Config { bytes_max: 5, ..good() }, "bytes_max"),
            (Config { lmtp: "unix:here".into(), ..good() }, "unix:here"),
            (Config { tls: Tls { certificate: "c".into(), ..Tls::default() }, ..good() }, "key"),
            (Config { connections_max: 0, ..good() }, "connections_max"),
        ] {
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
