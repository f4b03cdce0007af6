//! What the declarations say about a key: whether it exists, what it holds, whether it
//! is a secret. Read from the JSON Schema that each section's `Config` derives, so no
//! key is written down a second time. Values and their sources live in `layer`.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

/// A key from the root down: `["relay", "max_rate"]`.
pub(super) type Path = Vec<String>;

/// One place in the tree of declarations.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(&'a Json);

/// The kind of value a node takes, as far as text from outside needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    List,
    Other,
}

/// The schema of `C`, with every reference resolved.
pub(super) fn of<C: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<C>().into()
}

impl<'a> Node<'a> {
    pub(super) fn root(schema: &'a Json) -> Self {
        Self(schema)
    }

    /// The node itself and everything it may be instead: `Option<T>` is `T` or null, an
    /// enum is one of its variants.
    pub(super) fn alternatives(self) -> Vec<Node<'a>> {
        let mut all = vec![self];
        for word in ["anyOf", "oneOf", "allOf"] {
            for inner in self.0.get(word).and_then(Json::as_array).into_iter().flatten() {
                all.extend(Node(inner).alternatives());
            }
        }
        all
    }

    /// The declared keys, in alphabetical order.
    pub(super) fn properties(self) -> Vec<(&'a str, Node<'a>)> {
        let mut found: Vec<(&str, Node<'_>)> = Vec::new();
        for node in self.alternatives() {
            let declared = node.0.get("properties").and_then(Json::as_object);
            for (key, value) in declared.into_iter().flatten() {
                if !found.iter().any(|(known, _)| known == key) {
                    found.push((key, Node(value)));
                }
            }
        }
        found.sort_by_key(|(key, _)| *key);
        found
    }

    /// What stands under `key`, declared by name or as "any key".
    pub(super) fn child(self, key: &str) -> Option<Node<'a>> {
        let named = self.properties().into_iter().find(|(name, _)| *name == key);
        named.map(|(_, node)| node).or_else(|| self.any_key())
    }

    fn any_key(self) -> Option<Node<'a>> {
        let any = |node: Node<'a>| node.0.get("additionalProperties").filter(|s| s.is_object());
        self.alternatives().into_iter().find_map(any).map(Node)
    }

    /// What the elements of a list are.
    pub(super) fn items(self) -> Option<Node<'a>> {
        self.alternatives().into_iter().find_map(|node| node.0.get("items")).map(Node)
    }

    /// Whether the keys under this node are all declared, so that another is a mistake.
    pub(super) fn is_closed(self) -> bool {
        let open = |node: &Node<'_>| match node.0.get("additionalProperties") {
            Some(Json::Bool(open)) => *open,
            Some(_) => true,
            None => node.0 == &Json::Bool(true),
        };
        !self.properties().is_empty() && !self.alternatives().iter().any(open)
    }

    /// What stands at `path`, through keys and places in lists.
    pub(super) fn at(self, path: &[String]) -> Option<Node<'a>> {
        path.iter().try_fold(self, |node, key| {
            let in_list = || key.parse::<usize>().ok().and_then(|_| node.items());
            node.child(key).or_else(in_list)
        })
    }

    /// Whether `key` of this table is a secret: never shown, and may come from a file.
    /// Said by `#[schemars(extend("writeOnly" = true))]`, or by a declared `key_file`.
    pub(super) fn has_secret(self, key: &str) -> bool {
        let file = format!("{key}_file");
        let marked = |node: Node<'_>| node.0.get("writeOnly").and_then(Json::as_bool) == Some(true);
        self.child(key).is_some_and(marked) || self.properties().iter().any(|(k, _)| *k == file)
    }

    /// Whether `path` leads to a secret or into one.
    pub(super) fn hides(self, path: &[String]) -> bool {
        (0..path.len()).any(|n| self.at(&path[..n]).is_some_and(|node| node.has_secret(&path[n])))
    }

    pub(super) fn shape(self) -> Shape {
        let types = self.types();
        match types.as_slice() {
            [only] if *only == "string" => Shape::Text,
            [only] if *only == "array" => Shape::List,
            _ => Shape::Other,
        }
    }

    /// The JSON types this node admits, without null.
    pub(super) fn types(self) -> Vec<&'a str> {
        let mut types = Vec::new();
        for node in self.alternatives() {
            let one = node.0.get("type").and_then(Json::as_str);
            let many = node.0.get("type").and_then(Json::as_array).into_iter().flatten();
            types.extend(one.into_iter().chain(many.filter_map(Json::as_str)));
        }
        types.retain(|word| *word != "null");
        types.sort_unstable();
        types.dedup();
        types
    }

    /// The words an enum admits.
    pub(super) fn choices(self) -> Vec<&'a str> {
        let mut words = Vec::new();
        for node in self.alternatives() {
            words.extend(node.0.get("const").and_then(Json::as_str));
            let many = node.0.get("enum").and_then(Json::as_array).into_iter().flatten();
            words.extend(many.filter_map(Json::as_str));
        }
        words
    }

    pub(super) fn text(self, word: &str) -> Option<&'a str> {
        self.0.get(word).and_then(Json::as_str)
    }

    pub(super) fn default(self) -> Option<&'a Json> {
        self.0.get("default").filter(|value| !value.is_null())
    }

    pub(super) fn first_example(self) -> Option<&'a Json> {
        self.0.get("examples").and_then(Json::as_array).and_then(|all| all.first())
    }

    /// Every declared key below this node that takes a value, with its path.
    pub(super) fn leaves(self) -> Vec<(Path, Node<'a>)> {
        let mut found = Vec::new();
        for (key, node) in self.properties() {
            let below = node.leaves();
            if below.is_empty() {
                found.push((vec![key.to_owned()], node));
            }
            for (mut path, leaf) in below {
                path.insert(0, key.to_owned());
                found.push((path, leaf));
            }
        }
        found
    }
}
