//! How much one opening of a session may try, and what it tells when all of it failed.

use mail::Phase;

use crate::smtp::SessionError;

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

    pub(super) fn are_over(&self) -> bool {
        self.addresses == 0 || self.servers == 0
    }

    /// What a server said tells more than the silence of another; but one that refuses for good
    /// does not speak for those that may be back in a moment.
    pub(super) fn note(&mut self, error: SessionError) {
        let worth = |error: &SessionError| match &error.reply {
            Some(reply) if reply.is_permanent() => 0,
            None => 1,
            Some(_) => 2,
        };
        if self.failed.as_ref().is_none_or(|failed| worth(&error) >= worth(failed)) {
            self.failed = Some(error);
        }
    }

    pub(super) fn why(self) -> SessionError {
        self.failed.unwrap_or_else(|| no_address("no mail exchanger has an address"))
    }
}

pub(super) fn no_address(why: &str) -> SessionError {
    SessionError::trouble(Phase::Dns, std::io::Error::other(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use mail::Reply;

    use super::*;
    use crate::smtp::Trouble;

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
}
