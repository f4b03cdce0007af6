//! docker-compose.yml as data: what each service is, in the words of the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ops::config::{Config, Sources};
use serde_json::Value;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub(crate) fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub(crate) struct Compose {
    pub whole: Value,
    pub services: BTreeMap<String, Service>,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Host (or volume) to container.
    pub mounts: Vec<(String, String)>,
    pub secrets: Vec<String>,
    pub networks: Vec<String>,
    pub address: String,
    pub ports: Vec<String>,
    pub health: Vec<String>,
    pub depends_on: BTreeMap<String, String>,
    pub stop_grace: Option<Duration>,
}

impl Compose {
    pub(crate) fn read() -> Self {
        let whole = yaml("docker-compose.yml");
        let services = whole["services"].as_object().unwrap();
        let services = services.iter().map(|(n, v)| (n.clone(), Service::new(n, v))).collect();
        Self { whole, services }
    }

    /// Those that run our program.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Service> {
        self.services.values().filter(|s| s.is_ours())
    }

    pub(crate) fn declares(&self, kind: &str, name: &str) -> bool {
        self.whole[kind].as_object().is_some_and(|all| all.contains_key(name))
    }
}

impl Service {
    fn new(name: &str, value: &Value) -> Self {
        let known = [
            "image",
            "build",
            "restart",
            "read_only",
            "cap_drop",
            "security_opt",
            "secrets",
            "environment",
            "stop_grace_period",
            "depends_on",
            "user",
            "command",
            "healthcheck",
            "volumes",
            "networks",
            "hostname",
            "ports",
        ];
        for key in value.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "{name}: {key:?} is read by no test here");
        }
        let pair = |text: &String| {
            let mut parts = text.split(':').map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap_or_else(|| panic!("{name}: {text}")))
        };
        let words = |v: &Value| v.as_str().unwrap_or_else(|| panic!("{name}: {v}")).to_owned();
        let networks = value["networks"].as_object().unwrap();
        Self {
            name: name.to_owned(),
            image: words(&value["image"]),
            command: list(&value["command"]),
            environment: map(&value["environment"], words),
            mounts: list(&value["volumes"]).iter().map(pair).collect(),
            secrets: list(&value["secrets"]),
            networks: networks.keys().cloned().collect(),
            address: words(&networks["inside"]["ipv4_address"]),
            ports: list(&value["ports"]),
            health: list(&value["healthcheck"]["test"]),
            depends_on: map(&value["depends_on"], |v| words(&v["condition"])),
            stop_grace: value["stop_grace_period"]
                .as_str()
                .map(|text| Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())),
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.image.starts_with("malleposte:")
    }

    /// The file of the host behind a path in the container.
    pub(crate) fn on_host(&self, inside: &str) -> Option<PathBuf> {
        self.mounts.iter().find_map(|(host, at)| {
            let rest = inside.strip_prefix(at.as_str())?;
            let is_bind = host.starts_with("./");
            (is_bind && (rest.is_empty() || rest.starts_with('/')))
                .then(|| root().join(format!("{host}{rest}")))
        })
    }

    /// The files that its command reads settings from, as the container knows them.
    pub(crate) fn config_files(&self) -> Vec<String> {
        let mut words = self.command.iter();
        let mut files = Vec::new();
        while let Some(word) = words.next() {
            if word == "--config" {
                files.extend(words.next().cloned());
            }
        }
        if files.is_empty() { vec!["/etc/malleposte/malleposte.toml".into()] } else { files }
    }

    /// Its settings by the real loader. The secrets are those of a folder that stands for
    /// /run/secrets, and only those that the service is given are there.
    pub(crate) fn config(&self, secrets: &Path) -> Config {
        let given = tempfile::tempdir().unwrap();
        for secret in &self.secrets {
            std::fs::copy(secrets.join(secret), given.path().join(secret)).unwrap();
        }
        let files = self.config_files().into_iter().enumerate().map(|(i, inside)| {
            let host = self.on_host(&inside);
            let host = host.unwrap_or_else(|| panic!("{}: {inside} is not mounted", self.name));
            let text = std::fs::read_to_string(&host).unwrap();
            let text = text.replace("/run/secrets", given.path().to_str().unwrap());
            let file = given.path().join(format!("{i}.toml"));
            std::fs::write(&file, text).unwrap();
            file
        });
        let sources = Sources {
            files: files.collect(),
            variables: self.environment.clone().into_iter().collect(),
            credentials: None,
        };
        Config::read(&sources).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

fn list(value: &Value) -> Vec<String> {
    let words = value.as_array().map(Vec::as_slice).unwrap_or_default();
    words.iter().map(|w| w.as_str().unwrap_or_else(|| panic!("{w} is no text")).into()).collect()
}

fn map(value: &Value, of: impl Fn(&Value) -> String) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), of(v))).collect()
}

/// Makes the secrets as an operator does.
pub(crate) fn make_secrets(folder: &Path) {
    let script = root().join("ops/deploy/secrets.sh");
    let status = std::process::Command::new(script).arg(folder).status().unwrap();
    assert!(status.success(), "secrets.sh: {status}");
}
