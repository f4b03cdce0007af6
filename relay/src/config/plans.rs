//! Which warm-up plan a source follows at which provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::quota::Follows;
use mail::warmup::{Plan, SHIPPED};

use super::{Config, ConfigError, Source};
use crate::providers::providers;

/// Every provider that is not named.
const ANY: &str = "*";
const NO_PLAN: &str = "none";

/// The plans of one source, by provider.
#[derive(Debug, Default)]
pub(crate) struct Plans(BTreeMap<String, Option<Arc<Follows>>>);

impl Plans {
    /// Those that a source is to follow.
    pub(crate) fn of(config: &Config, source: &Source) -> Result<Self, String> {
        let named = source.warmup.iter().map(|(provider, name)| {
            let plan = match name.as_str() {
                NO_PLAN => None,
                name => {
                    Some(Arc::new(Follows { name: name.to_owned(), plan: plan(config, name)? }))
                }
            };
            Ok((provider.clone(), plan))
        });
        let plans: Result<_, String> = named.collect();
        plans.map(Self).map_err(|why| format!("relay.sources: {:?}: warmup: {why}", source.name))
    }

    /// The plan at a provider, or at a site that is nobody's.
    pub(crate) fn at(&self, provider: Option<&str>) -> Option<&Arc<Follows>> {
        let named = provider.and_then(|provider| self.0.get(provider));
        named.or_else(|| self.0.get(ANY))?.as_ref()
    }
}

/// Every plan that a source may follow, by name: the operator's, and those that are part of the
/// program. The configuration has been checked.
#[must_use]
pub fn warmup_plans(config: &Config) -> Vec<(String, Plan)> {
    let named = |name: &str| Some((name.to_owned(), plan(config, name).ok()?));
    names(config).filter_map(named).collect()
}

/// The names of plans, the operator's first; one of his may stand in place of a shipped one.
fn names(config: &Config) -> impl Iterator<Item = &str> {
    let shipped = SHIPPED.iter().map(|(name, _)| *name);
    let others = shipped.filter(|name| !config.warmup.contains_key(*name));
    config.warmup.keys().map(String::as_str).chain(others)
}

/// A plan by its name: one of the operator's, or one that is part of the program.
fn plan(config: &Config, name: &str) -> Result<Plan, String> {
    if let Some(written) = config.warmup.get(name) {
        return Plan::new(written).map_err(|why| format!("relay.warmup.{name}: {why}"));
    }
    match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => Plan::parse(text).map_err(|why| why.to_string()),
        None => {
            let known: Vec<&str> = names(config).chain([NO_PLAN]).collect();
            Err(format!("there is no plan {name:?}: write one of {}", known.join(", ")))
        }
    }
}

impl Config {
    /// Every plan, whether it is followed or not, and every provider that one is for.
    pub(super) fn check_warmup(&self) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError::Setting(what));
        for name in self.warmup.keys() {
            plan(self, name).map_err(ConfigError::Setting)?;
        }
        for source in &self.sources {
            Plans::of(self, source).map_err(ConfigError::Setting)?;
        }
        let named = |source: &Source| source.warmup.keys().any(|provider| provider != ANY);
        if !self.sources.iter().any(named) {
            return Ok(());
        }
        let known = providers(&self.providers)?;
        for Source { name, warmup, .. } in &self.sources {
            let is_unknown = |at: &&String| *at != ANY && known.get(at).is_none();
            if let Some(stranger) = warmup.keys().find(is_unknown) {
                return refuse(format!(
                    "relay.sources: {name:?}: warmup: there is no provider {stranger:?}: see \
                     `malleposte providers`"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mail::warmup::{Per, Written};

    use super::*;

    fn config(warmup: &[(&str, &str)]) -> Config {
        let own = Written {
            title: "Mine".into(),
            source: String::new(),
            per: Per::Day,
            ceilings: vec![5, 9],
            first: None,
            last: None,
            factor: None,
            days: None,
        };
        let named = warmup.iter().map(|(at, plan)| ((*at).to_owned(), (*plan).to_owned()));
        let source = Source { warmup: named.collect(), ..Source::named("out1") };
        let warmup = BTreeMap::from([("mine".to_owned(), own)]);
        Config { sources: vec![source], warmup, ..Config::default() }
    }

    #[test]
    fn a_provider_that_is_named_has_its_own_plan_and_the_others_that_of_all() {
        let config = config(&[("*", "sendgrid"), ("gmail", "mine"), ("orange", "none")]);
        config.check().expect("good");
        let plans = Plans::of(&config, &config.sources[0]).expect("good");
        let at = |provider| plans.at(provider).map(|follows| follows.name.as_str());
        assert_eq!(at(Some("gmail")), Some("mine"));
        assert_eq!(at(Some("orange")), None);
        assert_eq!((at(Some("yahoo")), at(None)), (Some("sendgrid"), Some("sendgrid")));
        assert!(Plans::default().at(Some("gmail")).is_none());
    }

    #[test]
    fn plans_and_providers_that_nobody_knows_are_refused_with_what_there_is() {
        for (warmup, says) in [
            (("*", "fast"), "there is no plan \"fast\": write one of mine, amazon-ses, sendgrid"),
            (("gmial", "mine"), "there is no provider \"gmial\""),
        ] {
            let why = config(&[warmup]).check().expect_err("refused").to_string();
            assert!(why.contains(says), "{why}");
        }
        let mut falls = config(&[]);
        falls.warmup.get_mut("mine").expect("there").ceilings = vec![5, 4];
        let why = falls.check().expect_err("refused").to_string();
        assert_eq!(why, "relay.warmup.mine: falls from 5 to 4 on day 2");
    }
}
