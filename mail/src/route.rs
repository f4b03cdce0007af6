//! Which next hop some mail takes: the exchangers of its recipient's domain, or a smart host. The
//! first rule that fits decides; what no rule fits goes to the exchangers.

use std::fmt;
use std::str::FromStr;

use crate::address::Domain;

/// Which domains a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every domain.
    Any,
    /// `example.org`: this one alone.
    Exact(Domain),
    /// `*.example.org`: every one below it, and not itself.
    Below(Domain),
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain, nor \"*.\" and a domain, nor \"*\"")]
pub struct PatternError(String);

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let domain = |text: &str| text.parse::<Domain>().ok();
        let pattern = match text {
            "*" => Some(Self::Any),
            _ => match text.strip_prefix("*.") {
                Some(parent) => domain(parent).map(Self::Below),
                None => domain(text).map(Self::Exact),
            },
        };
        pattern.ok_or_else(|| PatternError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(domain) => domain.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl Pattern {
    /// Whether a domain is one of those. An empty one, which is not known, is only in `*`.
    #[must_use]
    pub fn matches(&self, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own.as_str() == domain,
            Self::Below(parent) => domain
                .strip_suffix(parent.as_str())
                .and_then(|head| head.strip_suffix('.'))
                .is_some_and(|head| !head.is_empty()),
        }
    }
}

/// What a rule asks for; all of it must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The recipient's domain.
    pub recipient: Pattern,
    /// The domain of the campaign's From.
    pub sender: Pattern,
    /// Whose campaign; `None`: anybody's.
    pub tenant: Option<String>,
}

/// Mail, as rules see it. Domains are as [`Domain`] writes them.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The recipient's domain.
    pub recipient: &'a str,
    /// The sender's; empty when it is not known.
    pub sender: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
}

impl Rule {
    fn fits(&self, mail: &Mail<'_>) -> bool {
        self.recipient.matches(mail.recipient)
            && self.sender.matches(mail.sender)
            && self.tenant.as_deref().is_none_or(|tenant| tenant == mail.tenant)
    }
}

/// Rules in their order, each with the hop that it leads to.
#[derive(Debug, Clone)]
pub struct Routes<T>(Vec<(Rule, T)>);

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<(Rule, T)> for Routes<T> {
    fn from_iter<I: IntoIterator<Item = (Rule, T)>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl<T> Routes<T> {
    /// The hop of the first rule that fits.
    #[must_use]
    pub fn hop(&self, mail: &Mail<'_>) -> Option<&T> {
        self.0.iter().find(|(rule, _)| rule.fits(mail)).map(|(_, hop)| hop)
    }

    /// The same rules to other hops.
    #[must_use]
    pub fn map<U>(self, hop: impl Fn(T) -> U) -> Routes<U> {
        Routes(self.0.into_iter().map(|(rule, to)| (rule, hop(to))).collect())
    }

    /// The first rule that no mail reaches, because one before it takes all that fits it, and
    /// that one: by their places.
    #[must_use]
    pub fn shadowed(&self) -> Option<(usize, usize)> {
        let covers = |a: &Rule, b: &Rule| {
            a.recipient.covers(&b.recipient)
                && a.sender.covers(&b.sender)
                && (a.tenant.is_none() || a.tenant == b.tenant)
        };
        let before = |at: usize| (0..at).find(|n| covers(&self.0[*n].0, &self.0[at].0));
        (0..self.0.len()).find_map(|at| Some((at, before(at)?)))
    }
}

impl Pattern {
    /// Whether every domain of `other` is one of these.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Below(_)) => false,
            (_, Self::Exact(domain)) => self.matches(domain.as_str()),
            (Self::Below(a), Self::Below(b)) => a == b || self.matches(b.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(recipient: &str, sender: &str, tenant: &str) -> Rule {
        Rule {
            recipient: recipient.parse().expect("a pattern"),
            sender: sender.parse().expect("a pattern"),
            tenant: (!tenant.is_empty()).then(|| tenant.to_owned()),
        }
    }

    fn mail<'a>(recipient: &'a str, sender: &'a str, tenant: &'a str) -> Mail<'a> {
        Mail { recipient, sender, tenant }
    }

    #[test]
    fn patterns_fit_what_they_say_and_nothing_else() {
        for (pattern, domain, fits) in [
            ("example.org", "example.org", true),
            ("Example.ORG", "example.org", true),
            ("example.org", "mail.example.org", false),
            ("example.org", "notexample.org", false),
            ("*.example.org", "mail.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "notexample.org", false),
            ("*", "anything.test", true),
            ("*", "", true),
            ("example.org", "", false),
            ("bücher.example", "xn--bcher-kva.example", true),
        ] {
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(domain), fits, "{pattern} {domain}");
        }
        for wrong in ["", "*.", "**", "*example.org", "exa mple.org", "a@example.org", "*.*"] {
            let error = wrong.parse::<Pattern>().expect_err(wrong).to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let routes: Routes<&str> = [
            (rule("partner.example", "*", ""), "partner"),
            (rule("*.example.org", "news.example.com", ""), "both"),
            (rule("*", "news.example.com", "acme"), "acme's news"),
            (rule("*", "news.example.com", ""), "news"),
            (rule("*", "*", "trial"), "trial"),
        ]
        .into_iter()
        .collect();
        let hop = |recipient, sender, tenant| routes.hop(&mail(recipient, sender, tenant)).copied();
        assert_eq!(hop("partner.example", "news.example.com", "acme"), Some("partner"));
        assert_eq!(hop("a.example.org", "news.example.com", "acme"), Some("both"));
        assert_eq!(hop("example.org", "news.example.com", "acme"), Some("acme's news"));
        assert_eq!(hop("gmail.com", "news.example.com", "other"), Some("news"));
        assert_eq!(hop("gmail.com", "shop.example.com", "trial"), Some("trial"));
        assert_eq!(hop("gmail.com", "shop.example.com", "other"), None, "to the exchangers");
        assert_eq!(hop("gmail.com", "", "other"), None);
    }

    #[test]
    fn a_rule_that_nothing_reaches_is_found() {
        let shadowed = |rules: &[(&str, &str, &str)]| {
            let rules = rules.iter().map(|(r, s, t)| (rule(r, s, t), ()));
            rules.collect::<Routes<()>>().shadowed()
        };
        assert_eq!(shadowed(&[("*", "*", ""), ("example.org", "*", "")]), Some((1, 0)));
        assert_eq!(shadowed(&[("example.org", "*", ""), ("*", "*", "")]), None);
        assert_eq!(shadowed(&[("*.a.test", "*", ""), ("x.a.test", "*", "t")]), Some((1, 0)));
        assert_eq!(shadowed(&[("*.a.test", "*", ""), ("a.test", "*", "")]), None);
        assert_eq!(shadowed(&[("*", "*", "t"), ("*", "*", "")]), None);
        assert_eq!(shadowed(&[("a.test", "*", ""), ("*.a.test", "*", "")]), None);
        assert_eq!(shadowed(&[("*.a.test", "*", ""), ("*.b.a.test", "*", "")]), Some((1, 0)));
    }
}
