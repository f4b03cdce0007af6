//! How much one opening of a session may try, and what it tells when all of it failed.

use mail::classify::Own;
use mail::{Phase, Reply};

use crate::demand::Demand;
use crate::smtp::{SessionError, Trouble};

/// Addresses that one opening tries, and servers that it hears before it gives up for now: each
/// may take minutes to say nothing, and a connection of the relay is held meanwhile. Postfix has 5
/// and 2 (smtp_mx_address_limit, smtp_mx_session_limit).
const ADDRESSES_MAX: usize = 8;
const SERVERS_MAX: usize = 2;

/// What one opening may try yet, and what is to be told if all of it fails.
pub(super) struct Tries {
    pub(super) addresses: usize,
    pub(super) servers: usize,
    failed: Option<SessionError>,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { addresses: ADDRESSES_MAX, servers: SERVERS_MAX, failed: None }
    }

    /// For what must hear each server before it gives up.
    pub(super) fn of_all() -> Self {
        Self { servers: ADDRESSES_MAX, ..Self::new() }
    }

    pub(super) fn are_over(&self) -> bool {
        self.addresses == 0 || self.servers == 0
    }

    /// What a server said tells more than the silence of another; but one that refuses for good
    /// does not speak for those that may be back in a moment.
    pub(super) fn note(&mut self, error: SessionError) {
        let worth = |error: &SessionError| match (&error.reply, &error.trouble) {
            (Some(reply), _) if reply.is_permanent() => 0,
            (Some(_), _) => 2,
            (None, Some(Trouble::NotAssured { own, .. })) if own.is_final() => 0,
            (None, _) => 1,
        };
        if self.failed.as_ref().is_none_or(|failed| worth(&error) >= worth(failed)) {
            self.failed = Some(error);
        }
    }

    pub(super) fn why(self) -> SessionError {
        self.failed.unwrap_or_else(|| no_address("no mail exchanger has an address"))
    }
}

/// A server that takes no message that requires TLS all the way (RFC 8689).
pub(super) fn no_promise(host: &str) -> SessionError {
    let why = format!("the campaign demands REQUIRETLS, and {host} does not offer it");
    SessionError::trouble(Phase::Tls, Trouble::NotAssured { own: Own::RequireTls, why })
}

/// Trouble with TLS, for a message that requires it: there may be better TLS in an hour, whatever
/// the server says of it now.
pub(super) fn as_required(host: &str, error: SessionError) -> SessionError {
    let is_policy = matches!(error.trouble, Some(Trouble::Policy(_)));
    let is_transient = error.reply.as_ref().is_some_and(Reply::is_transient);
    if !Demand::requires_tls() || error.phase != Phase::Tls || is_policy || is_transient {
        return error;
    }
    let said = match (&error.reply, &error.trouble) {
        (Some(reply), _) => reply.to_string(),
        (None, Some(trouble)) => trouble.to_string(),
        (None, None) => String::new(),
    };
    let why = format!("the campaign demands TLS with a good certificate of {host}: {said}");
    let trouble = Some(Trouble::NotAssured { own: Own::Unencrypted, why });
    SessionError { reply: None, trouble, ..error }
}

pub(super) fn no_address(why: &str) -> SessionError {
    SessionError::trouble(Phase::Dns, std::io::Error::other(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_good_does_not_speak_for_those_that_are_down() {
        let said = |text: &str| SessionError {
            reply: Reply::parse(text),
            ..SessionError::trouble(Phase::Banner, Trouble::Closed)
        };
        let silent = || SessionError::trouble(Phase::Connect, Trouble::Timeout);
        let told = |errors: Vec<SessionError>| {
            let mut tries = Tries::new();
            errors.into_iter().for_each(|error| tries.note(error));
            tries.why().reply.map(|reply| reply.code)
        };
        assert_eq!(told(vec![silent(), said("554 no mail here")]), None);
        assert_eq!(told(vec![said("554 no mail here"), silent()]), None);
        assert_eq!(told(vec![said("421 busy"), said("554 no mail here"), silent()]), Some(421));
        assert_eq!(told(vec![said("554 no mail here")]), Some(554));
    }

    #[test]
    fn one_that_promises_nothing_does_not_speak_for_one_without_tls_now() {
        let told = |errors: [SessionError; 2]| {
            let mut tries = Tries::of_all();
            errors.into_iter().for_each(|error| tries.note(error));
            matches!(tries.why().trouble, Some(Trouble::NotAssured { own: Own::RequireTls, .. }))
        };
        let silent = || SessionError::trouble(Phase::Connect, Trouble::Timeout);
        assert!(!told([no_promise("a"), silent()]) && !told([silent(), no_promise("a")]));
        assert!(told([no_promise("a"), no_promise("b")]));
    }
}
