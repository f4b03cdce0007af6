//! What is wrong with a configuration, in words: where it stands, what it says, what
//! was probably meant. Nothing here reads anything.

use std::fmt;

use figment::value::Value;

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or the variable.
    pub place: String,
    /// What is wrong there, with the key and the offending text.
    pub what: String,
}

impl Problem {
    pub(super) fn new(place: impl fmt::Display, what: impl Into<String>) -> Self {
        Self { place: place.to_string(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Everything wrong with the configuration, so that one look mends it all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

/// `; did you mean …?`, or nothing when no candidate is near.
pub(super) fn did_you_mean(word: &str, known: &[String]) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The known key that was most likely meant: a sibling that is spelt almost so, or
/// else a key of exactly this name in another section.
fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a String> {
    let (parent, last) = word.rsplit_once('.').unwrap_or(("", word));
    let split = |key: &'a String| key.rsplit_once('.').unwrap_or(("", key.as_str()));
    let near = |key: &&'a String| -> Option<usize> {
        let (its_parent, its_last) = split(key);
        let far = strsim::damerau_levenshtein(last, its_last);
        // A third of the letters may be wrong: "max_rat" is max_rate, "host" is not port.
        (its_parent == parent && far <= (last.chars().count() / 3).max(1)).then_some(far)
    };
    let sibling = known.iter().filter_map(|key| near(&key).map(|far| (far, key))).min();
    let elsewhere = || known.iter().find(|key| split(key).1 == last);
    let whole = || {
        let mut others = known.iter().filter(|key| split(key).0 != parent);
        others.find(|key| strsim::damerau_levenshtein(word, key) <= 2)
    };
    sibling.map(|(_, key)| key).or_else(elsewhere).or_else(whole)
}

/// A value as it may be quoted in a message: on one line and short.
pub(super) fn quoted(value: &Value) -> String {
    /// Enough to recognise one's own text; a pasted key or file does not flood the screen.
    const QUOTED_CHARS_MAX: usize = 60;
    let whole = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Num(_, num) => num
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| num.to_u128().map(|n| n.to_string()))
            .or_else(|| num.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Dict(_, dict) => {
            let each = dict.iter().map(|(key, value)| format!("{key} = {}", quoted(value)));
            format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
    };
    match whole.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &whole[..cut]),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_right_key_is_named_and_an_unlikely_one_is_not() {
        let known = ["relay.max_rate", "relay.port", "api.listen", "data_dir"].map(String::from);
        for (word, expected) in [
            ("relay.max_rat", "; did you mean `relay.max_rate`?"),
            ("relay.mx_rate", "; did you mean `relay.max_rate`?"),
            ("relay.host", ""),
            ("listen", "; did you mean `api.listen`?"),
            ("relay.listen", "; did you mean `api.listen`?"),
            ("datadir", "; did you mean `data_dir`?"),
            ("relya.port", "; did you mean `relay.port`?"),
            ("colour", ""),
        ] {
            assert_eq!(did_you_mean(word, &known), expected, "{word}");
        }
    }
}
