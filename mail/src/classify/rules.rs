//! The general rules as data: read once from `rules/*.toml`, asked in the order in which
//! they stand.

use std::sync::LazyLock;

use serde::Deserialize;

use super::engine::{Asks, RuleSet};
use super::{Overrides, Permanence, Said, Signal};
use crate::category::{Category, Hygiene, Phase, Scope};

/// In the order of asking: what is surest and most particular stands first, what
/// only says that time ran out stands last, so that a cause named beside it wins.
const FILES: &[(&str, &str)] = &[
    ("providers.toml", include_str!("rules/providers.toml")),
    ("french.toml", include_str!("rules/french.toml")),
    ("auth.toml", include_str!("rules/auth.toml")),
    ("pace.toml", include_str!("rules/pace.toml")),
    ("reputation.toml", include_str!("rules/reputation.toml")),
    ("mailbox.toml", include_str!("rules/mailbox.toml")),
    ("languages.toml", include_str!("rules/languages.toml")),
    ("message.toml", include_str!("rules/message.toml")),
    ("policy.toml", include_str!("rules/policy.toml")),
    ("trouble.toml", include_str!("rules/trouble.toml")),
];

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    category: Category,
    /// One of these must occur. ` .. ` stands for anything within a sentence.
    any: Vec<String>,
    /// None of these may.
    #[serde(default)]
    unless: Vec<String>,
    /// `550` or `5xx`; one of them.
    #[serde(default)]
    code: Vec<String>,
    /// `5.1.1`, `5.1.x`, `x.1.1`; one of them.
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    phase: Vec<Phase>,
    permanence: Option<Permanence>,
    hygiene: Option<Hygiene>,
    scope: Option<Scope>,
    signal: Option<Signal>,
    #[serde(default = "usual_confidence")]
    confidence: u8,
    /// Lines that this rule must claim; `mail: 550 …` names a phase.
    matches: Vec<String>,
    /// Lines that it must not.
    #[serde(default)]
    #[cfg_attr(not(test), allow(dead_code))]
    not: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Written>,
}

fn usual_confidence() -> u8 {
    90
}

/// A rule ready for use.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) category: Category,
    pub(super) overrides: Overrides,
    pub(super) confidence: u8,
    /// The first of its lines.
    example: String,
}

struct Rules {
    rules: Vec<Rule>,
    set: RuleSet,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    // The files are part of the program and a test reads them: this cannot fail in the field.
    compile(read().expect("the built-in rules are valid"))
});

fn read() -> Result<Vec<Written>, String> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        let file: File = toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        all.extend(file.rule);
    }
    Ok(all)
}

fn compile(written: Vec<Written>) -> Rules {
    let asks: Vec<Asks> = written.iter().map(Written::asks).collect();
    let set = RuleSet::new(&asks).expect("a few thousand short words make a set");
    let rules = written.into_iter().map(|w| Rule {
        id: w.id,
        category: w.category,
        overrides: Overrides {
            permanence: w.permanence,
            hygiene: w.hygiene,
            scope: w.scope,
            signal: w.signal,
        },
        confidence: w.confidence,
        example: w.matches.into_iter().next().unwrap_or_default(),
    });
    Rules { rules: rules.collect(), set }
}

impl Written {
    fn asks(&self) -> Asks {
        Asks {
            any: self.any.clone(),
            unless: self.unless.clone(),
            code: self.code.clone(),
            status: self.status.clone(),
            phase: self.phase.clone(),
        }
    }
}

/// The first rule that claims the answer. `folded` is its text, folded.
pub(super) fn find(said: &Said<'_>, folded: &str) -> Option<&'static Rule> {
    let all: &'static Rules = &RULES;
    all.set.first(said, folded).map(|rule| &all.rules[rule])
}

/// The first line that a rule claims.
pub(super) fn example(id: &str) -> Option<&'static str> {
    let all: &'static Rules = &RULES;
    let rule = all.rules.iter().find(|rule| rule.id == id)?;
    Some(rule.example.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::engine::{GAP, example};
    use super::super::fold;
    use super::*;

    fn claimed_by(line: &str) -> Option<&'static str> {
        let said = example(line);
        find(&said, &fold(said.text)).map(|rule| rule.id.as_str())
    }

    #[test]
    fn every_rule_claims_its_examples_and_nothing_that_it_should_not() {
        let mut wrong = Vec::new();
        for rule in read().expect("rules") {
            if rule.matches.is_empty() {
                wrong.push(format!("{}: has no example", rule.id));
            }
            for line in &rule.matches {
                let got = claimed_by(line);
                if got != Some(rule.id.as_str()) {
                    wrong.push(format!("{}: {line:?} is claimed by {got:?}", rule.id));
                }
            }
            for line in rule.not.iter().filter(|line| claimed_by(line) == Some(rule.id.as_str())) {
                wrong.push(format!("{}: claims {line:?}", rule.id));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rules_are_written_in_folded_form_and_named_once() {
        let (mut seen, mut wrong) = (std::collections::HashSet::new(), Vec::new());
        for rule in read().expect("rules") {
            assert!(seen.insert(rule.id.clone()), "{} stands twice", rule.id);
            for piece in rule.any.iter().chain(&rule.unless).flat_map(|p| p.split(GAP)) {
                if fold(piece).trim() != piece.trim() || piece.len() < 2 {
                    wrong.push(format!("{}: {piece:?} is not folded or too short", rule.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
