//! MTA-STS (RFC 8461): what a domain says about TLS at its exchangers. Reading the record and the
//! policy, and whether an exchanger is one that the policy names; where both come from, and how
//! long they are kept, is for the caller.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A policy that is longer is none (RFC 8461, 3.3 leaves the bound to us and names this one).
pub const POLICY_OCTETS_MAX: usize = 64 * 1024;
/// The longest that a policy may ask to be kept: a year (RFC 8461, 3.2).
pub const MAX_AGE_S_MAX: u32 = 31_557_600;
/// Patterns of exchangers that are looked at; nobody has more for a good reason.
const MX_MAX: usize = 128;

/// The `id` of the one MTA-STS record among the texts of `_mta-sts.DOMAIN`. None where there is no
/// such record, where there are several, or where it has no good `id`: the domain has no policy
/// then, or none that is new (RFC 8461, 3.1).
#[must_use]
pub fn policy_id<S: AsRef<str>>(texts: &[S]) -> Option<&str> {
    let mut records = texts.iter().map(AsRef::as_ref).filter_map(fields_of);
    let (Some(fields), None) = (records.next(), records.next()) else { return None };
    let mut pairs = fields.split(';').map(trim).filter_map(|field| field.split_once('='));
    let id = pairs.find(|(key, _)| trim(key) == "id").map(|(_, value)| trim(value))?;
    let is_good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    is_good.then_some(id)
}

/// What follows the version, if it is this one.
fn fields_of(text: &str) -> Option<&str> {
    trim(text.strip_prefix("v=STSv1")?).strip_prefix(';')
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// What a sender does about an exchanger that the policy does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No delivery there.
    Enforce,
    /// Delivered all the same, and told in reports.
    Testing,
    /// As though there were no policy.
    None,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        })
    }
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What is to be done.
    pub mode: Mode,
    /// Names of exchangers, lower case; the first label may be `*`. Never empty, but for mode none.
    pub mx: Vec<String>,
    /// Seconds that the policy holds after it was fetched, at most a year.
    pub max_age_s: u32,
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line without a colon.
    #[error("line {0} of the policy is no \"key: value\"")]
    Line(usize),
    /// A key that must be there.
    #[error("the policy has no {0:?}")]
    Missing(&'static str),
    /// A value that cannot be.
    #[error("the policy's {0} {1:?} is not possible")]
    Value(&'static str, String),
    /// Too many exchangers.
    #[error("the policy names more than {MX_MAX} exchangers")]
    TooMany,
}

impl Policy {
    /// Reads `mta-sts.txt`. Keys that are not known are passed over, of keys that stand twice the
    /// first counts, and lines end in CRLF or LF (RFC 8461, 3.2).
    ///
    /// # Errors
    /// When it is no policy of version `STSv1`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let pairs = pairs(text)?;
        let first = |key: &'static str| {
            let found = pairs.iter().find(|(k, _)| *k == key);
            found.map(|(_, value)| *value).ok_or(PolicyError::Missing(key))
        };
        let wrong = |key, value: &str| PolicyError::Value(key, value.chars().take(100).collect());
        let version = first("version")?;
        if version != "STSv1" {
            return Err(wrong("version", version));
        }
        let mode = match first("mode")? {
            "enforce" => Mode::Enforce,
            "testing" => Mode::Testing,
            "none" => Mode::None,
            other => return Err(wrong("mode", other)),
        };
        let age = first("max_age")?;
        let is_number = (1..=10).contains(&age.len()) && age.bytes().all(|b| b.is_ascii_digit());
        let max_age_s = age.parse::<u64>().ok().filter(|_| is_number);
        let max_age_s = max_age_s.ok_or_else(|| wrong("max_age", age))?;
        let max_age_s = u32::try_from(max_age_s).unwrap_or(u32::MAX).min(MAX_AGE_S_MAX);
        let mut mx = Vec::new();
        for (_, pattern) in pairs.iter().filter(|(key, _)| *key == "mx") {
            mx.push(mx_pattern(pattern).ok_or_else(|| wrong("mx", pattern))?);
        }
        match (mx.len(), mode) {
            (0, Mode::Enforce | Mode::Testing) => Err(PolicyError::Missing("mx")),
            (count, _) if count > MX_MAX => Err(PolicyError::TooMany),
            _ => Ok(Self { mode, mx, max_age_s }),
        }
    }

    /// Whether the policy names this exchanger. `*` stands for exactly one label on the left, and
    /// nowhere else (RFC 8461, 4.1).
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(end) => parent == Some(end),
            None => *pattern == host,
        })
    }

    /// The lines as reports want them (RFC 8460, 4.4: `policy-string`).
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {}", self.mode)];
        lines.extend(self.mx.iter().map(|mx| format!("mx: {mx}")));
        lines.push(format!("max_age: {}", self.max_age_s));
        lines
    }
}

/// The lines as keys and values, without the spaces around them.
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, PolicyError> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut pairs = Vec::new();
    for (at, line) in lines.enumerate().filter(|(_, line)| !trim(line).is_empty()) {
        let (key, value) = line.split_once(':').ok_or(PolicyError::Line(at + 1))?;
        pairs.push((trim(key), trim(value)));
    }
    Ok(pairs)
}

/// A host name with at least two labels, or one under `*.`; lower case.
fn mx_pattern(pattern: &str) -> Option<String> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label) && pattern.contains('.');
    is_name.then(|| pattern.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_one_record_with_a_good_id_counts() {
        let id = |texts: &[&str]| policy_id(texts).map(str::to_owned);
        let good = Some("20160831085700Z".to_owned());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]), good);
        assert_eq!(id(&["v=STSv1;id=20160831085700Z"]), good);
        assert_eq!(id(&["v=STSv1 ; x=y ; id=20160831085700Z ; id=2"]), good);
        assert_eq!(id(&["v=spf1 -all", "v=STSv1; id=20160831085700Z"]), good);
        let long = format!("v=STSv1; id={};", "a".repeat(33));
        for none in [
            &["v=STSv1; id=1;", "v=STSv1; id=2;"][..],
            &["v=STSv1"],
            &["v=STSv1;"],
            &["v=STSv1; id=;"],
            &["v=STSv1; id=a-b;"],
            &["v=STSv10; id=1;"],
            &[" v=STSv1; id=1;"],
            &["id=1; v=STSv1;"],
            &[&long],
            &[],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }

    const GOOD: &str = "version: STSv1\r\nmode: enforce\r\nmx: MAIL.example.com\r\nmx:*.example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_is_read_whatever_its_line_ends_and_unknown_keys() {
        let expected = Policy {
            mode: Mode::Enforce,
            mx: vec!["mail.example.com".into(), "*.example.net".into()],
            max_age_s: 604_800,
        };
        assert_eq!(Policy::parse(GOOD), Ok(expected.clone()));
        assert_eq!(Policy::parse(&GOOD.replace("\r\n", "\n")), Ok(expected.clone()));
        let more = format!("\r\nnew_key: :x:\r\n{GOOD}mode: none\r\nmax_age: 1\r\n");
        assert_eq!(Policy::parse(&more), Ok(expected.clone()));
        assert_eq!(Policy::parse(&format!("{}\n", expected.lines().join("\n"))), Ok(expected));
        let none = "version: STSv1\nmode: none\nmax_age: 99999999\n";
        assert_eq!(
            Policy::parse(none).map(|p| (p.mode, p.max_age_s)),
            Ok((Mode::None, MAX_AGE_S_MAX))
        );
    }

    #[test]
    fn what_is_no_policy_is_refused_with_the_offender() {
        for (good, bad, says) in [
            ("version: STSv1\r\n", "", "no \"version\""),
            ("STSv1", "STSv2", "version \"STSv2\""),
            ("enforce", "enforced", "mode \"enforced\""),
            ("604800", "-1", "max_age \"-1\""),
            ("604800", "12345678901", "max_age \"12345678901\""),
            ("max_age: 604800\r\n", "", "no \"max_age\""),
            ("mode: ", "mode ", "line 2"),
            ("*.example.net", "mx.*.net", "mx \"mx.*.net\""),
            ("*.example.net", "*", "mx \"*\""),
            ("*.example.net", "a..b", "mx \"a..b\""),
        ] {
            let why = Policy::parse(&GOOD.replace(good, bad)).expect_err(bad).to_string();
            assert!(why.contains(says), "{why:?} does not tell {says:?}");
        }
        let many: String = (0..200).map(|n| format!("mx: mx{n}.example.com\n")).collect();
        assert_eq!(Policy::parse(&format!("{GOOD}{many}")), Err(PolicyError::TooMany));
        let nowhere = "version: STSv1\nmode: testing\nmax_age: 1\n";
        assert_eq!(Policy::parse(nowhere), Err(PolicyError::Missing("mx")));
    }

    #[test]
    fn a_wildcard_stands_for_one_label_on_the_left() {
        let policy = Policy::parse(GOOD).expect("good");
        for host in ["mail.example.com", "Mail.Example.COM.", "mx1.example.net"] {
            assert!(policy.names(host), "{host}");
        }
        for host in ["example.net", "a.b.example.net", "xmail.example.com", "mail.example.com.evil"]
        {
            assert!(!policy.names(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_it_writes_and_reads_the_same(
            text in "(version: ?STSv1\r?\n)?(mode: ?(enforce|testing|none)\r?\n)?(mx: ?[a-z*.-]{0,20}\r?\n){0,3}(max_age: ?[0-9]{0,12}\r?\n)?(\\PC{0,30}\n)?"
        ) {
            if let Ok(policy) = Policy::parse(&text) {
                prop_assert!(policy.max_age_s <= MAX_AGE_S_MAX);
                prop_assert_eq!(Policy::parse(&policy.lines().join("\r\n")), Ok(policy));
            }
        }

        #[test]
        fn any_octets_are_only_a_text(text in "\\PC{0,200}", host in "\\PC{0,60}") {
            let _ = policy_id(&[text.as_str()]);
            if let Ok(policy) = Policy::parse(&text) {
                let _ = policy.names(&host);
            }
        }

        #[test]
        fn each_host_under_a_wildcard_matches_and_the_name_itself_does_not(
            label in "[a-z0-9-]{1,20}", end in "[a-z]{1,9}\\.[a-z]{2,5}"
        ) {
            let text = format!("version: STSv1\nmode: enforce\nmx: *.{end}\nmax_age: 9\n");
            let policy = Policy::parse(&text).expect("good");
            let host = format!("{label}.{end}");
            let deeper = format!("x.{host}");
            prop_assert!(policy.names(&host));
            prop_assert!(!policy.names(&end) && !policy.names(&deeper));
        }
    }
}
