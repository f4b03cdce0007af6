//! The whole configuration: the sections of all services in one tree. A section is
//! declared beside what it configures; to add one, add its field to `Config`.

mod example;
mod layer;
mod load;
mod problem;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use example::example;
pub use layer::VARIABLE_PREFIX;
pub use load::{Sources, load};
pub use problem::{Problem, Problems};

use crate::{redis_child, run, secrets, watch, wiring};

/// Every setting of `malleposte`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder that holds everything this machine must not lose: the private Redis,
    /// the history, the keys. Made at the first start, readable by its owner only. Under
    /// systemd the default is its StateDirectory=.
    pub data_dir: PathBuf,
    /// Who is told when something is wrong.
    pub alarms: watch::AlarmsConfig,
    /// The HTTP API that campaigns come in through.
    pub api: campaign_api::Config,
    /// The bounce processor, which mail that comes back is delivered to.
    pub bounces: bounce_processor::Config,
    /// The console, which the API serves.
    pub console: console::Config,
    /// The resolver that all services share.
    pub dns: dns::Config,
    /// When an address that fails is not written to any more.
    pub hygiene: mail::hygiene::Policy,
    /// The history.
    pub ledger: ledger::Config,
    /// What is told, and how.
    pub log: run::logging::Config,
    /// Numbers for Prometheus.
    pub metrics: run::metrics::Config,
    /// The relay: how mail goes out.
    pub relay: relay::Config,
    /// The private Redis that `malleposte up` starts for itself.
    pub redis: redis_child::Config,
    /// Keys that return paths and links are signed with.
    pub secrets: secrets::Config,
    /// The queue.
    pub store: store::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("malleposte-data"),
            alarms: Default::default(),
            api: Default::default(),
            bounces: Default::default(),
            console: Default::default(),
            dns: Default::default(),
            hygiene: Default::default(),
            ledger: Default::default(),
            log: Default::default(),
            metrics: Default::default(),
            redis: Default::default(),
            relay: Default::default(),
            secrets: Default::default(),
            store: Default::default(),
        }
    }
}

impl Config {
    /// Reads the settings and looks at everything that can be judged without opening a
    /// port or starting a process.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn read(sources: &Sources) -> Result<Self, Problems> {
        let mut config: Self = load(sources)?;
        let mut problems = Vec::new();
        let mut judge = |section: &str, verdict: Result<(), String>| {
            let what = |e| format!("{section}: {e}");
            problems
                .extend(verdict.err().map(|e| Problem { place: sources.place(), what: what(e) }));
        };
        judge("log", config.log.check());
        judge("alarms", config.alarms.check());
        judge("api", config.api.check().map_err(|e| e.to_string()));
        judge("console", config.console.check());
        judge("dns", config.dns.check().map_err(|e| e.to_string()));
        judge("hygiene", config.hygiene.check());
        judge("relay", config.relay.check().map_err(|e| e.to_string()));
        judge("store", config.store.check().map_err(|e| e.to_string()));
        judge("secrets", config.secrets.check());
        if config.data_dir == Self::default().data_dir
            && let Some(state) = sources.variable("STATE_DIRECTORY")
        {
            // systemd names several, separated by colons; ours is the first.
            config.data_dir = state.split(':').next().unwrap_or_default().into();
        }
        config.follow();
        judge("bounces", config.bounces.check().map_err(|e| e.to_string()));
        judge("ledger", config.ledger.check().map_err(|e| e.to_string()));
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// What follows from other settings where it was not given.
    pub fn follow(&mut self) {
        if self.ledger.folder.as_os_str().is_empty() {
            self.ledger.folder = self.data_dir.join("ledger");
        }
        if self.relay.public_url.is_empty() {
            self.relay.public_url.clone_from(&self.api.public_url);
        }
        if self.relay.return_path_domain.is_empty() {
            self.relay.return_path_domain = made_up_domain();
        }
        if self.bounces.domains.is_empty() {
            self.bounces.domains.push(self.relay.return_path_domain.clone());
        }
        if self.bounces.mailbox.as_os_str().is_empty() {
            self.bounces.mailbox = self.data_dir.join("mailbox");
        }
    }

    /// Said when a relay starts, too: mail without a way back is seldom meant.
    #[must_use]
    pub fn return_path_warning(&self) -> Option<String> {
        let domain = &self.relay.return_path_domain;
        (*domain == made_up_domain()).then(|| {
            format!(
                "relay.return_path_domain is not set: mail goes out with return paths at {domain}, \
                 to which nothing can return"
            )
        })
    }

    /// What is allowed and probably not meant, in sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.metrics.warning());
        warnings.extend(self.redis.warning());
        warnings.extend(secrets::warning(&self.data_dir));
        warnings.extend(self.return_path_warning());
        warnings.extend(self.relay.check_addresses().err().map(|e| e.to_string()));
        warnings
    }
}

/// What stands in return paths until a domain is configured: good for a trial on one host.
fn made_up_domain() -> String {
    format!("returns.{}", wiring::host_name())
}

impl Sources {
    /// Where settings stand that only make no sense together.
    fn place(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        if names.is_empty() { "configuration".to_owned() } else { names.join(", ") }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The files to read when none is named: the one here, or else the system's, or none.
#[must_use]
pub fn default_files() -> Vec<PathBuf> {
    let known = ["malleposte.toml", "/etc/malleposte/malleposte.toml"];
    known.into_iter().map(Path::new).find(|f| f.exists()).map(Path::to_owned).into_iter().collect()
}
