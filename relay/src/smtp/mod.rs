//! One SMTP session with one server: connect, greet, perhaps encrypt, then any number
//! of transactions. Which server, how fast and what its answers mean is decided elsewhere.

mod capabilities;
mod chunk;
mod config;
mod dane;
mod dial;
mod failure;
mod login;
mod outcome;
mod proxy;
mod reply;
mod session;
mod stream;
mod tls;
mod transaction;
mod wire;
mod words;

pub use capabilities::Capabilities;
pub use config::{Timeouts, TlsPolicy};
pub use dane::{DaneWish, NoMatch, judge, usable};
pub(crate) use dial::plain;
pub use failure::SessionError;
pub use login::{Hop, Login, Mechanism, NoSecret, SecretFrom};
pub use outcome::{Envelope, Outcome, Transaction};
pub use proxy::{Protocol, Via, ViaError};
pub use reply::{ReplyReader, Response, Trouble};
pub use session::{Session, Target};
pub use tls::{TlsClient, TlsFacts};
pub use wire::{LineEndError, stuff_dots};
pub use words::Flaw;
