//! The pretend internet, the generator of campaigns, and what is measured and tried
//! out with them. Services know nothing of this crate; `ops` uses it for its demo.

pub mod bench;
pub mod book;
pub mod client;
pub mod command;
pub mod generator;
pub mod internet;
mod mix;
pub mod scenario;

pub use book::Book;
pub use generator::Generator;
pub use internet::{Hold, Internet, Listen};
pub use scenario::Scenario;
