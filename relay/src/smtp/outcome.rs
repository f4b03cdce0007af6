//! What a transaction is about, and what comes of it.

use mail::{Phase, Reply};

use super::reply::Trouble;
use super::wire::LineEndError;

/// From whom, to whom.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The return path, without angle brackets; empty for none.
    pub mail_from: &'a str,
    /// The recipient.
    pub rcpt_to: &'a str,
    /// Whether the message or an address needs RFC 6531.
    pub smtputf8: bool,
    /// What a report of the server shall name it by (RFC 3461, 4.4); printable ASCII. Empty: nothing.
    pub envelope_id: &'a str,
    /// The message goes on from here over verified TLS only, or not at all (RFC 8689).
    pub require_tls: bool,
}

/// What became of the message.
#[derive(Debug)]
pub enum Outcome {
    /// The server has it.
    Accepted,
    /// The server said no: `reply`, in `phase`.
    Refused,
    /// `before_dot` said no; the message was not sent, and the session is over.
    Withheld,
    /// The session broke before the final dot left: the server does not have it.
    Failed(Trouble),
    /// The final dot left and no answer came: the server may have it or not.
    NoReplyAfterDot(Trouble),
    /// The server cannot take it and was not asked: SMTPUTF8 is needed and not offered.
    Utf8NotOffered,
    /// The message demands verified TLS all the way, and this session has none, or the server does
    /// not promise it for the way from there.
    TlsNotAssured {
        /// Whether this session has it, so that it is the promise that is missing.
        is_verified: bool,
    },
    /// The server cannot take it and was not asked: larger than its SIZE.
    TooBig {
        /// What it takes.
        octets_max: u64,
    },
    /// Not sent because it cannot be written as SMTP.
    Malformed(LineEndError),
    /// Not sent because an address cannot stand in a command.
    BadPath,
}

/// A transaction from its first command to its end.
#[derive(Debug)]
pub struct Transaction {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it ended.
    pub phase: Phase,
    /// The reply that decided it.
    pub reply: Option<Reply>,
    /// All replies in their order.
    pub replies: Vec<(Phase, Reply)>,
    /// Whether the whole message with its final dot was handed to the network.
    pub dot_written: bool,
    /// Whether any command was handed to the network: when not, a connection that had
    /// been idle was dead, and another may be tried at once.
    pub began: bool,
}

/// A transaction that ends before its message is sent.
pub(super) type Ended = (Phase, Option<Reply>, Outcome);
