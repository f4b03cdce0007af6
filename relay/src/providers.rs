//! The providers as this relay knows them: those of the program, and over them the files of a
//! folder that is looked at again and again. What is good is taken while mail goes on; what is not
//! is refused, and what was before stays.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use mail::provider::{FILE_BYTES_MAX, Faults, File, Provider, Providers};
use mail::throttle::Limits;
use store::LearnedBook;

use crate::config::Config;
use crate::meters;
use crate::relay::Relay;

/// Between two looks at the folder. An edit is taken when it has been still for one of them, so
/// that no file is read while it is being written.
const LOOK: Duration = Duration::from_secs(2);
/// Files of a folder: as many as there may be providers.
const FILES_MAX: usize = 1000;
/// Faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 20;

/// Why a folder of providers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// It cannot be read.
    #[error("relay.providers: {}: {why}", .path.display())]
    Unread {
        /// The folder, or the file in it.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// What stands in it is wrong.
    #[error("relay.providers: {}:\n{faults}", .folder.display())]
    Wrong {
        /// The folder.
        folder: PathBuf,
        /// All of it.
        faults: Faults,
    },
}

/// The providers of the program with the files of a folder over them; an empty path is none.
///
/// # Errors
/// When it cannot be read, or anything in it is wrong.
pub fn providers(folder: &Path) -> Result<Arc<Providers>, ProvidersError> {
    if folder.as_os_str().is_empty() {
        return Ok(Providers::shipped());
    }
    let wrong = |faults| ProvidersError::Wrong { folder: folder.to_owned(), faults };
    Providers::over_shipped(&provider_files(folder)?).map(Arc::new).map_err(wrong)
}

/// The files of a folder that are about providers: those that end in `.toml` and do not begin with
/// a dot, as the backups of editors do.
///
/// # Errors
/// When one cannot be read, or there are too many.
pub fn provider_files(folder: &Path) -> Result<Vec<File>, ProvidersError> {
    let unread = |path: &Path, why: String| ProvidersError::Unread { path: path.to_owned(), why };
    let names = names(folder).map_err(|e| unread(folder, format!("cannot be read: {e}")))?;
    if names.len() > FILES_MAX {
        let why = format!("has {} files, more than the {FILES_MAX} there may be", names.len());
        return Err(unread(folder, why));
    }
    let read = |name: OsString| {
        let path = folder.join(&name);
        let text = bounded(&path).map_err(|why| unread(&path, why))?;
        let name = name.to_string_lossy();
        Ok(File { name: name.trim_end_matches(".toml").to_owned(), text })
    };
    names.into_iter().map(read).collect()
}

fn names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".toml") && !text.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn bounded(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if length > FILE_BYTES_MAX as u64 {
        return Err(format!("has {length} octets, more than the {FILE_BYTES_MAX} it may have"));
    }
    std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))
}

/// The providers that hold now.
pub(crate) struct Known {
    now: RwLock<Arc<Providers>>,
    /// The folder as it was just before it was first read.
    first: Look,
    /// What people named of all that no rule knew.
    pub(crate) learned: Arc<LearnedBook>,
}

impl Known {
    /// Reads them for the first time.
    pub(crate) fn open(folder: &Path) -> Result<Self, ProvidersError> {
        let first = look(folder);
        Ok(Self { now: RwLock::new(providers(folder)?), first, learned: Arc::default() })
    }

    /// The provider that these exchangers are of.
    pub(crate) fn of_hosts(&self, hosts: &[Box<str>]) -> Option<Arc<Provider>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).of_hosts(hosts).cloned()
    }

    fn set(&self, providers: Arc<Providers>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = providers;
    }
}

/// The bounds of the pace at a site: those everywhere, made narrower by its provider, and then
/// what the operator says of this site.
pub(crate) fn limits(config: &Config, site: &str, provider: Option<&Provider>) -> Limits {
    let everywhere = &config.pace;
    let theirs = provider.map(|provider| provider.bounds.narrow(everywhere));
    let limits = theirs.unwrap_or_else(|| everywhere.clone());
    match config.site_rules(site) {
        Some(rules) => limits.with(&rules.pace),
        None => limits,
    }
}

/// What a folder looks like from outside: names, times and sizes; `None` when it is not there.
type Look = Option<Vec<(OsString, Option<SystemTime>, u64)>>;

fn look(folder: &Path) -> Look {
    let files = names(folder).ok()?;
    let about = |name: OsString| {
        let about = std::fs::metadata(folder.join(&name)).ok();
        let modified = about.as_ref().and_then(|about| about.modified().ok());
        (name, modified, about.map_or(0, |about| about.len()))
    };
    Some(files.into_iter().map(about).collect())
}

/// Which looks are followed by reading.
struct Watch {
    read: Look,
    last: Look,
}

impl Watch {
    fn new(look: Look) -> Self {
        Self { read: look.clone(), last: look }
    }

    /// Whether the folder is to be read: it is another than was read, and has been still since the
    /// last look.
    fn is_due(&mut self, look: Look) -> bool {
        let is_still = look == self.last;
        self.last = look;
        let is_due = is_still && self.last != self.read;
        if is_due {
            self.read.clone_from(&self.last);
        }
        is_due
    }
}

impl Relay {
    /// Looks at the folder of providers until the relay ends.
    pub(crate) async fn watch_providers(self: Arc<Self>) {
        let folder = self.config.providers.clone();
        if folder.as_os_str().is_empty() {
            return;
        }
        let looking = |folder: PathBuf| tokio::task::spawn_blocking(move || look(&folder));
        meters::providers(false);
        let mut watch = Watch::new(self.providers.first.clone());
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.stopping.cancelled() => return,
            }
            let Ok(look) = looking(folder.clone()).await else { continue };
            if !watch.is_due(look) {
                continue;
            }
            let folder = folder.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || providers(&folder)).await else {
                continue;
            };
            match read {
                Ok(providers) => self.take_providers(providers),
                Err(error) => refuse(&error),
            }
        }
    }

    /// Follows what people name, until the relay ends.
    pub(crate) async fn follow_learned(self: Arc<Self>) {
        tokio::select! {
            () = self.providers.learned.follow(&self.store) => {}
            () = self.stopping.cancelled() => {}
        }
    }

    fn take_providers(&self, providers: Arc<Providers>) {
        meters::providers(false);
        let count = providers.iter().count();
        self.providers.set(providers);
        let sites = self.follow_providers();
        tracing::info!(providers = count, sites, "the providers were read anew");
    }
}

/// What was before stays.
fn refuse(error: &ProvidersError) {
    meters::providers(true);
    match error {
        ProvidersError::Unread { .. } => {
            tracing::error!("{error}; the providers stay as they were");
        }
        ProvidersError::Wrong { folder, faults } => {
            let folder = folder.display();
            for fault in faults.0.iter().take(FAULTS_TOLD_MAX) {
                tracing::error!(%folder, "{fault}");
            }
            let faults = faults.0.len();
            tracing::error!(%folder, faults, "an edit is refused; the providers stay as they were");
        }
    }
}

#[cfg(test)]
mod tests {
    use mail::throttle::Overrides;

    use super::*;
    use crate::config::SiteRules;

    #[test]
    fn what_is_still_being_written_is_not_read_and_what_was_read_is_not_read_again() {
        let look = |len: u64| Some(vec![(OsString::from("a.toml"), None, len)]);
        let mut watch = Watch::new(look(1));
        let looks = [look(1), look(2), look(3), look(3), look(3), None, None, look(1), look(1)];
        let due: Vec<bool> = looks.into_iter().map(|look| watch.is_due(look)).collect();
        assert_eq!(due, [false, false, false, true, false, false, true, false, true]);
    }

    #[test]
    fn the_operators_word_about_a_site_comes_after_the_providers() {
        let mut config = Config::default();
        let shipped = Providers::shipped();
        let orange = shipped.get("orange").expect("shipped");
        let at = |config: &Config, site: &str| {
            let limits = limits(config, site, Some(orange));
            (limits.connections_start, limits.connections_max, limits.messages_per_connection_max)
        };
        assert_eq!(at(&config, "smtp-in.orange.fr"), (2, 50, 100));
        let pace = Overrides { connections_max: Some(1), ..Overrides::default() };
        config.sites.insert("orange.fr".into(), SiteRules { pace, ..SiteRules::default() });
        assert_eq!(at(&config, "smtp-in.orange.fr"), (1, 1, 100));
        let pace = Overrides { connections_start: Some(80), ..Overrides::default() };
        config.sites.insert("orange.fr".into(), SiteRules { pace, ..SiteRules::default() });
        assert_eq!(at(&config, "smtp-in.orange.fr"), (80, 80, 100));
        assert_eq!(at(&config, "smtp-in.example.fr"), (2, 50, 100));
        assert_eq!(limits(&config, "mx.example.org", None), config.pace);
    }

    #[test]
    fn files_replace_add_and_do_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        write("gmail.toml", "title = 'Ours'\nmx = ['*.google.com']");
        write("partner.toml", "title = 'Partner'\nmx = ['mx.partner.example']");
        write("qq.toml", "off = true");
        write(".gmail.toml.swp", "x");
        write(".hidden.toml", "x");
        write("README.md", "x");
        let known = providers(folder.path()).expect("good");
        assert_eq!(known.get("gmail").map(|gmail| gmail.title.as_str()), Some("Ours"));
        assert!(known.of_host("mx.partner.example").is_some() && known.get("qq").is_none());
        assert_eq!(known.iter().count(), Providers::shipped().iter().count());
    }

    #[test]
    fn a_folder_that_cannot_be_read_and_a_file_that_is_wrong_are_told() {
        let why = providers(Path::new("/nowhere/at/all")).expect_err("refused").to_string();
        assert!(
            why.starts_with("relay.providers: /nowhere/at/all: cannot be read: No such"),
            "{why}"
        );
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.toml"), [0xff, 0xfe]).expect("written");
        let why = providers(folder.path()).expect_err("refused").to_string();
        assert!(
            why.contains("a.toml: cannot be read: stream did not contain valid UTF-8"),
            "{why}"
        );
        std::fs::write(folder.path().join("a.toml"), "title = 'A'\nmx = []").expect("written");
        let why = providers(folder.path()).expect_err("refused").to_string();
        assert!(why.contains("\na.toml: names no exchangers: mx = [\"*.example.net\"]"), "{why}");
        std::fs::write(folder.path().join("a.toml"), "#".repeat(FILE_BYTES_MAX + 1))
            .expect("written");
        let why = providers(folder.path()).expect_err("refused").to_string();
        assert!(why.contains("a.toml: has 262145 octets, more than the 262144"), "{why}");
    }
}
