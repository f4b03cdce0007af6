//! The retry schedule of a recipient: the common one, with what its tenant and its site
//! want otherwise. Every combination that the configuration can make is checked at start.

use mail::retry::{Config as Retry, Schedule};

use crate::config::{Config, ConfigError};

/// The schedules that the configuration describes.
#[derive(Debug)]
pub(crate) struct Schedules {
    config: Config,
}

impl Schedules {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let check = |what: String, retry: &Retry| {
            Schedule::new(retry).map_err(|why| ConfigError::Retry(what, why))
        };
        check("relay.retry".into(), &config.retry)?;
        for (name, site) in &config.sites {
            if site.retry.lifetime_s.is_some() {
                return Err(ConfigError::Setting(format!(
                    "relay.sites.{name:?}.retry.lifetime_s: a lifetime is the tenant's or the campaign's, not the site's; remove it"
                )));
            }
            check(format!("relay.sites.{name:?}.retry"), &config.retry.with(&site.retry))?;
        }
        for (tenant, rules) in &config.tenants {
            let theirs = config.retry.with(&rules.retry);
            check(format!("relay.tenants.{tenant:?}.retry"), &theirs)?;
            for (name, site) in &config.sites {
                let what =
                    format!("relay.tenants.{tenant:?}.retry with relay.sites.{name:?}.retry");
                check(what, &theirs.with(&site.retry))?;
            }
        }
        Ok(Self { config: config.clone() })
    }

    /// The schedule of a tenant's recipient at a site; an empty site is not known (yet).
    pub(crate) fn of(&self, tenant: &str, site: &str) -> Schedule {
        let mut retry = self.config.retry.clone();
        if let Some(theirs) = self.config.tenants.get(tenant) {
            retry = retry.with(&theirs.retry);
        }
        if let Some(there) = self.config.site_rules(site) {
            retry = retry.with(&there.retry);
        }
        Schedule::new(&retry).expect("every combination was checked")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mail::Timestamp;
    use mail::retry::{Hint, Next, Overrides};

    use super::*;
    use crate::config::{SiteRules, Tenant};

    fn config() -> Config {
        let mut config = Config::default();
        let retry = Overrides { lifetime_s: Some(3600), first_s: Some(20), ..Overrides::default() };
        config.tenants.insert("acme".into(), Tenant { retry, ..Tenant::default() });
        let slow = Overrides { first_s: Some(900), ..Overrides::default() };
        config.sites.insert("google.com".into(), SiteRules { retry: slow, ..SiteRules::default() });
        let slower = Overrides { first_s: Some(1800), ..Overrides::default() };
        config
            .sites
            .insert("l.google.com".into(), SiteRules { retry: slower, ..SiteRules::default() });
        config
    }

    #[test]
    fn the_site_overrides_the_tenant_and_the_longest_end_of_its_name_decides() {
        let schedules = Schedules::new(&config()).expect("good");
        let t0 = Timestamp(1_700_000_000_000);
        let first = |tenant: &str, site: &str| match schedules.of(tenant, site).next(
            1,
            t0,
            t0,
            0,
            Hint::None,
        ) {
            Next::At(at) => at.since(t0).as_secs(),
            Next::GiveUp => panic!("given up"),
        };
        let about = |seconds: u64, is: u64| (seconds..=seconds * 5 / 4).contains(&is);
        assert!(about(60, first("other", "mx.example.org")));
        assert!(about(20, first("acme", "")));
        assert!(about(900, first("acme", "mx.google.com")));
        assert!(about(1800, first("acme", "(alt1|alt2).l.google.com")));
        assert!(about(60, first("other", "notgoogle.com")));
        assert_eq!(schedules.of("acme", "").ends(t0), t0 + Duration::from_secs(3600));
    }

    #[test]
    fn a_combination_that_cannot_work_is_refused_by_its_name() {
        let mut bad = config();
        bad.sites.get_mut("google.com").expect("there").retry.first_s = Some(9000);
        let why = Schedules::new(&bad).expect_err("refused").to_string();
        assert!(why.starts_with("relay.sites.\"google.com\".retry: max_s 3600 is below"), "{why}");
        let mut bad = config();
        bad.sites.get_mut("google.com").expect("there").retry.lifetime_s = Some(60);
        let why = Schedules::new(&bad).expect_err("refused").to_string();
        assert!(why.contains("a lifetime is the tenant's"), "{why}");
    }
}
