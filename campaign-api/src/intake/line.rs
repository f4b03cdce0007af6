//! One line of an upload: a recipient, or the reason why it is none. Reading allocates
//! nothing but the address; the texts of the line before are written over.

use std::fmt;

use super::form::{Fault, Form, Reason};
use mail::Address;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest display name, in octets: a header line ends at 998 with all its encoding.
const NAME_BYTES_MAX: usize = 255;
/// A JSON number beyond this has lost digits on its way: it was an identifier.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A good line.
pub(super) struct Line<'a> {
    pub(super) address: Address,
    pub(super) folded: &'a str,
    pub(super) name: &'a str,
    /// Empty where it is not given.
    pub(super) zone: &'a str,
    text: &'a str,
    spans: &'a [Option<(usize, usize)>],
}

impl<'a> Line<'a> {
    /// A value per field; `None` where the default holds.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let text = self.text;
        self.spans.iter().map(move |span| span.map(|(from, to)| &text[from..to]))
    }
}

/// The texts of one line at a time.
#[derive(Default)]
pub(super) struct Scratch {
    email: Option<String>,
    folded: String,
    name: String,
    zone: String,
    text: String,
    spans: Vec<Option<(usize, usize)>>,
    fault: Option<Fault>,
}

impl Scratch {
    /// Reads a line without its line feed.
    pub(super) fn read<'a>(&'a mut self, line: &[u8], form: &Form) -> Result<Line<'a>, Fault> {
        self.email = None;
        self.name.clear();
        self.zone.clear();
        self.text.clear();
        self.spans.clear();
        self.spans.resize(form.fields.len(), None);
        self.fault = None;
        let mut json = serde_json::Deserializer::from_slice(line);
        let read =
            LineSeed { scratch: self, form }.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|e| Fault::new(Reason::MalformedJson, without_line(&e)))?;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let address = self.address()?;
        self.check_missing(form)?;
        self.folded.clear();
        match address.as_str().is_ascii() {
            true => {
                self.folded.push_str(address.as_str());
                self.folded.make_ascii_lowercase();
            }
            false => self.folded.push_str(&address.folded()),
        }
        let Self { folded, name, zone, text, spans, .. } = self;
        Ok(Line { address, folded, name, zone, text, spans })
    }

    fn address(&self) -> Result<Address, Fault> {
        let missing = || Fault::new(Reason::NoAddress, "there is no \"email\"");
        let text = self.email.as_deref().ok_or_else(missing)?;
        text.parse().map_err(|why| Fault::new(Reason::BadAddress, format!("{:?} {why}", cut(text))))
    }

    fn check_missing(&self, form: &Form) -> Result<(), Fault> {
        let lacks = |i: &usize| self.spans[*i].is_none() && form.defaults[*i].is_none();
        match (0..form.fields.len()).find(lacks) {
            None => Ok(()),
            Some(i) => {
                let detail =
                    format!("no value for merge field {:?}, and it has no default", form.fields[i]);
                Err(Fault::new(Reason::MissingField, detail))
            }
        }
    }

    /// The first fault is the one that is told.
    fn blame(&mut self, reason: Reason, detail: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(Fault::new(reason, detail()));
        }
    }
}

/// serde_json counts lines of its input, which is one line of the file.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} at column {}", &text[..at], error.column()),
        None => text,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

struct LineSeed<'s, 'f> {
    scratch: &'s mut Scratch,
    form: &'f Form,
}

impl<'de> DeserializeSeed<'de> for LineSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LineSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"email\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { scratch, form } = self;
        let (mut named, mut placed, mut merged) = (false, false, false);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let again = match key {
                Key::Email => scratch.email.is_some(),
                Key::Name => std::mem::replace(&mut named, true),
                Key::Timezone => std::mem::replace(&mut placed, true),
                Key::Merge => std::mem::replace(&mut merged, true),
                Key::Other(_) => false,
            };
            if again {
                scratch.blame(Reason::UnknownKey, || "a key is there twice".into());
            }
            match key {
                Key::Email => {
                    let mut text = String::new();
                    map.next_value_seed(ValueSeed::text(scratch, "email", &mut text))?;
                    scratch.email = Some(text);
                }
                Key::Name => {
                    let mut name = std::mem::take(&mut scratch.name);
                    name.clear();
                    map.next_value_seed(ValueSeed::text(scratch, "name", &mut name))?;
                    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                        let detail = || "\"name\" is too long or holds a control character".into();
                        scratch.blame(Reason::BadValue, detail);
                    }
                    scratch.name = name;
                }
                Key::Timezone => {
                    let mut zone = std::mem::take(&mut scratch.zone);
                    zone.clear();
                    map.next_value_seed(ValueSeed::text(scratch, "timezone", &mut zone))?;
                    if !mail::window::is_zone(&zone) {
                        scratch.blame(Reason::BadTimezone, || {
                            let zone = cut(&zone);
                            format!("{zone:?} is no time zone: write Europe/Paris")
                        });
                    }
                    scratch.zone = zone;
                }
                Key::Merge => map.next_value_seed(MergeSeed { scratch: &mut *scratch, form })?,
                Key::Other(key) => {
                    scratch.blame(Reason::UnknownKey, || {
                        format!(
                            "unknown key {key:?}: a recipient has email, name, timezone and merge"
                        )
                    });
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

enum Key {
    Email,
    Name,
    Timezone,
    Merge,
    Other(String),
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Key, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "email" => Key::Email,
            "name" => Key::Name,
            "timezone" => Key::Timezone,
            "merge" => Key::Merge,
            other => Key::Other(cut(other)),
        })
    }
}

struct MergeSeed<'s, 'f> {
    scratch: &'s mut Scratch,
    form: &'f Form,
}

impl<'de> DeserializeSeed<'de> for MergeSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MergeSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of merge values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { scratch, form } = self;
        let mut expected = 0;
        while let Some(field) = map.next_key_seed(FieldSeed { form, expected })? {
            let field = match field {
                Ok(field) => field,
                Err(name) => {
                    scratch.blame(Reason::UnknownField, || {
                        format!("unknown merge field {name:?}: this campaign has {}", form.known())
                    });
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            expected = field + 1;
            if scratch.spans[field].is_some() {
                let detail = || format!("merge field {:?} is there twice", form.fields[field]);
                scratch.blame(Reason::UnknownKey, detail);
            }
            let mut text = std::mem::take(&mut scratch.text);
            let from = text.len();
            let seed = ValueSeed {
                scratch: &mut *scratch,
                what: &form.fields[field],
                kind: Kind::Value,
                out: &mut text,
            };
            let given = map.next_value_seed(seed)?;
            if has_bad_control(&text[from..]) {
                let detail =
                    || format!("merge field {:?} holds a control character", form.fields[field]);
                scratch.blame(Reason::BadValue, detail);
            }
            scratch.spans[field] = given.then_some((from, text.len()));
            scratch.text = text;
        }
        Ok(())
    }
}

/// Tab and line feed are text; nothing else below the space is.
fn has_bad_control(text: &str) -> bool {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return false;
    }
    text.chars().any(|c| c.is_control() && c != '\t' && c != '\n')
}

/// The index of a field, or its unknown name.
struct FieldSeed<'f> {
    form: &'f Form,
    /// Exporters write fields in one order: mostly this is it.
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Result<usize, String>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed<'_> {
    type Value = Result<usize, String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a merge field")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let fields = &self.form.fields;
        if fields.get(self.expected).is_some_and(|f| f == name) {
            return Ok(Ok(self.expected));
        }
        Ok(fields.iter().position(|f| f == name).ok_or_else(|| cut(name)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text only.
    Text,
    /// Text, a number or a truth value; null is none.
    Value,
}

/// Appends a value to `out`; answers whether there was one.
struct ValueSeed<'s> {
    scratch: &'s mut Scratch,
    what: &'s str,
    kind: Kind,
    out: &'s mut String,
}

impl<'s> ValueSeed<'s> {
    fn text(scratch: &'s mut Scratch, what: &'s str, out: &'s mut String) -> Self {
        Self { scratch, what, kind: Kind::Text, out }
    }

    fn put(self, value: impl fmt::Display, is: &str) -> bool {
        use fmt::Write;
        match self.kind {
            Kind::Text => self.refuse(is),
            Kind::Value => write!(self.out, "{value}").is_ok(),
        }
    }

    fn refuse(self, is: &str) -> bool {
        let (what, wanted) = (
            self.what,
            match self.kind {
                Kind::Text => "text",
                Kind::Value => "text, a number, true or false",
            },
        );
        self.scratch.blame(Reason::BadValue, || format!("{what:?} is {is}: it must be {wanted}"));
        false
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        self.out.push_str(text);
        Ok(true)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Ok(self.put(value, "true or false"))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        Ok(self.put(value, "a number"))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        Ok(self.put(value, "a number"))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        if value.abs() > EXACT_MAX {
            return Ok(self.refuse("a number with more digits than JSON keeps, quote it"));
        }
        Ok(self.put(value, "a number"))
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match self.kind {
            Kind::Text => Ok(self.refuse("null")),
            Kind::Value => Ok(false),
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.refuse("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.refuse("an object"))
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
