//! The pretend internet, the generator of campaigns, and what is measured and tried
//! out with them. Services know nothing of this crate; `ops` uses it for its demo.

pub mod audit;
pub mod bench;
pub mod book;
pub mod chaos;
pub mod client;
pub mod command;
mod customer;
mod disk;
pub mod durability;
mod fsync;
pub mod generator;
pub mod internet;
pub mod link;
mod mix;
pub mod postfix;
mod process;
pub mod program;
pub mod scenario;
pub mod simulate;

pub use audit::{Audit, Books};
pub use bench::Figures;
pub use book::Book;
pub use generator::Generator;
pub use internet::{Hold, Internet, Listen};
pub use mix::noise;
pub use scenario::Scenario;
