//! Mailbox providers: by which exchangers their sites are known, where their pace starts and
//! what it never passes, and what their replies mean that nobody else's do. All of it is data,
//! `ops/providers/*.toml`, and part of the program; files of the same names replace it. A file
//! is taken as a whole or not at all: every rule in it has claimed its examples before.

mod book;
mod bounds;
mod file;
mod rule;
mod shipped;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

pub use book::RuleBook;
pub use bounds::{Bound, Bounds, Grade};
pub use file::{FILE_BYTES_MAX, Fault, Faults, File};
pub use rule::Rule;
pub use shipped::shipped_files;

use crate::address::Domain;
use crate::classify::engine::{Asks, RuleSet};
use crate::classify::{Finding, Said, classify, classify_folded, fold};
use crate::route::Pattern;
use crate::site::Site;
use file::Draft;

/// Files of one set: there are some dozens of providers with numbers of their own.
const PROVIDERS_MAX: usize = 1000;

/// One provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name, in lists and in front of its rules.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The exchangers that it is known by.
    pub mx: Vec<Pattern>,
    /// Domains whose mail it takes, for whoever looks it up by one. The relay goes by exchangers.
    pub domains: Vec<Domain>,
    /// Its numbers.
    pub bounds: Bounds,
    /// The provider whose rules follow on its own.
    pub rules_of: Option<String>,
    /// Its rules and those that follow, in the order of asking.
    pub rules: Vec<Rule>,
    set: RuleSet,
}

/// What an answer means at a provider's site, or where it is nobody's.
#[must_use]
pub fn classify_at(provider: Option<&Provider>, said: &Said<'_>) -> Finding {
    match provider {
        Some(provider) => provider.classify(said),
        None => classify(said),
    }
}

impl Provider {
    /// What an answer of one of its servers means: by its own rules, else by the general ones.
    #[must_use]
    pub fn classify(&self, said: &Said<'_>) -> Finding {
        let folded = fold(said.text);
        match self.set.first(said, &folded) {
            Some(rule) => self.rules[rule].finding(said, &folded),
            None => classify_folded(said, &folded),
        }
    }

    /// The rule that claims an answer, if one of its own does.
    #[must_use]
    pub fn rule(&self, said: &Said<'_>) -> Option<&Rule> {
        self.set.first(said, &fold(said.text)).map(|rule| &self.rules[rule])
    }
}

/// All providers that are known.
#[derive(Debug, Default)]
pub struct Providers {
    /// By name.
    all: BTreeMap<String, Arc<Provider>>,
    exact: HashMap<String, Arc<Provider>>,
    below: HashMap<String, Arc<Provider>>,
}

impl Providers {
    /// Those that are part of the program.
    #[must_use]
    pub fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Providers>> = LazyLock::new(|| {
            // The files are part of the program and a test reads them: this cannot fail in the field.
            Arc::new(Providers::new(&shipped_files()).expect("the shipped providers are valid"))
        });
        SHIPPED.clone()
    }

    /// Those that are part of the program, with these files over them: one of the same name replaces
    /// a shipped one, any other is added.
    ///
    /// # Errors
    /// Everything that is wrong with the files, or between them.
    pub fn over_shipped(files: &[File]) -> Result<Self, Faults> {
        let mut all: BTreeMap<String, File> = BTreeMap::new();
        for file in shipped_files().into_iter().chain(files.iter().cloned()) {
            all.insert(file.name.clone(), file);
        }
        Self::new(&all.into_values().collect::<Vec<_>>())
    }

    /// These and no others.
    ///
    /// # Errors
    /// Everything that is wrong with the files, or between them.
    pub fn new(files: &[File]) -> Result<Self, Faults> {
        if files.len() > PROVIDERS_MAX {
            let what =
                format!("{} files are more than the {PROVIDERS_MAX} there may be", files.len());
            return Err(Faults(vec![Fault::of(&files[0].name, what)]));
        }
        let (mut drafts, mut faults) = (BTreeMap::new(), Vec::new());
        for file in files {
            match file::read(file) {
                Ok(Some(draft)) => {
                    drafts.insert(draft.name.clone(), draft);
                }
                Ok(None) => {}
                Err(wrong) => faults.extend(wrong),
            }
        }
        // A file that does not read would make every mention of it wrong as well.
        if faults.is_empty() {
            faults.extend(between(&drafts));
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let mut providers = Self::default();
        for draft in drafts.values() {
            match ready(draft, &drafts) {
                Ok(provider) => providers.insert(provider),
                Err(why) => faults.push(Fault::of(&draft.name, why)),
            }
        }
        if faults.is_empty() { Ok(providers) } else { Err(Faults(faults)) }
    }

    fn insert(&mut self, provider: Provider) {
        let provider = Arc::new(provider);
        for pattern in &provider.mx {
            let (names, name) = match pattern {
                Pattern::Exact(host) => (&mut self.exact, host),
                Pattern::Below(parent) => (&mut self.below, parent),
                Pattern::Any => continue,
            };
            names.insert(name.as_str().to_owned(), provider.clone());
        }
        self.all.insert(provider.name.clone(), provider);
    }

    /// Every provider, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.all.values()
    }

    /// The provider of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.all.get(name)
    }

    /// The provider that a host is an exchanger of: named as a whole, or else by the longest end.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Arc<Provider>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let ends = || std::iter::successors(host.split_once('.'), |(_, end)| end.split_once('.'));
        self.exact.get(&host).or_else(|| ends().find_map(|(_, end)| self.below.get(end)))
    }

    /// The provider of a site: the one that its exchangers are of. Strangers among them do not count;
    /// of several providers' exchangers nobody's numbers hold.
    #[must_use]
    pub fn of_hosts<S: AsRef<str>>(&self, hosts: &[S]) -> Option<&Arc<Provider>> {
        let mut theirs = hosts.iter().filter_map(|host| self.of_host(host.as_ref()));
        let first = theirs.next()?;
        theirs.all(|other| Arc::ptr_eq(first, other)).then_some(first)
    }

    /// The provider that somebody means: by its name, a domain of its, an exchanger or a site.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&Arc<Provider>> {
        let text = text.trim();
        let named = || {
            let domain: Domain = text.parse().ok()?;
            self.iter().find(|provider| provider.domains.contains(&domain))
        };
        self.get(text).or_else(named).or_else(|| self.of_hosts(&Site::from_name(text).hosts()))
    }
}

/// What is wrong between files that are good by themselves.
fn between(drafts: &BTreeMap<String, Draft>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut claimed: BTreeMap<String, &str> = BTreeMap::new();
    for draft in drafts.values() {
        let mx = draft.mx.iter().map(|pattern| format!("mx {:?}", pattern.to_string()));
        let domains = draft.domains.iter().map(|domain| format!("domain {:?}", domain.as_str()));
        for name in mx.chain(domains) {
            match claimed.get(&name) {
                Some(other) => faults.push(Fault::of(
                    &draft.name,
                    format!("{name} is claimed by {other}.toml, too: take it out of one of them"),
                )),
                None => {
                    claimed.insert(name, &draft.name);
                }
            }
        }
        let Some(of) = &draft.rules_of else { continue };
        match drafts.get(of) {
            None => faults.push(Fault::of(
                &draft.name,
                format!("rules_of names an unknown provider, {of:?}: there is no {of}.toml"),
            )),
            Some(other) if other.rules_of.is_some() => faults.push(Fault::of(
                &draft.name,
                format!("rules_of names {of:?}, whose rules follow on another's: name that one"),
            )),
            Some(other) if other.rules.is_empty() => faults.push(Fault::of(
                &draft.name,
                format!("rules_of names {of:?}, which has no rules: take it away"),
            )),
            Some(_) => {}
        }
    }
    faults
}

fn ready(draft: &Draft, drafts: &BTreeMap<String, Draft>) -> Result<Provider, String> {
    let others = draft.rules_of.as_ref().and_then(|of| drafts.get(of));
    let all = || {
        let theirs = others.iter().flat_map(|other| other.rules.iter().map(|r| (r, &other.name)));
        draft.rules.iter().map(|rule| (rule, &draft.name)).chain(theirs)
    };
    let asks: Vec<Asks> = all().map(|(rule, _)| rule.asks()).collect();
    Ok(Provider {
        name: draft.name.clone(),
        title: draft.title.clone(),
        mx: draft.mx.clone(),
        domains: draft.domains.clone(),
        bounds: draft.bounds.clone(),
        rules_of: draft.rules_of.clone(),
        rules: all().map(|(rule, provider)| rule.ready(provider)).collect(),
        set: RuleSet::new(&asks)?,
    })
}
