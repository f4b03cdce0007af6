//! One message out of a campaign's content: checked and compiled once, then
//! rendered, built as MIME and signed for each recipient. What is absent: the
//! queue, the SMTP dialogue, and any clock or chance: the same inputs give the
//! same bytes, so that a message can be rendered again for the archive.

mod cid;
mod compile;
pub mod content;
mod encode;
mod envelope;
mod files;
mod header;
pub mod keys;
mod markup;
mod notice;
mod pieces;
pub mod published;
mod render;
mod shared;
pub mod sign;
mod textual;
pub mod tlsrpt;

pub use cid::Unmatched;
pub use content::{Content, ContentError, Mailbox};
pub use envelope::{Envelope, Recipient, RenderError};
pub use files::{FILE_NAME_OCTETS_MAX, FILES_MAX, FileError, FileHead};
pub use keys::{Algorithm, Key, KeyError, generate, generate_rsa_2048};
pub use notice::{Notice, notice_mail};
pub use pieces::{Message, Piece, Pieces};
pub use render::Template;
pub use shared::{Files, FilesBuilder, Shared};
pub use sign::Signer;

/// No message is larger than this, in octets and without its files: destinations take 10 to
/// 50 MB, and a bulk message beyond it is a mistake in a template.
pub const MESSAGE_OCTETS_MAX: usize = 10 * 1024 * 1024;
