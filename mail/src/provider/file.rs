//! A provider's file: its text taken apart, and everything that is wrong with it by itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use super::bounds::Bounds;
use super::rule::WrittenRule;
use crate::address::Domain;
use crate::route::Pattern;

/// A file larger than this was put there by mistake.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Names stand in front of rules, in events and in lists.
const NAME_OCTETS_MAX: usize = 40;
/// Exchangers' patterns, and domains, of one provider.
const NAMES_MAX: usize = 500;
/// Rules of one provider.
const RULES_MAX: usize = 300;

/// The text of a provider's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The provider's name: that of the file, without `.toml`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Something wrong with a provider's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The rule, where it is about one.
    pub rule: Option<String>,
    /// What is wrong, with the offending text, and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(rule) = &self.rule {
            write!(f, "rule {rule:?}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong, so that one look mends it all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        Ok(())
    }
}

/// A file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    title: String,
    mx: Vec<String>,
    domains: Vec<String>,
    rules_of: String,
    off: bool,
    limits: Bounds,
    rule: Vec<WrittenRule>,
}

/// A file that was found good by itself.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) mx: Vec<Pattern>,
    pub(super) domains: Vec<Domain>,
    pub(super) bounds: Bounds,
    /// The provider whose rules are asked after its own.
    pub(super) rules_of: Option<String>,
    pub(super) rules: Vec<WrittenRule>,
}

impl Fault {
    pub(super) fn of(provider: &str, what: impl Into<String>) -> Self {
        Self { file: format!("{provider}.toml"), rule: None, what: what.into() }
    }

    pub(super) fn of_rule(provider: &str, rule: &str, what: impl Into<String>) -> Self {
        Self { rule: Some(rule.to_owned()), ..Self::of(provider, what) }
    }
}

/// A provider out of its file; none where the file says that it is not wanted.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(file: &File) -> Result<Option<Draft>, Vec<Fault>> {
    let fault = |what: String| Fault::of(&file.name, what);
    if !is_name(&file.name) {
        let what = format!(
            "the name of the file is the provider's: 1 to {NAME_OCTETS_MAX} small letters, digits \
             and hyphens"
        );
        return Err(vec![fault(what)]);
    }
    if file.text.len() > FILE_BYTES_MAX {
        let (is, most) = (file.text.len(), FILE_BYTES_MAX);
        return Err(vec![fault(format!("has {is} octets, more than the {most} it may have"))]);
    }
    let written: Written =
        toml::from_str(&file.text).map_err(|e| vec![fault(syntax(&file.text, &e))])?;
    if written.off {
        return match is_bare(&written) {
            true => Ok(None),
            false => Err(vec![fault(
                "off = true is for doing without this provider: take the rest away, or `off`"
                    .into(),
            )]),
        };
    }
    let mut faults = Vec::new();
    let draft = check(&file.name, written, &mut |what| faults.push(fault(what)));
    faults.extend(super::rule::faults(&draft.name, &draft.rules));
    if faults.is_empty() { Ok(Some(draft)) } else { Err(faults) }
}

fn check(name: &str, written: Written, fault: &mut impl FnMut(String)) -> Draft {
    if written.title.trim().is_empty() {
        fault("has no title: say whom it is about, such as title = \"Example Mail\"".into());
    }
    if written.mx.is_empty() {
        let what = "names no exchangers: mx = [\"*.example.net\"], by which its sites are known; or \
                    off = true, to do without the provider";
        fault(what.into());
    }
    for (key, names) in [("mx", written.mx.len()), ("domains", written.domains.len())] {
        if names > NAMES_MAX {
            fault(format!("{key} has {names} names, more than the {NAMES_MAX} it may have"));
        }
    }
    if written.rule.len() > RULES_MAX {
        let rules = written.rule.len();
        fault(format!("has {rules} rules, more than the {RULES_MAX} it may have"));
    }
    written.limits.faults().into_iter().for_each(|what| fault(format!("limits: {what}")));
    let mx = patterns(&written.mx, fault);
    let mut domains = Vec::new();
    for text in &written.domains {
        match text.parse() {
            Ok(domain) => domains.push(domain),
            Err(_) => fault(format!("domains: {text:?} is not a domain")),
        }
    }
    let rules_of = Some(written.rules_of).filter(|of| !of.is_empty());
    if rules_of.as_deref() == Some(name) {
        fault("rules_of names the provider itself: take it away".into());
    }
    let (title, bounds, rules) = (written.title, written.limits, written.rule);
    Draft { name: name.to_owned(), title, mx, domains, bounds, rules_of, rules }
}

fn patterns(texts: &[String], fault: &mut impl FnMut(String)) -> Vec<Pattern> {
    let mut seen = BTreeSet::new();
    let mut patterns = Vec::new();
    for text in texts {
        let is_new = seen.insert(text.to_ascii_lowercase());
        match text.parse::<Pattern>() {
            Ok(Pattern::Any) => fault(format!(
                "mx: {text:?} is every host there is: name the provider's, such as \"*.example.net\""
            )),
            Ok(_) if !is_new => fault(format!("mx: {text:?} is given twice")),
            Ok(pattern) => patterns.push(pattern),
            Err(_) => fault(format!(
                "mx: {text:?} is neither a host name (\"mx.example.net\") nor an end of one, its own \
                 domain included (\"*.example.net\")"
            )),
        }
    }
    patterns
}

/// Whether a file says nothing but that its provider is not wanted.
fn is_bare(written: &Written) -> bool {
    written.mx.is_empty()
        && written.domains.is_empty()
        && written.rule.is_empty()
        && written.rules_of.is_empty()
        && written.limits == Bounds::default()
}

/// Whether it may be the name of a provider or a rule.
pub(super) fn is_name(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_OCTETS_MAX).contains(&text.len()) && text.bytes().all(is_fit)
}

/// The parser's message on one line, with the number of the line that it is about.
pub(super) fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message,
    }
}
