//! Why there is no session.

use std::fmt;
use std::net::SocketAddr;

use mail::{Phase, Reply};

use super::reply::{Response, Trouble, to_reply};
use super::words::Flaw;

/// Why a session did not come about, and where.
#[derive(Debug)]
pub struct SessionError {
    /// Where.
    pub phase: Phase,
    /// What the server said, if it was the server.
    pub reply: Option<Reply>,
    /// What else went wrong.
    pub trouble: Option<Trouble>,
    /// The address that answered, if one did.
    pub peer: Option<SocketAddr>,
    /// What came of TLS, as `Event::tls` has it; empty where it was not tried.
    pub tls: String,
}

impl SessionError {
    pub(crate) fn trouble(phase: Phase, trouble: impl Into<Trouble>) -> Self {
        let trouble = Some(trouble.into());
        Self { phase, reply: None, trouble, peer: None, tls: String::new() }
    }

    pub(super) fn refused(phase: Phase, reply: Reply) -> Self {
        Self { phase, reply: Some(reply), trouble: None, peer: None, tls: String::new() }
    }
}

impl SessionError {
    /// What is wrong with the server's TLS, where that is why there is no session.
    #[must_use]
    pub fn flaw(&self) -> Option<Flaw> {
        match (self.phase, &self.reply, &self.trouble) {
            (Phase::Tls, Some(reply), _) => {
                Some(Flaw { why: reply.to_string(), ..Flaw::not_offered() })
            }
            (Phase::Tls, None, Some(trouble)) => Some(trouble.flaw()),
            _ => None,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reply, &self.trouble) {
            (Some(reply), _) => write!(f, "{}: {reply}", self.phase),
            (None, Some(trouble)) => write!(f, "{}: {trouble}", self.phase),
            (None, None) => write!(f, "{}", self.phase),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<Box<SessionError>> for SessionError {
    fn from(error: Box<SessionError>) -> Self {
        *error
    }
}

/// The reply, if it agrees.
pub(super) fn positive(phase: Phase, answer: &Response) -> Result<Reply, Box<SessionError>> {
    let reply = to_reply(answer);
    if reply.is_positive() {
        Ok(reply)
    } else if reply.code < 400 {
        Err(Box::new(SessionError::trouble(phase, Trouble::OutOfPlace(reply))))
    } else {
        Err(Box::new(SessionError::refused(phase, reply)))
    }
}

/// A server that answers to our own name is this host, or believes to be it: what it took would
/// come back to us (RFC 5321, 6.3).
pub(super) fn not_ourselves(answer: &Response, name: &str) -> Result<(), Trouble> {
    let its_name = answer.text.split_whitespace().next().unwrap_or_default();
    if its_name.eq_ignore_ascii_case(name) {
        return Err(Trouble::Ourselves(name.to_owned()));
    }
    Ok(())
}
