//! Reports about TLS to the domains that ask for them (RFC 8460): what this relay's sessions came
//! to is counted in memory, added up in the store over all relays, and sent once a day by whichever
//! relay claims a report first.

mod judged;
mod sender;
mod tally;
mod way;

pub(crate) use judged::Tried;
pub(crate) use sender::Reporting;
pub(crate) use tally::Tally;
