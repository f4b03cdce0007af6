//! The platform's keys: made at the first start, kept in the data folder or given by the
//! configuration, and never used themselves: each purpose gets a key derived from them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Separates our derivations from those of any other program that is given the same key.
const SALT: &[u8] = b"malleposte platform key v1";

/// Keys that return paths and links are signed with.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The platform's keys, each `id:hex`: a letter or digit, a colon, 64 hexadecimal
    /// digits (`openssl rand -hex 32`). The first one signs, all of them verify: to
    /// rotate, put a new one in front, and drop the last one when no mail from its time
    /// can come back. All machines of a platform need the same list. When empty, a key is
    /// made at the first start and kept in `secrets/platform.key` of the data folder.
    #[schemars(extend("writeOnly" = true))]
    pub platform: Vec<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} platform keys", self.platform.len())
    }
}

impl Config {
    /// Whether the keys can be used.
    ///
    /// # Errors
    /// The first one that cannot, without showing it.
    pub fn check(&self) -> Result<(), String> {
        self.parse().map(|_| ()).map_err(|e| format!("`platform`: {e}"))
    }

    /// The keys that the configuration itself holds.
    ///
    /// # Errors
    /// A key that is not `id:hex`, or an id used twice.
    pub fn parse(&self) -> Result<Vec<(char, [u8; 32])>, String> {
        parse_keys(self.platform.iter().map(String::as_str))
    }
}

/// The platform's keys. The first one is active.
#[derive(Clone)]
pub struct Secrets {
    /// Each with the one-letter id that it is recognised by.
    pub keys: Vec<(char, [u8; 32])>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Secrets {
    /// The keys of the configuration, or else those of the data folder, made now if
    /// this is its first start.
    ///
    /// # Errors
    /// A key that cannot be read, parsed or written. A damaged key file is never
    /// replaced: mail that is on its way was signed with it.
    pub fn open(config: &Config, data_dir: &Path) -> anyhow::Result<Self> {
        let keys = config.parse().map_err(|e| anyhow!("`secrets.platform`: {e}"))?;
        if !keys.is_empty() {
            return Ok(Self { keys });
        }
        let file = key_file(data_dir);
        if !file.exists() {
            make(&file).with_context(|| format!("cannot make the key {file:?}"))?;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file:?}"))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = parse_keys(lines).map_err(|e| anyhow!("{file:?}: {e}"))?;
        if keys.is_empty() {
            bail!("{file:?} is empty: restore it; without it mail that comes back is nobody's");
        }
        Ok(Self { keys })
    }

    /// As the key file holds them; `id:hex` a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hex = |key: &[u8; 32]| key.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.keys.iter().map(|(id, key)| format!("{id}:{}\n", hex(key))).collect()
    }

    /// Whether the keys of a backup may be put here: there are none yet, or the same ones.
    ///
    /// # Errors
    /// When this machine has others, without showing any.
    pub fn refuse_others(text: &str, config: &Config, data_dir: &Path) -> anyhow::Result<()> {
        let file = key_file(data_dir);
        let (has_own, place) = if config.platform.is_empty() {
            (file.exists(), format!("{file:?}"))
        } else {
            (true, "`secrets.platform`".to_owned())
        };
        if has_own && Self::open(config, data_dir)?.to_text() != text {
            bail!(
                "{place} holds other platform keys than the backup; mail on its way was signed \
                 with the backup's: take these away first"
            );
        }
        Ok(())
    }

    /// Makes the key file out of a backup's keys, where there are none yet.
    ///
    /// # Errors
    /// As [`refuse_others`](Self::refuse_others), or when it cannot be written.
    pub fn give(text: &str, config: &Config, data_dir: &Path) -> anyhow::Result<()> {
        Self::refuse_others(text, config, data_dir)?;
        let file = key_file(data_dir);
        if !config.platform.is_empty() || file.exists() {
            return Ok(());
        }
        let folder = file.parent().context("has no folder")?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut writer = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("cannot make {file:?}"))?;
        writer.write_all(text.as_bytes())?;
        writer.sync_all()?;
        Ok(())
    }

    /// The keys for one purpose, in the same order and under the same ids: `verp`,
    /// `unsubscribe`, `seal`. HKDF-SHA256 (RFC 5869), so that a key that leaks from one
    /// purpose says nothing about another.
    #[must_use]
    pub fn derive(&self, label: &str) -> Vec<(char, [u8; 32])> {
        self.keys.iter().map(|(id, key)| (*id, derive(key, label))).collect()
    }
}

fn derive(key: &[u8; 32], label: &str) -> [u8; 32] {
    let mut derived = [0; 32];
    Salt::new(HKDF_SHA256, SALT)
        .extract(key)
        .expand(&[label.as_bytes()], HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut derived))
        .expect("32 octets are within what HKDF-SHA256 gives");
    derived
}

fn parse_keys<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<(char, [u8; 32])>, String> {
    let mut keys: Vec<(char, [u8; 32])> = Vec::new();
    for (at, text) in texts.enumerate() {
        // Never quoted: it is a secret even when it is mistyped.
        let wrong = || format!("key {} is not `id:` and 64 hexadecimal digits", at + 1);
        let (id, hex) = text.split_once(':').ok_or_else(wrong)?;
        let mut chars = id.chars();
        let (Some(id), None) = (chars.next(), chars.next()) else { return Err(wrong()) };
        // Return paths are compared in lower case, ids with them.
        if !id.is_ascii_digit() && !id.is_ascii_lowercase() {
            return Err(format!("key id {id:?} is not a digit or a lower-case letter"));
        }
        if keys.iter().any(|(other, _)| *other == id) {
            return Err(format!("key id {id:?} is used twice"));
        }
        keys.push((id, from_hex(hex).ok_or_else(wrong)?));
    }
    Ok(keys)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    let mut key = [0; 32];
    if text.len() != 2 * key.len() {
        return None;
    }
    for (octet, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(key)
}

fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets").join("platform.key")
}

/// Written whole and on disk before it gets its name, so that a crash leaves either no
/// key or a good one; linked, not renamed, so that of two first starts one wins.
fn make(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("has no folder")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let hex: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    let draft = folder.join(format!("platform.key.{}", std::process::id()));
    let mut writer =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(writer, "a:{hex}")?;
    writer.sync_all()?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft)?;
    match linked {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e.into()),
        Ok(()) | Err(_) => {}
    }
    File::open(folder)?.sync_all()?;
    tracing::info!(file = %file.display(), "made the platform key: keep a copy of it");
    Ok(())
}

/// Others than the owner can read the key.
pub(crate) fn warning(data_dir: &Path) -> Option<String> {
    let file = key_file(data_dir);
    let mode = fs::metadata(&file).ok()?.permissions().mode();
    let open = mode & 0o077 != 0;
    open.then(|| format!("{}: others can read this key; chmod 600 it", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(c: char) -> String {
        c.to_string().repeat(64)
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_only() {
        let data = tempfile::tempdir().expect("a folder");
        let first = Secrets::open(&Config::default(), data.path()).expect("made");
        let again = Secrets::open(&Config::default(), data.path()).expect("read");
        assert_eq!(first.keys, again.keys);
        assert_ne!(first.keys[0].1, [0; 32]);
        let mode = fs::metadata(key_file(data.path())).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(warning(data.path()), None);
        let left = fs::read_dir(data.path().join("secrets")).expect("a folder").count();
        assert_eq!(left, 1, "the draft is gone");
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_stays_as_it_is() {
        let data = tempfile::tempdir().expect("a folder");
        let file = key_file(data.path());
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        for text in ["", "\n", "a:12", "garbage", &format!("a:{}", "g".repeat(64))] {
            fs::write(&file, text).expect("written");
            let error = Secrets::open(&Config::default(), data.path()).expect_err("refused");
            assert!(error.to_string().contains("platform.key"), "{error}");
            assert_eq!(fs::read_to_string(&file).expect("there"), text);
        }
    }

    #[test]
    fn configured_keys_come_first_and_unusable_ones_are_refused_without_showing_them() {
        let data = tempfile::tempdir().expect("a folder");
        let of =
            |keys: &[&str]| Config { platform: keys.iter().map(|k| (*k).to_owned()).collect() };
        let (b, a) = (format!("b:{}", hex('b')), format!("a:{}", hex('a')));
        let both = Secrets::open(&of(&[&b, &a]), data.path()).expect("good keys");
        assert_eq!(both.keys, [('b', [0xbb; 32]), ('a', [0xaa; 32])]);
        assert!(!key_file(data.path()).exists());
        for bad in [vec![a.as_str(), &a], vec![&hex('a')], vec!["A:00"], vec!["a:5ecret"]] {
            let error = of(&bad).parse().expect_err("refused");
            assert!(!error.contains("aaaa") && !error.contains("5ecret"), "{error}");
        }
    }

    /// Computed with Python's hmac: a change would make every return path in flight invalid.
    #[test]
    fn derived_keys_never_change() {
        let secrets = Secrets { keys: vec![('a', [7; 32]), ('b', [8; 32])] };
        let verp = secrets.derive("verp");
        let shown: String = verp[0].1.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(shown, "c6057f3ff2238b22b2841e09852f343417fdc9b77384beb2c390c1138676a08d");
        assert_eq!((verp[0].0, verp[1].0), ('a', 'b'));
        assert_ne!(verp[0].1, verp[1].1);
        assert_ne!(verp[0].1, secrets.derive("seal")[0].1);
    }
}
