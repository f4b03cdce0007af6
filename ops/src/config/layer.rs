//! One layer of settings: a file, the environment, or systemd's credentials. A layer
//! knows where each of its values came from. Merging and typing live in `load`.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::problem::{Problem, did_you_mean};
use super::schema::{Node, Path, Shape};

/// What our variables begin with; `__` then separates the parts of a key.
pub const VARIABLE_PREFIX: &str = "MALLEPOSTE_";

/// A configuration file larger than this was named by mistake.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A secret is a line or a few; more is another file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub(super) enum Source {
    File(PathBuf),
    Environment,
    Credentials(PathBuf),
}

impl Source {
    /// Where a key of this source stands.
    pub(super) fn place(&self, path: &[String]) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Environment => {
                format!("{VARIABLE_PREFIX}{}", path.join("__").to_ascii_uppercase())
            }
            Self::Credentials(dir) => dir.join(path.join(".")).display().to_string(),
        }
    }

    /// What a relative path in this source is relative to.
    fn base(&self) -> &FilePath {
        match self {
            Self::File(file) => file.parent().unwrap_or(FilePath::new("")),
            Self::Environment => FilePath::new(""),
            Self::Credentials(dir) => dir,
        }
    }
}

pub(super) struct Layer {
    pub(super) source: Source,
    pub(super) dict: Dict,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.place(&[]))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    pub(super) fn from_file(file: &FilePath) -> Result<Self, Problem> {
        let text =
            read_bounded(file, FILE_BYTES_MAX).map_err(|e| Problem::new(file.display(), e))?;
        let dict = Toml::from_str(&text)
            .map_err(|e: <Toml as Format>::Error| Problem::new(file.display(), syntax(&e)))?;
        Ok(Self { source: Source::File(file.to_owned()), dict })
    }

    /// The variables that are ours. Text becomes what the declaration asks for: a key made
    /// of digits stays text, `a,b` becomes a list where a list is wanted.
    pub(super) fn from_variables(variables: &[(String, String)], root: Node<'_>) -> Self {
        let mut dict = Dict::new();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let path: Path = rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            let node = root.at(&path);
            insert(&mut dict, &path, from_text(text, node));
        }
        Self { source: Source::Environment, dict }
    }

    /// The files of `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`) that bear the
    /// full name of a secret: `secrets.platform`. Others there belong to someone else.
    pub(super) fn from_credentials(dir: &FilePath, root: Node<'_>) -> Result<Self, Problem> {
        let mut dict = Dict::new();
        for (path, node) in root.leaves().into_iter().filter(|(path, _)| root.hides(path)) {
            let file = dir.join(path.join("."));
            if file.exists() {
                let text = read_bounded(&file, SECRET_BYTES_MAX)
                    .map_err(|e| Problem::new(file.display(), e))?;
                insert(&mut dict, &path, secret_value(&text, node));
            }
        }
        Ok(Self { source: Source::Credentials(dir.to_owned()), dict })
    }

    /// Puts the contents of each `x_file` in the place of the secret `x`.
    pub(super) fn read_secret_files(&mut self, root: Node<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, stem) in secret_files(&self.dict, root) {
            let Some(value) = remove(&mut self.dict, &path) else { continue };
            let place = self.source.place(&path);
            match self.secret_from(&value, &stem, root) {
                Ok(Some(secret)) => insert(&mut self.dict, &stem, secret),
                Ok(None) => {}
                Err(what) => {
                    problems.push(Problem::new(place, format!("`{}`: {what}", path.join("."))))
                }
            }
        }
        problems
    }

    fn secret_from(
        &self,
        value: &Value,
        stem: &[String],
        root: Node<'_>,
    ) -> Result<Option<Value>, String> {
        let named = value.as_str().ok_or("takes the path of a file, in quotes")?;
        if named.is_empty() {
            return Ok(None);
        }
        if find(&self.dict, stem).is_some_and(|value| !is_empty(value)) {
            return Err(format!("`{}` is set here too; keep one of them", stem.join(".")));
        }
        let file = self.source.base().join(named);
        let text = read_bounded(&file, SECRET_BYTES_MAX).map_err(|e| format!("{named:?}: {e}"))?;
        let node = root.at(stem).ok_or("is not declared")?;
        Ok(Some(secret_value(&text, node)))
    }

    /// Takes out every key that nobody declared, and says so.
    pub(super) fn refuse_unknown(&mut self, root: Node<'_>) -> Vec<Problem> {
        let known: Vec<String> = root.leaves().iter().map(|(path, _)| path.join(".")).collect();
        let mut unknown = Vec::new();
        collect_unknown(&self.dict, root, &mut Vec::new(), &mut unknown);
        let mut problems = Vec::new();
        for (path, siblings) in unknown {
            remove(&mut self.dict, &path);
            let key = path.join(".");
            let all: Vec<String> = siblings.into_iter().chain(known.iter().cloned()).collect();
            let what = format!("unknown key `{key}`{}", did_you_mean(&key, &all));
            problems.push(Problem::new(self.source.place(&path), what));
        }
        problems
    }
}

/// What the example file shows for a secret that is not set.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(_, text) => text.is_empty(),
        Value::Array(_, items) => items.is_empty(),
        _ => false,
    }
}

/// The parser's message on one line.
fn syntax(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    format!("is not TOML: {}", lines.collect::<Vec<_>>().join(" "))
}

fn read_bounded(file: &FilePath, bytes_max: u64) -> Result<String, String> {
    let length = std::fs::metadata(file).map_err(|e| format!("cannot be read: {e}"))?.len();
    if length > bytes_max {
        return Err(format!("has {length} bytes, more than the {bytes_max} it may have"));
    }
    std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))
}

/// A secret as its file has it: editors and `echo` add a line end that nobody means.
fn secret_value(text: &str, node: Node<'_>) -> Value {
    match node.shape() {
        Shape::List => {
            text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().into()
        }
        Shape::Text | Shape::Other => text.trim_end_matches(['\r', '\n']).into(),
    }
}

fn from_text(text: &str, node: Option<Node<'_>>) -> Value {
    let parsed = || text.parse::<Value>().unwrap_or_else(|never| match never {});
    match node.map(Node::shape) {
        Some(Shape::Text) => text.into(),
        Some(Shape::List) => match parsed() {
            list @ Value::Array(..) => list,
            _ => {
                text.split(',').map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().into()
            }
        },
        Some(Shape::Other) | None => parsed(),
    }
}

/// Every `x_file` beside a declared secret `x`, with the path of `x`.
fn secret_files(dict: &Dict, root: Node<'_>) -> Vec<(Path, Path)> {
    let mut found = Vec::new();
    let mut visit = |path: &Path, parent: Node<'_>, key: &str| {
        if let Some(stem) = secret_stem(parent, key) {
            let mut its_path = path.clone();
            its_path.push(stem.to_owned());
            let mut whole = path.clone();
            whole.push(key.to_owned());
            found.push((whole, its_path));
        }
    };
    walk(dict, root, &mut Vec::new(), &mut visit);
    found
}

/// The secret that `key` holds the file of.
fn secret_stem<'k>(parent: Node<'_>, key: &'k str) -> Option<&'k str> {
    let stem = key.strip_suffix("_file")?;
    (parent.child(stem).is_some() && parent.has_secret(stem)).then_some(stem)
}

fn walk(
    dict: &Dict,
    node: Node<'_>,
    path: &mut Path,
    visit: &mut impl FnMut(&Path, Node<'_>, &str),
) {
    for (key, value) in dict {
        visit(path, node, key);
        let (Some(child), Some(inner)) = (node.child(key), value.as_dict()) else { continue };
        path.push(key.clone());
        walk(inner, child, path, visit);
        path.pop();
    }
}

/// Each unknown key with the keys that would have been right in its place.
fn collect_unknown(
    dict: &Dict,
    node: Node<'_>,
    path: &mut Path,
    found: &mut Vec<(Path, Vec<String>)>,
) {
    for (key, value) in dict {
        path.push(key.clone());
        match node.child(key) {
            Some(child) => unknown_in_value(value, child, path, found),
            None if secret_stem(node, key).is_some() || !node.is_closed() => {}
            None => {
                let parent = path[..path.len() - 1].to_vec();
                let sibling = |name: &str| {
                    parent.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
                };
                found.push((
                    path.clone(),
                    node.properties().iter().map(|(name, _)| sibling(name)).collect(),
                ));
            }
        }
        path.pop();
    }
}

fn unknown_in_value(
    value: &Value,
    node: Node<'_>,
    path: &mut Path,
    found: &mut Vec<(Path, Vec<String>)>,
) {
    match value {
        Value::Dict(_, inner) => collect_unknown(inner, node, path, found),
        Value::Array(_, items) => {
            let Some(item_node) = node.items() else { return };
            for (i, item) in items.iter().enumerate() {
                path.push(i.to_string());
                unknown_in_value(item, item_node, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

pub(super) fn find<'d>(dict: &'d Dict, path: &[String]) -> Option<&'d Value> {
    let (first, rest) = path.split_first()?;
    let value = dict.get(first)?;
    rest.iter().try_fold(value, |value, key| match value {
        Value::Dict(_, inner) => inner.get(key),
        Value::Array(_, items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        dict.insert(first.clone(), value);
        return;
    }
    let below = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
    if !matches!(below, Value::Dict(..)) {
        *below = Value::from(Dict::new());
    }
    if let Value::Dict(_, inner) = below {
        insert(inner, rest, value);
    }
}

/// Takes out the value at `path`. Lists keep their other elements where they are.
pub(super) fn remove(dict: &mut Dict, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return dict.remove(first);
    }
    let mut value = dict.get_mut(first)?;
    let mut rest = rest;
    loop {
        let (key, below) = rest.split_first()?;
        match value {
            Value::Dict(_, inner) => return remove(inner, rest),
            Value::Array(_, items) => value = items.get_mut(key.parse::<usize>().ok()?)?,
            _ => return None,
        }
        rest = below;
    }
}
