//! From layers to checked values: defaults, then files in their order, then systemd's
//! credentials, then variables. Everything wrong is found in one go.

use std::path::PathBuf;

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::layer::{Layer, find, remove};
use super::problem::{Problem, Problems, quoted};
use super::schema::{self, Node};

/// More wrong values than this in one configuration are told after the first are mended.
const WRONG_VALUES_MAX: usize = 100;

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// TOML files; a later one overrides an earlier one.
    pub files: Vec<PathBuf>,
    /// Environment variables, ours and others.
    pub variables: Vec<(String, String)>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Sources {
    /// These files together with the variables of this process.
    #[must_use]
    pub fn of_process(files: Vec<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            files,
            variables: std::env::vars_os().filter_map(text).collect(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

/// The settings that these sources come to.
///
/// # Errors
/// Everything that is wrong with them: unreadable files, unknown keys, wrong values.
pub fn load<C>(sources: &Sources) -> Result<C, Problems>
where
    C: Default + Serialize + DeserializeOwned + JsonSchema,
{
    let schema = schema::of::<C>();
    let root = Node::root(&schema);
    let (mut layers, mut problems) = read_layers(sources, root);
    for layer in &mut layers {
        problems.extend(layer.refuse_unknown(root));
        problems.extend(layer.read_secret_files(root));
    }
    match extract::<C>(layers, root, &mut problems) {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(Problems(problems)),
    }
}

fn read_layers(sources: &Sources, root: Node<'_>) -> (Vec<Layer>, Vec<Problem>) {
    let files = sources.files.iter().map(|file| Layer::from_file(file));
    let credentials = sources.credentials.iter().map(|dir| Layer::from_credentials(dir, root));
    let (mut layers, mut problems) = (Vec::new(), Vec::new());
    for read in files.chain(credentials) {
        match read {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    layers.push(Layer::from_variables(&sources.variables, root));
    (layers, problems)
}

/// serde stops at the first wrong value. It is noted and taken out, so that the default
/// stands in its place and the next one shows.
fn extract<C>(mut layers: Vec<Layer>, root: Node<'_>, problems: &mut Vec<Problem>) -> Option<C>
where
    C: Default + Serialize + DeserializeOwned,
{
    for _ in 0..WRONG_VALUES_MAX {
        let base = Figment::from(Serialized::defaults(C::default()));
        let all = layers.iter().fold(base, |figment, layer| figment.merge(layer));
        let error = match all.extract::<C>() {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        // The error may point into a list or a value that is replaced as a whole.
        let wrong = (1..=error.path.len()).rev().find_map(|n| {
            let path = &error.path[..n];
            layers.iter_mut().rev().find_map(|layer| {
                find(&layer.dict, path)?;
                let removed = remove(&mut layer.dict, path)?;
                Some((layer.source.place(path), path.to_vec(), removed))
            })
        });
        match wrong {
            Some((place, path, value)) => {
                let node = root.at(&path);
                let hidden = root.hides(&path);
                let shown =
                    if hidden { "(a secret, not shown)".to_owned() } else { quoted(&value) };
                let reason = reason(&error.kind, node);
                let what = format!("`{} = {shown}`: {reason}", path.join("."));
                problems.push(Problem::new(place, what));
            }
            None => {
                let key = error.path.join(".");
                problems.push(Problem::new(key, reason(&error.kind, None)));
                return None;
            }
        }
    }
    None
}

/// serde's complaint, less the value, which stands beside it already.
fn reason(kind: &Kind, node: Option<Node<'_>>) -> String {
    let choices = node.map(Node::choices).unwrap_or_default();
    if !choices.is_empty() {
        let words: Vec<String> = choices.iter().map(|word| format!("{word:?}")).collect();
        return format!("expected one of {}", words.join(", "));
    }
    match kind {
        Kind::InvalidType(_, expected)
        | Kind::InvalidValue(_, expected)
        | Kind::InvalidLength(_, expected) => format!("expected {expected}"),
        Kind::UnknownVariant(_, expected) => format!("expected one of {}", expected.join(", ")),
        Kind::Message(text) => text.clone(),
        Kind::UnknownField(..)
        | Kind::MissingField(..)
        | Kind::DuplicateField(..)
        | Kind::ISizeOutOfRange(..)
        | Kind::USizeOutOfRange(..)
        | Kind::Unsupported(..)
        | Kind::UnsupportedKey(..) => kind.to_string(),
    }
}
