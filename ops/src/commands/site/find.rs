//! Which site somebody means.

use std::collections::BTreeSet;

use anyhow::bail;
use mail::{Domain, Site};

use super::Desk;

/// Sites that are listed for whoever named none of them.
const LISTED_MAX: usize = 20;

impl Desk {
    /// The site of a name: its own, a domain that it serves, or the end of it.
    pub(super) async fn find(&self, text: &str) -> anyhow::Result<Site> {
        let wanted = text.trim().to_lowercase();
        let paces = self.store.paces().await?;
        let known: BTreeSet<Site> = paces.into_iter().map(|(_, site)| site).collect();
        if let Some(site) = known.iter().find(|site| site.as_str() == wanted) {
            return Ok(site.clone());
        }
        let domain = wanted.parse::<Domain>().ok();
        if let (Some(domain), Some(ledger)) = (&domain, &self.ledger)
            && let Some(name) = ledger.site_of(domain)?
        {
            return Ok(Site::from_name(&name));
        }
        let ending: Vec<&Site> = known.iter().filter(|site| is_end(&wanted, site)).collect();
        let ending = if ending.is_empty() { self.of_provider(&wanted, &known) } else { ending };
        match ending[..] {
            [one] => return Ok(one.clone()),
            [] => {}
            _ => bail!("{text:?} may be any of these sites: {}", names(&ending)),
        }
        if let Some(domain) = &domain
            && let Some(site) = self.hand().site_of(domain).await?
        {
            return Ok(site);
        }
        let all: Vec<&Site> = known.iter().collect();
        match all[..] {
            [] => bail!("{text:?} is no site that is known: no mail went anywhere yet"),
            _ => bail!("{text:?} is no site that is known; there are {}", names(&all)),
        }
    }

    fn of_provider<'s>(&self, wanted: &str, known: &'s BTreeSet<Site>) -> Vec<&'s Site> {
        let Some(provider) = self.known.find(wanted) else { return Vec::new() };
        let is_theirs = |site: &&Site| {
            self.known.of_hosts(&site.hosts()).is_some_and(|of| of.name == provider.name)
        };
        known.iter().filter(is_theirs).collect()
    }
}

/// Whether it is the end of a site's name, or of one of its exchangers', from a label on.
fn is_end(wanted: &str, site: &Site) -> bool {
    let ends = |name: &str| {
        let before = name.strip_suffix(wanted);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    !wanted.is_empty() && (ends(site.as_str()) || site.hosts().iter().any(|host| ends(host)))
}

fn names(sites: &[&Site]) -> String {
    let mut names: Vec<&str> = sites.iter().take(LISTED_MAX).map(|site| site.as_str()).collect();
    if sites.len() > LISTED_MAX {
        names.push("…");
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_known_by_the_end_of_its_name_from_a_label_on() {
        let google = Site::from_name("(alt1|gmail-smtp-in).l.google.com");
        for end in ["google.com", "l.google.com", "gmail-smtp-in.l.google.com", "com"] {
            assert!(is_end(end, &google), "{end}");
        }
        for no in ["oogle.com", "gmail.com", "", "l.google.com."] {
            assert!(!is_end(no, &google), "{no}");
        }
    }
}
