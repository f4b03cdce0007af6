//! The roll-up from a set of mail exchangers to a site: the thing that providers'
//! limits belong to. Ten thousand domains hosted by one provider are one site.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of mail exchangers that answers as one. The name is made from the host
/// names: `(alt1|alt2|gmail-smtp-in).l.google.com`, or one host name alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Site(Box<str>);

/// Hosts written out in a site's name; a set with more keeps its first ones and
/// a hash of all, so that the name stays short enough for a key and a label.
const HOSTS_IN_NAME_MAX: usize = 8;

impl Site {
    /// The site of a set of mail exchangers, whatever their order and case.
    /// `hosts` must not be empty; an empty set gives the site `none`.
    #[must_use]
    pub fn of_hosts<S: AsRef<str>>(hosts: &[S]) -> Self {
        let mut hosts: Vec<String> =
            hosts.iter().map(|h| h.as_ref().trim_end_matches('.').to_ascii_lowercase()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        match hosts.as_slice() {
            [] => Self("none".into()),
            [one] => Self(one.as_str().into()),
            many => Self(roll_up(many).into()),
        }
    }

    /// A site by its name, as read back from a record.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(name.into())
    }

    /// Its exchangers, as far as the name tells: those that a long one leaves out are missing.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let inner = self.0.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let Some((heads, tail)) = inner else { return vec![self.0.to_string()] };
        let heads = heads.split('|').filter(|head| !head.starts_with('+'));
        heads.map(|head| format!("{head}{tail}")).collect()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn roll_up(hosts: &[String]) -> String {
    let split: Vec<Vec<&str>> = hosts.iter().map(|h| h.split('.').collect()).collect();
    let shortest = split.iter().map(Vec::len).min().unwrap_or(0);
    let common = (0..shortest)
        .take_while(|i| {
            let label = |labels: &Vec<&str>| labels.iter().rev().nth(*i).map(|l| l.to_string());
            split.iter().all(|labels| label(labels) == label(&split[0]))
        })
        .count();
    // At least one label stays in the head of each name, so that every host shows.
    let common = common.min(shortest.saturating_sub(1));
    let heads: Vec<String> =
        split.iter().map(|labels| labels[..labels.len() - common].join(".")).collect();
    let tail = split[0][split[0].len() - common..].join(".");
    let mut listed = heads.iter().take(HOSTS_IN_NAME_MAX).cloned().collect::<Vec<_>>().join("|");
    if heads.len() > HOSTS_IN_NAME_MAX {
        listed.push_str(&format!("|+{:08x}", crate::id::domain_hash(&hosts.join(" ")) as u32));
    }
    if tail.is_empty() { format!("({listed})") } else { format!("({listed}).{tail}") }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_roll_up_to_one_name() {
        let site = |hosts: &[&str]| Site::of_hosts(hosts).to_string();
        assert_eq!(site(&["MX.example.org."]), "mx.example.org");
        assert_eq!(
            site(&["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"]),
            "(alt1.gmail-smtp-in|gmail-smtp-in).l.google.com"
        );
        assert_eq!(
            site(&["mx1.x.example", "mx0.x.example"]),
            site(&["mx0.x.example.", "MX1.x.example"])
        );
        assert_eq!(site(&["a.example", "b.test"]), "(a.example|b.test)");
        assert_eq!(site(&[]), "none");
    }

    #[test]
    fn a_name_tells_its_hosts() {
        for hosts in
            [&["mx.a.example"][..], &["a.x.example", "b.x.example"], &["a.example", "b.test"]]
        {
            assert_eq!(Site::of_hosts(hosts).hosts(), hosts);
        }
    }

    #[test]
    fn a_hundred_hosts_still_make_a_short_name() {
        let hosts: Vec<String> = (0..100).map(|i| format!("mx{i}.example.org")).collect();
        assert!(Site::of_hosts(&hosts).as_str().len() < 120);
        assert_eq!(Site::of_hosts(&hosts).hosts().len(), HOSTS_IN_NAME_MAX);
        assert_ne!(Site::of_hosts(&hosts), Site::of_hosts(&hosts[1..]));
    }
}
