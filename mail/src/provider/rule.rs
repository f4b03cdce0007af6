//! A provider's rules about replies: what they ask for, what follows, and whether they keep what
//! their examples promise.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::file::{Fault, is_name};
use crate::category::{Category, Hygiene, Phase, Scope};
use crate::classify::engine::{Asks, GAP, RuleSet, example, is_code, is_status};
use crate::classify::{
    Finding, Overrides, Permanence, Reaction, Said, Signal, classify_folded, finding, fold,
    usual_signal,
};

/// Patterns of one rule, and octets of a pattern or an example: a reply has no more.
const PATTERNS_MAX: usize = 100;
const PATTERN_OCTETS_MAX: usize = 200;
const EXAMPLE_OCTETS_MAX: usize = 1024;
/// As with a provider's numbers.
const HOLD_S_MAX: u64 = 7 * 86_400;
const RETRY_S_MAX: u64 = 86_400;
/// How sure a rule is: it knows whom it hears.
const CONFIDENCE: u8 = 95;

/// A rule as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRule {
    pub(super) id: String,
    /// One of these must occur, in folded form; ` .. ` stands for anything within a sentence.
    any: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    code: Vec<String>,
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    phase: Vec<Phase>,
    /// None: what the general rules make of it.
    category: Option<Category>,
    permanence: Option<Permanence>,
    hygiene: Option<Hygiene>,
    scope: Option<Scope>,
    signal: Option<Signal>,
    hold_s: Option<u64>,
    retry_s: Option<u64>,
    /// Where the rule is from.
    #[serde(default)]
    source: String,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
}

/// A rule ready for use.
#[derive(Debug)]
pub struct Rule {
    /// Its name in events: `gmail/ip-rate`.
    pub name: &'static str,
    /// What it asks of the text: one of these words.
    pub any: Vec<String>,
    /// Where it is from; empty: not said.
    pub source: String,
    /// Lines that it claims.
    pub matches: Vec<String>,
    category: Option<Category>,
    overrides: Overrides,
    reaction: Reaction,
}

impl WrittenRule {
    pub(super) fn asks(&self) -> Asks {
        Asks {
            any: self.any.clone(),
            unless: self.unless.clone(),
            code: self.code.clone(),
            status: self.status.clone(),
            phase: self.phase.clone(),
        }
    }

    pub(super) fn ready(&self, provider: &str) -> Rule {
        Rule {
            name: kept(format!("{provider}/{}", self.id)),
            any: self.any.clone(),
            source: self.source.clone(),
            matches: self.matches.clone(),
            category: self.category,
            overrides: Overrides {
                permanence: self.permanence,
                hygiene: self.hygiene,
                scope: self.scope,
                signal: self.signal,
            },
            reaction: Reaction {
                hold: self.hold_s.map(Duration::from_secs),
                retry: self.retry_s.map(Duration::from_secs),
            },
        }
    }

    /// Whether anything stands between its words and its claim.
    fn is_conditional(&self) -> bool {
        !(self.unless.is_empty()
            && self.code.is_empty()
            && self.status.is_empty()
            && self.phase.is_empty())
    }

    fn says_nothing(&self) -> bool {
        self.category.is_none()
            && self.permanence.is_none()
            && self.hygiene.is_none()
            && self.scope.is_none()
            && self.signal.is_none()
            && self.hold_s.is_none()
            && self.retry_s.is_none()
    }
}

impl Rule {
    /// What one of its examples means.
    #[must_use]
    pub fn example_finding(&self, line: &str) -> Finding {
        let said = example(line);
        self.finding(&said, &fold(said.text))
    }

    /// What an answer means that this rule claims.
    pub(super) fn finding(&self, said: &Said<'_>, folded: &str) -> Finding {
        let found = match self.category {
            Some(category) => finding(said, category, self.overrides, self.name, CONFIDENCE),
            None => self.upon(classify_folded(said, folded)),
        };
        let mut found = Finding { reaction: self.reaction, ..found };
        if self.reaction.retry.is_some() {
            found.permanence = Permanence::Temporary;
        }
        found
    }

    /// What the general rules say, but for what this one knows better.
    fn upon(&self, general: Finding) -> Finding {
        let Overrides { permanence, hygiene, scope, signal } = self.overrides;
        let usual = match scope {
            Some(scope) => usual_signal(general.category, scope),
            None => general.signal,
        };
        Finding {
            permanence: permanence.unwrap_or(general.permanence),
            hygiene: hygiene.unwrap_or(general.hygiene),
            scope: scope.unwrap_or(general.scope),
            signal: signal.unwrap_or(usual),
            rule: self.name,
            confidence: CONFIDENCE,
            ..general
        }
    }
}

/// A name for as long as the program lives, since findings are small and copied. There are some
/// hundred, and an edit while the program runs adds those that it renames.
fn kept(name: String) -> &'static str {
    static NAMES: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let name: &'static str = Box::leak(name.into_boxed_str());
    names.insert(name);
    name
}

/// Everything that is wrong with a provider's own rules.
pub(super) fn faults(provider: &str, rules: &[WrittenRule]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for rule in rules {
        let mut fault = |what: String| faults.push(Fault::of_rule(provider, &rule.id, what));
        if !ids.insert(&rule.id) {
            fault("there are two rules of this id: give one of them another".into());
        }
        form(rule, &mut fault);
        numbers(rule, &mut fault);
    }
    faults.extend(buried(provider, rules));
    if faults.is_empty() {
        faults.extend(examples(provider, rules));
    }
    faults
}

/// How it is written.
fn form(rule: &WrittenRule, fault: &mut impl FnMut(String)) {
    if !is_name(&rule.id) {
        fault("an id is 1 to 40 small letters, digits and hyphens".into());
    }
    if rule.any.is_empty() {
        fault("any = [] claims nothing: give at least one of the words that it is known by".into());
    }
    if rule.any.len() + rule.unless.len() > PATTERNS_MAX {
        fault(format!("has more than {PATTERNS_MAX} patterns: make two rules of it"));
    }
    for pattern in rule.any.iter().chain(&rule.unless) {
        if pattern.len() > PATTERN_OCTETS_MAX {
            let start: String = pattern.chars().take(40).collect();
            fault(format!("pattern \"{start}…\" has more than {PATTERN_OCTETS_MAX} octets"));
            continue;
        }
        for piece in pattern.split(GAP) {
            let folded = fold(piece);
            if piece.trim().len() < 2 {
                fault(format!("pattern {pattern:?}: {piece:?} is too short to mean anything"));
            } else if folded.trim() != piece.trim() {
                let right = folded.trim();
                fault(format!(
                    "pattern {pattern:?} can never occur: write {right:?} for {piece:?}"
                ));
            }
        }
    }
    for code in rule.code.iter().filter(|code| !is_code(code)) {
        fault(format!("code {code:?} is none: write \"421\" or \"4xx\""));
    }
    for status in rule.status.iter().filter(|status| !is_status(status)) {
        fault(format!("status {status:?} is none: write \"4.7.28\" or \"4.7.x\""));
    }
    if rule.says_nothing() {
        fault(
            "says nothing: give category, scope, signal, permanence, hygiene, hold_s or retry_s"
                .into(),
        );
    }
    if rule.matches.is_empty() {
        fault("has no example: give a line that it must claim under `matches`".into());
    }
    for line in rule.matches.iter().chain(&rule.not).filter(|l| l.len() > EXAMPLE_OCTETS_MAX) {
        let start: String = line.chars().take(40).collect();
        fault(format!("example \"{start}…\" has more than {EXAMPLE_OCTETS_MAX} octets"));
    }
}

fn numbers(rule: &WrittenRule, fault: &mut impl FnMut(String)) {
    let bounds = [("hold_s", rule.hold_s, HOLD_S_MAX), ("retry_s", rule.retry_s, RETRY_S_MAX)];
    for (key, value, most) in bounds {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            fault(format!("{key} is {value}: it must be from 1 to {most}"));
        }
    }
    if rule.retry_s.is_some() && rule.permanence == Some(Permanence::Permanent) {
        fault("retry_s and permanence = \"permanent\" contradict each other: keep one".into());
    }
}

/// Words that an earlier rule takes away from every later one.
fn buried(provider: &str, rules: &[WrittenRule]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        for pattern in &rule.any {
            let takes = |earlier: &&WrittenRule| {
                !earlier.is_conditional()
                    && earlier
                        .any
                        .iter()
                        .any(|words| pattern.split(GAP).any(|p| p.contains(words.as_str())))
            };
            if let Some(earlier) = rules[..at].iter().find(takes) {
                let what = format!(
                    "pattern {pattern:?} never decides: rule {:?} stands before this one and asks for \
                     less; put it after this one",
                    earlier.id
                );
                faults.push(Fault::of_rule(provider, &rule.id, what));
            }
        }
    }
    faults
}

/// What the examples promise, and what follows from each.
fn examples(provider: &str, rules: &[WrittenRule]) -> Vec<Fault> {
    let asks: Vec<Asks> = rules.iter().map(WrittenRule::asks).collect();
    let set = match RuleSet::new(&asks) {
        Ok(set) => set,
        Err(why) => return vec![Fault::of(provider, why)],
    };
    let mut faults = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let mut fault = |what: String| faults.push(Fault::of_rule(provider, &rule.id, what));
        let claimed = |line: &String| {
            let said = example(line);
            set.first(&said, &fold(said.text))
        };
        let by: Vec<Option<usize>> = rule.matches.iter().map(claimed).collect();
        let earlier = by.iter().map(|by| by.filter(|by| *by < at)).collect::<Option<Vec<usize>>>();
        if let Some(first) = earlier.as_ref().and_then(|earlier| earlier.first()) {
            let id = &rules[*first].id;
            fault(format!(
                "is shadowed: rule {id:?} before it claims all of its examples; put it first"
            ));
            continue;
        }
        for (line, by) in rule.matches.iter().zip(by) {
            match by {
                Some(by) if by == at => {
                    consequence(&rule.ready(provider), line).into_iter().for_each(&mut fault);
                }
                Some(by) => {
                    let id = &rules[by].id;
                    fault(format!(
                        "does not claim its example {line:?}: rule {id:?} before it does"
                    ));
                }
                None => fault(format!("does not claim its example {line:?}")),
            }
        }
        for line in rule.not.iter().filter(|line| claimed(line) == Some(at)) {
            fault(format!("claims {line:?}, which stands under `not`"));
        }
    }
    faults
}

/// What is contradictory in what follows from an example.
fn consequence(rule: &Rule, line: &str) -> Vec<String> {
    let found = rule.example_finding(line);
    let Finding { scope, signal, .. } = found;
    let mut wrong = Vec::new();
    if !fits(signal, scope) {
        let right = Scope::ALL.iter().copied().filter(|scope| fits(signal, *scope));
        let right = right.map(|scope| format!("{:?}", scope.as_str())).collect::<Vec<_>>();
        wrong.push(format!(
            "of {line:?} follows signal {:?} with scope {:?}: with that signal the scope is {}",
            signal.as_str(),
            scope.as_str(),
            right.join(" or ")
        ));
    }
    let rests = match scope {
        Scope::Source => signal == Signal::Block,
        Scope::SenderDomain | Scope::LinkDomain | Scope::Message => true,
        Scope::Recipient | Scope::Site | Scope::Connection => false,
    };
    if found.reaction.hold.is_some() && !rests {
        wrong.push(format!(
            "hold_s with scope {:?} and signal {:?} holds nobody: a source rests for signal \"block\" \
             alone; for one recipient there is retry_s",
            scope.as_str(),
            signal.as_str()
        ));
    }
    wrong
}

/// Whether a dimension of the pace can speak of so much.
fn fits(signal: Signal, scope: Scope) -> bool {
    match signal {
        Signal::None => true,
        Signal::Rate | Signal::Connections => matches!(scope, Scope::Source | Scope::Site),
        Signal::MessagesPerConnection => scope == Scope::Connection,
        Signal::Block => scope == Scope::Source,
        Signal::Greylist | Signal::RecipientBusy => scope == Scope::Recipient,
        Signal::SenderDomain => scope == Scope::SenderDomain,
        Signal::LinkDomain => scope == Scope::LinkDomain,
        Signal::Content => matches!(scope, Scope::Message | Scope::Source),
        Signal::SiteTrouble => scope == Scope::Site,
    }
}
