//! The reader of returned mail: whatever comes back is one kind of mail, says what it says within
//! bounds, and says the same when it is read again.

use mail::Report;
use mail::particular::Failure;
use mail::plain::{Lang, explain_failure};
use mail::returned;

const RECIPIENTS_MAX: usize = 1000;
const DIAGNOSTIC_OCTETS_MAX: usize = 1024;
const SENTENCES_OCTETS_MAX: usize = 1024;

pub(super) fn run(octets: &[u8]) {
    let returned = returned::parse(octets);
    assert_eq!(returned, returned::parse(octets), "the same octets, the same mail");
    assert!(returned.failures.len() <= RECIPIENTS_MAX);
    for failure in &returned.failures {
        assert!(failure.diagnostic.len() <= DIAGNOSTIC_OCTETS_MAX);
        assert!(!failure.diagnostic.contains('\n'), "{:?}", failure.diagnostic);
        let address = failure.recipient.as_deref().unwrap_or("a@b");
        assert!(address.contains('@') && !address.contains(char::is_whitespace), "{address:?}");
        for lang in Lang::ALL {
            let plain = explain_failure(&Failure::returned(failure), *lang);
            let told = format!("{} {}", plain.what, plain.todo);
            let is_fit =
                !told.contains(|c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
            assert!(is_fit && told.len() <= SENTENCES_OCTETS_MAX, "{told:?}");
        }
    }
    let tells = matches!(returned.kind, Report::Failure | Report::Delayed);
    assert!(tells || returned.failures.is_empty(), "{returned:?}");
    assert!(returned.original.tokens.len() <= 8 && returned.original.to.len() <= 50);
}
