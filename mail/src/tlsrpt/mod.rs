//! SMTP TLS reporting (RFC 8460), as a sender: whether a domain wants reports, what sessions are
//! counted as, and the report of a day. Who counts, who sends and how is for the caller.

mod counts;
mod day;
mod record;
mod report;
mod tries;

pub use counts::{Counts, FAILURES_MAX, Failure, POLICIES_MAX, Policy, PolicyCounts, PolicyKind};
pub use day::{Day, DayError};
pub use record::{DESTINATIONS_MAX, Destination, DestinationError, HttpsUri, destinations};
pub use report::{Report, ResultType, Submitter};
pub use tries::next_try;
