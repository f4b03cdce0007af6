//! The commented example file, written from the declarations: every key with its
//! description and its default. A test keeps the committed file equal to this.

use std::fmt::Write;

use schemars::JsonSchema;
use serde_json::Value as Json;

use super::schema::{self, Node};

/// Long lines are broken here, so that the file reads well in a terminal.
const LINE_CHARS_MAX: usize = 96;

const HEAD: &str = "\
Malleposte: every setting, with its default.

Nothing here is needed: without a file, `malleposte up` runs on these defaults. A line
that begins with `#` and no space is a setting; take the `#` away to change it, and the
one before the section's name. Check the result with `malleposte check FILE`.

Each key is also a variable: `relay.max_rate` is MALLEPOSTE_RELAY__MAX_RATE. Each secret
`x` may come from a file instead, named by `x_file`, or by systemd's LoadCredential= under
its full name.";

/// The example file of `C`.
#[must_use]
pub fn example<C: JsonSchema>() -> String {
    let schema = schema::of::<C>();
    let mut out = String::new();
    prose(&mut out, HEAD);
    section(&mut out, "", Node::root(&schema));
    out
}

/// Values first: in TOML a value after a table's head would belong to that table.
fn section(out: &mut String, name: &str, node: Node<'_>) {
    let (tables, values): (Vec<_>, Vec<_>) =
        node.properties().into_iter().partition(|(_, below)| !below.properties().is_empty());
    for (key, value) in values {
        let implied = node.has_secret(key) && node.child(&format!("{key}_file")).is_none();
        setting(out, key, value, implied);
    }
    for (key, table) in tables {
        let name = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        out.push('\n');
        prose(out, table.text("description").unwrap_or_default());
        let _ = writeln!(out, "#[{name}]");
        section(out, &name, table);
    }
}

/// `implied_file`: a secret whose `_file` is not declared, and so not told by itself.
fn setting(out: &mut String, key: &str, node: Node<'_>, implied_file: bool) {
    out.push('\n');
    prose(out, node.text("description").unwrap_or_default());
    if implied_file {
        prose(out, &format!("A secret: `{key}_file` may name a file instead."));
    }
    if !node.choices().is_empty() {
        prose(out, &format!("One of: {}.", node.choices().join(", ")));
    }
    match (node.default(), node.first_example()) {
        (Some(default), _) => {
            let _ = writeln!(out, "#{key} = {}", toml_of(default));
        }
        (None, Some(example)) => {
            prose(out, "Not set by default. For example:");
            let _ = writeln!(out, "#{key} = {}", toml_of(example));
        }
        (None, None) => {
            prose(out, &format!("Not set by default ({}).", node.types().join(" or ")));
            let _ = writeln!(out, "#{key} =");
        }
    }
}

/// Comment lines. A line break in a doc comment is only a line break in the source; an
/// empty line is a paragraph.
fn prose(out: &mut String, text: &str) {
    for (i, paragraph) in text.split("\n\n").enumerate() {
        if i > 0 {
            out.push_str("#\n");
        }
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
                let _ = writeln!(out, "{line}");
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        if line.len() > 1 {
            let _ = writeln!(out, "{line}");
        }
    }
}

/// A JSON value as TOML writes it on one line. JSON's strings are TOML's basic strings.
fn toml_of(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let each = map.iter().filter(|(_, v)| !v.is_null());
            let each: Vec<_> = each.map(|(k, v)| format!("{k:?} = {}", toml_of(v))).collect();
            format!("{{ {} }}", each.join(", "))
        }
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}
