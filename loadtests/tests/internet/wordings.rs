//! What the sink says is understood as it was meant: otherwise a demo that compares
//! categories would blame the wrong side.

use loadtests::internet::wording::{Said, Style, phrase};
use mail::Phase;
use mail::classify::{Said as Heard, classify};

#[test]
fn the_classifier_understands_every_wording() {
    let mut misunderstood = Vec::new();
    for style in Style::ALL {
        for said in Said::ALL {
            let line = phrase(style, said);
            let line = line.replace("{recipient}", "ann@one.example").replace("{ip}", "127.0.1.1");
            // A body can only be refused after it has been seen, a mailbox before.
            let at = match said {
                Said::TooBig | Said::Content | Said::Auth | Said::SenderQuota => Phase::Dot,
                _ => Phase::Rcpt,
            };
            for phase in [at, Phase::Returned] {
                let found = classify(&Heard::from_line(phase, &line)).category;
                if found != said.category() {
                    misunderstood.push(format!("{found}, meant {}: {line}", said.category()));
                }
            }
        }
    }
    assert!(misunderstood.is_empty(), "{misunderstood:#?}");
}
