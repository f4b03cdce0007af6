//! The words of the pages, a file a language: `words/en.toml`, `words/fr.toml`. Both have the same keys;
//! `{name}` in a text is filled in by the filter `with`.

use std::sync::LazyLock;

use mail::plain::Lang;
use minijinja::Value;

use crate::render::value;

const EN: &str = include_str!("../words/en.toml");
const FR: &str = include_str!("../words/fr.toml");

/// The words of a language, as templates see them.
pub(crate) fn words(lang: Lang) -> Value {
    static BOTH: LazyLock<(Value, Value)> = LazyLock::new(|| (read(EN), read(FR)));
    lang.pick(&BOTH.0, &BOTH.1).clone()
}

fn read(text: &str) -> Value {
    let table: toml::Table = toml::from_str(text).expect("the words read");
    value(table)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn flat(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                toml::Value::Table(table) => flat(&format!("{key}."), table, into),
                toml::Value::String(text) => drop(into.insert(key, text.clone())),
                other => panic!("{key} is {other:?}"),
            }
        }
    }

    fn all(text: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        flat("", &toml::from_str(text).expect("words"), &mut all);
        all
    }

    fn holes(text: &str) -> Vec<&str> {
        let mut holes: Vec<&str> =
            text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        holes.sort_unstable();
        holes
    }

    #[test]
    fn both_languages_say_the_same_things() {
        let (en, fr) = (all(EN), all(FR));
        assert_eq!(en.keys().collect::<Vec<_>>(), fr.keys().collect::<Vec<_>>());
        for (key, text) in &en {
            assert!(!text.trim().is_empty() && !fr[key].trim().is_empty(), "{key}");
            assert_eq!(holes(text), holes(&fr[key]), "{key}");
        }
    }
}
