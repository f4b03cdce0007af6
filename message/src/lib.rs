//! One message out of a campaign's content: checked and compiled once, then
//! rendered, built as MIME and signed for each recipient. What is absent: the
//! queue, the SMTP dialogue, and any clock or chance: the same inputs give the
//! same bytes, so that a message can be rendered again for the archive.

mod compile;
pub mod content;
mod encode;
mod envelope;
mod header;
pub mod keys;
mod markup;
pub mod published;
mod render;
pub mod sign;
mod textual;
pub mod tlsrpt;

pub use content::{Content, ContentError, Mailbox};
pub use envelope::{Envelope, Recipient, RenderError};
pub use keys::{Algorithm, Key, KeyError, generate, generate_rsa_2048};
pub use render::Template;
pub use sign::Signer;

/// No message is larger than this, in octets: destinations take 10 to 50 MB, and a
/// bulk message beyond it is a mistake in a template.
pub const MESSAGE_OCTETS_MAX: usize = 10 * 1024 * 1024;
