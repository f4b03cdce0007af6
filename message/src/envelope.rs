//! To whom a message goes and what the relay adds to it, and why one could not be made.

use mail::{Address, DeliveryId, Timestamp};

use crate::MESSAGE_OCTETS_MAX;

/// To whom, with the values of the merge fields in the order of the declaration.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The address for `To`.
    pub address: &'a Address,
    /// The display name for `To`.
    pub name: Option<&'a str>,
    /// A value for each field; missing ones are empty.
    pub values: &'a [&'a str],
}

/// What the relay adds. All of it follows from the delivery and its acceptance, so
/// that every attempt sends the same octets.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The delivery; the MIME boundary is made from it.
    pub delivery: DeliveryId,
    /// `left@right`, without angle brackets.
    pub message_id: &'a str,
    /// When the recipient was accepted.
    pub date: Timestamp,
    /// The one-click URL (RFC 8058); with it `List-Unsubscribe-Post` is written.
    pub unsubscribe_url: Option<&'a str>,
    /// An address that takes unsubscriptions by mail (RFC 2369), without `mailto:`.
    pub unsubscribe_mailto: Option<&'a str>,
    /// `campaign:customer:type:sender`.
    pub feedback_id: Option<&'a str>,
}

/// Why a message could not be made; trying again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A value of ours that would break its header.
    #[error("{what} {text:?} cannot stand in a header")]
    Envelope {
        /// Which one.
        what: &'static str,
        /// It, cut short.
        text: String,
    },
    /// The template failed on these values.
    #[error("{part}: line {line}: {detail}")]
    Template {
        /// Which part.
        part: String,
        /// Counted from 1.
        line: usize,
        /// What the template language says.
        detail: String,
    },
    /// Over [`MESSAGE_OCTETS_MAX`].
    #[error("the message is larger than {MESSAGE_OCTETS_MAX} octets without its files")]
    TooLarge,
}

impl Envelope<'_> {
    /// Ours, so a fault here is a fault in the configuration; yet it must not become a header.
    pub(crate) fn check(&self) -> Result<(), RenderError> {
        let token = |b: u8| b.is_ascii_graphic() && b != b'<' && b != b'>';
        for (what, text, blank) in [
            ("message id", Some(self.message_id), false),
            ("unsubscribe url", self.unsubscribe_url, false),
            ("unsubscribe address", self.unsubscribe_mailto, false),
            ("feedback id", self.feedback_id, true),
        ] {
            let Some(text) = text else { continue };
            let fits = text.bytes().all(|b| token(b) || (blank && b == b' '));
            if !fits || text.is_empty() || text.len() > 900 {
                let text = text.chars().take(80).collect();
                return Err(RenderError::Envelope { what, text });
            }
        }
        Ok(())
    }
}
