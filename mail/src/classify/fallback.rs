//! What the numbers alone say, when no rule knows the words: the enhanced status
//! (RFC 3463 and its registry), then the reply code by phase. Both are hints, so
//! neither suppresses an address by itself unless the status is plain about it.

use super::{Finding, Overrides, Said, finding};
use crate::category::{Category, Hygiene, Phase};
use crate::reply::EnhancedStatus;

pub(crate) const BY_STATUS: u8 = 60;
const BY_CODE: u8 = 30;
const BY_NOTHING: u8 = 10;

pub(super) fn find(said: &Said<'_>) -> Finding {
    if let Some((category, rule)) = said.status.and_then(|s| of_status(s, said)) {
        return finding(said, category, with_care(category, said), rule, BY_STATUS);
    }
    if let Some((category, rule)) = said.code.and_then(|c| of_code(c, said.phase)) {
        let overrides = Overrides { hygiene: careful(category), ..Overrides::default() };
        return finding(said, category, overrides, rule, BY_CODE);
    }
    match said.phase {
        Phase::Dns => by_phase(said, "phase-dns"),
        Phase::Connect | Phase::Tls => by_phase(said, "phase-connect"),
        _ => finding(said, Category::Undetermined, Overrides::default(), "none", BY_NOTHING),
    }
}

fn by_phase(said: &Said<'_>, rule: &'static str) -> Finding {
    finding(said, Category::Network, Overrides::default(), rule, BY_CODE)
}

/// Only 5.1.1, 5.1.3, 5.1.6 and 5.1.10 are plain enough to end an address.
fn with_care(category: Category, said: &Said<'_>) -> Overrides {
    let plain = matches!(said.status, Some(EnhancedStatus(5, 1, 1 | 3 | 6 | 10)));
    let hygiene = if plain { None } else { careful(category) };
    Overrides { hygiene, ..Overrides::default() }
}

fn careful(category: Category) -> Option<Hygiene> {
    match category {
        Category::NoMailbox | Category::Moved => Some(Hygiene::Count),
        _ => None,
    }
}

fn of_status(status: EnhancedStatus, said: &Said<'_>) -> Option<(Category, &'static str)> {
    use Category as C;
    let EnhancedStatus(class, subject, detail) = status;
    Some(match (class, subject, detail) {
        (5, 1, 0) if said.phase != Phase::Mail => (C::NoMailbox, "status-5.1.0"),
        (_, 1, 1 | 3) => (C::NoMailbox, "status-x.1.1"),
        (_, 1, 2) => (C::NoDomain, "status-x.1.2"),
        (_, 1, 4) => (C::NoMailbox, "status-x.1.4"),
        (_, 1, 6) => (C::Moved, "status-x.1.6"),
        (_, 1, 7 | 8) => (C::Policy, "status-x.1.7"),
        (_, 1, 10) => (C::NoDomain, "status-x.1.10"),
        (_, 1, _) => (C::Undetermined, "status-x.1.0"),
        (5, 2, 0) => (C::RecipientRefused, "status-5.2.0"),
        (_, 2, 1) => (C::MailboxDisabled, "status-x.2.1"),
        (_, 2, 2) => (C::MailboxFull, "status-x.2.2"),
        (_, 2, 3) => (C::TooBig, "status-x.2.3"),
        (_, 2, _) => (C::System, "status-x.2.0"),
        (_, 3, 2) => (C::RateLimited, "status-x.3.2"),
        (_, 3, 4) => (C::TooBig, "status-x.3.4"),
        (_, 3, _) => (C::System, "status-x.3.0"),
        (_, 4, 5) => (C::RateLimited, "status-x.4.5"),
        (_, 4, 7) => (C::Expired, "status-x.4.7"),
        (_, 4, _) => (C::Network, "status-x.4.0"),
        (_, 5, 3) => (C::Policy, "status-x.5.3"),
        (_, 5, 1 | 2 | 4 | 5 | 6) => (C::Protocol, "status-x.5.1"),
        // Addresses and headers beyond ASCII, which no words of the message are (RFC 6531, 4.2).
        (_, 6, 7 | 9) => (C::Protocol, "status-x.6.7"),
        (_, 6, _) => (C::Content, "status-x.6.0"),
        (4, 7, 0 | 28) => (C::RateLimited, "status-4.7.0"),
        (4, 7, 1) if matches!(said.phase, Phase::Rcpt | Phase::Returned) => {
            (C::Greylisted, "status-4.7.1")
        }
        (_, 7, 8 | 9 | 20..=24 | 26 | 29 | 509) => (C::Auth, "status-x.7.26"),
        (_, 7, 25) => (C::ReputationBlock, "status-x.7.25"),
        (_, 7, 27) => (C::Policy, "status-x.7.27"),
        (5, 7, 13) => (C::MailboxDisabled, "status-5.7.13"),
        (5, 7, 1) if said.phase == Phase::Dot => (C::Content, "status-5.7.1-dot"),
        (5, 7, 606..=649 | 511) => (C::ReputationBlock, "status-5.7.606"),
        (_, 7, _) => (C::Policy, "status-x.7.0"),
        _ => return None,
    })
}

fn of_code(code: u16, phase: Phase) -> Option<(Category, &'static str)> {
    use Category as C;
    Some(match (code, phase) {
        (421, _) => (C::RateLimited, "code-421"),
        (450 | 451, Phase::Rcpt) => (C::Greylisted, "code-450"),
        (426 | 441 | 442, _) => (C::Network, "code-442"),
        (432 | 454 | 455, _) => (C::System, "code-454"),
        (450..=452, _) => (C::System, "code-451"),
        (500..=504, _) => (C::Protocol, "code-500"),
        (521 | 556, _) => (C::NoDomain, "code-556"),
        (530 | 534 | 535 | 538, _) => (C::Policy, "code-530"),
        (550, Phase::Dot) => (C::RecipientRefused, "code-550-dot"),
        (550, Phase::Rcpt) => (C::RecipientRefused, "code-550"),
        (550 | 553 | 554, Phase::Mail) => (C::Policy, "code-550-mail"),
        (551, Phase::Rcpt | Phase::Returned) => (C::Moved, "code-551"),
        (552, Phase::Dot | Phase::Mail) => (C::TooBig, "code-552-dot"),
        (552, _) => (C::MailboxFull, "code-552"),
        (553, Phase::Rcpt | Phase::Returned) => (C::NoMailbox, "code-553"),
        (554, Phase::Connect | Phase::Banner) => (C::ReputationBlock, "code-554-banner"),
        (554, Phase::Dot) => (C::Content, "code-554-dot"),
        (554, Phase::Rcpt) => (C::Policy, "code-554"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::classify;

    #[test]
    fn numbers_alone_are_read_with_care() {
        use Category as C;
        let cases = [
            (Phase::Rcpt, "550 5.1.1", C::NoMailbox, Hygiene::Suppress),
            (Phase::Rcpt, "450 4.1.1", C::NoMailbox, Hygiene::Count),
            (Phase::Rcpt, "550 5.1.0", C::NoMailbox, Hygiene::Count),
            (Phase::Rcpt, "550", C::RecipientRefused, Hygiene::Count),
            (Phase::Rcpt, "552 5.2.2", C::MailboxFull, Hygiene::Count),
            (Phase::Rcpt, "451 4.7.1", C::Greylisted, Hygiene::None),
            (Phase::Dot, "550 5.7.1", C::Content, Hygiene::None),
            (Phase::Mail, "550", C::Policy, Hygiene::None),
            (Phase::Mail, "553 5.6.7", C::Protocol, Hygiene::None),
            (Phase::Mail, "550 5.7.30", C::Policy, Hygiene::None),
            (Phase::Banner, "554", C::ReputationBlock, Hygiene::None),
            (Phase::Rcpt, "556", C::NoDomain, Hygiene::Count),
            (Phase::Returned, "", C::Undetermined, Hygiene::Count),
        ];
        for (phase, line, category, hygiene) in cases {
            let found = classify(&Said::from_line(phase, line));
            assert_eq!((found.category, found.hygiene), (category, hygiene), "{phase} {line:?}");
        }
    }
}
