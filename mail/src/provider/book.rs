//! Rules that belong to no provider: what a person named once of all that no rule knew. They are
//! asked last, where only numbers spoke, and are less sure than a rule of the program.

use serde::Deserialize;

use super::file::{FILE_BYTES_MAX, Fault, Faults, syntax};
use super::rule::{self, Rule, WrittenRule};
use crate::classify::engine::{Asks, RuleSet};
use crate::classify::{BY_STATUS, Finding, Said, fold};

/// Rules of a book: when there are more they belong into the program.
const RULES_MAX: usize = 1_000;
/// How sure they are: more than a status alone.
const CONFIDENCE: u8 = 80;

/// Rules without a provider.
#[derive(Debug, Default)]
pub struct RuleBook {
    rules: Vec<Rule>,
    set: Option<RuleSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

impl RuleBook {
    /// Reads `[[rule]]` after `[[rule]]`, as they stand in a provider's file. The book's name stands
    /// in front of theirs.
    ///
    /// # Errors
    /// Everything that is wrong; each rule must claim its own examples.
    pub fn read(name: &str, text: &str) -> Result<Self, Faults> {
        let wrong = |what: String| Faults(vec![Fault::of(name, what)]);
        if text.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("has more than {FILE_BYTES_MAX} octets")));
        }
        let written: Written = toml::from_str(text).map_err(|e| wrong(syntax(text, &e)))?;
        if written.rule.len() > RULES_MAX {
            return Err(wrong(format!("has more than {RULES_MAX} rules")));
        }
        let faults = rule::faults(name, &written.rule);
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let asks: Vec<Asks> = written.rule.iter().map(WrittenRule::asks).collect();
        let set = RuleSet::new(&asks).map_err(wrong)?;
        let rules = written.rule.iter().map(|rule| rule.ready(name)).collect();
        Ok(Self { rules, set: Some(set) })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What an answer means of which `general` was found: the same, where words decided.
    #[must_use]
    pub fn upon(&self, said: &Said<'_>, general: Finding) -> Finding {
        if general.confidence > BY_STATUS {
            return general;
        }
        let Some(set) = &self.set else { return general };
        let folded = fold(said.text);
        match set.first(said, &folded) {
            Some(rule) => {
                Finding { confidence: CONFIDENCE, ..self.rules[rule].finding(said, &folded) }
            }
            None => general,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::{Category, Phase};
    use crate::classify::classify;
    use crate::unknown::is_by_number;

    const BOOK: &str = r#"
        [[rule]]
        id = "resting"
        category = "mailbox-disabled"
        any = ["this box is taking a rest"]
        matches = ["550 this box is taking a rest"]
    "#;

    fn meaning(book: &RuleBook, line: &str) -> Finding {
        let said = Said::from_line(Phase::Rcpt, line);
        book.upon(&said, classify(&said))
    }

    #[test]
    fn what_a_person_named_holds_where_only_numbers_spoke() {
        let book = RuleBook::read("learned", BOOK).expect("a book");
        let line = "550 5.0.0 Sorry, this box is taking a rest";
        assert!(is_by_number(meaning(&RuleBook::default(), line).rule));
        let found = meaning(&book, line);
        assert_eq!((found.category, found.rule), (Category::MailboxDisabled, "learned/resting"));
        // Words that a rule knows come first.
        let known = "550 5.1.1 user unknown: this box is taking a rest";
        assert_eq!(meaning(&book, known).category, Category::NoMailbox);
    }

    #[test]
    fn a_book_that_breaks_its_promises_is_refused() {
        let other = BOOK.replace("matches = [\"550 this", "matches = [\"550 that");
        let refused = RuleBook::read("learned", &other).unwrap_err().to_string();
        assert!(refused.contains("resting"), "{refused}");
        assert!(RuleBook::read("learned", "title = \"x\"").is_err());
        assert!(RuleBook::read("learned", "").expect("empty").is_empty());
    }
}
