//! A campaign's definition as a client sends it, checked piece by piece until it is a
//! record of the store. Whether the sender may send is for `proof`.

use std::collections::BTreeMap;
use std::fmt;

use mail::share;
use mail::window::{Weekday, Window, WindowError};
use mail::{Address, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use store::{CampaignRecord, StartAt, TemplateRecord};

use crate::clock::parse_rfc3339;
use crate::config::Config;
use crate::problem::{Answer, Problem};

const NAME_CHARS_MAX: usize = 200;
/// Values that stand in for missing ones; they count against a batch's text.
const DEFAULT_OCTETS_MAX: usize = 4096;
const PRIORITY_MAX: u8 = 9;
const ORDINARY_PRIORITY: u8 = 1;
/// Shorter than a greylisting, and everything would expire.
const LIFETIME_S_MIN: u64 = 60;
/// Longer than any destination is down and comes back.
const LIFETIME_S_MAX: u64 = 30 * 86_400;

/// The body of `POST /v1/campaigns`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) tenant: Option<String>,
    name: String,
    from: Sender,
    reply_to: Option<String>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    derive_text: Option<bool>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    pool: Option<String>,
    priority: Option<u8>,
    weight: Option<f64>,
    start_at: Option<String>,
    #[serde(alias = "lifetime")]
    lifetime_s: Option<u64>,
    window: Option<WindowDefinition>,
    #[serde(default)]
    require_tls: bool,
    gates: Option<bool>,
}

/// A send window as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowDefinition {
    from: String,
    until: String,
    /// All seven when they are not given.
    days: Option<Vec<String>>,
    /// Of recipients whose own is not known.
    timezone: Option<String>,
}

impl WindowDefinition {
    fn check(self) -> Answer<Window> {
        let time = |text: &str| text.parse().map_err(|why: WindowError| bad("window", why));
        let day = |word: &String| {
            let all: Vec<&str> = Weekday::ALL.iter().map(|day| day.as_str()).collect();
            let quoted: String = word.chars().take(40).collect();
            let unknown = || bad("window", format!("{quoted:?} is no day: {}", all.join(", ")));
            Weekday::from_word(word).ok_or_else(unknown)
        };
        let days = match &self.days {
            Some(words) => words.iter().map(day).collect::<Answer<_>>()?,
            None => Weekday::ALL.to_vec(),
        };
        let window = Window {
            from: time(&self.from)?,
            until: time(&self.until)?,
            days,
            zone: self.timezone.unwrap_or_else(|| "UTC".into()),
        };
        window.check().map_err(|why| bad("window", why))?;
        Ok(window)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sender {
    #[serde(default)]
    name: String,
    address: String,
}

/// An object in the order in which it was written; a name may come twice.
#[derive(Debug, Default)]
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Headers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header names and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }
        json.deserialize_map(Ordered)
    }
}

/// A definition that holds.
pub(crate) struct Checked {
    pub(crate) record: CampaignRecord,
    pub(crate) defaults: BTreeMap<String, String>,
}

impl Definition {
    /// Everything that can be told without asking anybody. Time, author and request of the
    /// record are for the caller to fill in.
    pub(crate) fn check(self, tenant: String, config: &Config) -> Answer<Checked> {
        self.check_sizes(config)?;
        let start = match &self.start_at {
            None => StartAt::Now,
            Some(text) => StartAt::At(parse_rfc3339(text).ok_or_else(|| {
                let detail = format!("{text:?} is no time: write 2026-11-22T14:00:00Z");
                bad("start_at", detail)
            })?),
        };
        let template = TemplateRecord {
            from_name: self.from.name,
            from_address: address("from.address", &self.from.address)?,
            reply_to: self.reply_to.map(|text| address("reply_to", &text)).transpose()?,
            subject: self.subject,
            text: self.text,
            html: self.html,
            derive_text: self.derive_text.unwrap_or(true),
            headers: self.headers.0,
            fields: self.fields,
        };
        check_content(&template)?;
        check_defaults(&self.defaults, &template.fields)?;
        let window = self.window.map(WindowDefinition::check).transpose()?;
        let record = CampaignRecord {
            tenant,
            name: self.name,
            template,
            pool: self.pool.unwrap_or_else(|| "default".into()),
            priority: self.priority.unwrap_or(ORDINARY_PRIORITY),
            weight: self.weight.unwrap_or(share::WEIGHT),
            start,
            lifetime_s: self.lifetime_s,
            window,
            require_tls: self.require_tls,
            gates: self.gates.unwrap_or(true),
            created_at: Timestamp(0),
            created_by: String::new(),
            request: String::new(),
        };
        Ok(Checked { record, defaults: self.defaults })
    }

    fn check_sizes(&self, config: &Config) -> Answer<()> {
        if self.name.trim().is_empty()
            || self.name.chars().count() > NAME_CHARS_MAX
            || self.name.chars().any(char::is_control)
        {
            let detail = format!("a name has 1 to {NAME_CHARS_MAX} characters on one line");
            return Err(bad("name", detail));
        }
        let octets = [&self.text, &self.html].into_iter().flatten().map(String::len).sum::<usize>();
        if octets > config.template_bytes_max {
            let max = config.template_bytes_max;
            let detail = format!("text and html have {octets} octets, at most {max} are taken");
            return Err(Problem::too_large(detail).with("max", max));
        }
        if let Some(pool) = &self.pool {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if pool.is_empty() || pool.len() > 64 || !pool.bytes().all(plain) {
                let detail = format!("{pool:?} is no pool: 1 to 64 letters, digits, - _");
                return Err(bad("pool", detail));
            }
        }
        if self.priority.is_some_and(|p| p > PRIORITY_MAX) {
            return Err(bad("priority", format!("0 (first) to {PRIORITY_MAX}")));
        }
        if let Some(weight) = self.weight.filter(|w| !share::WEIGHTS.contains(w)) {
            let (least, most) = (share::WEIGHTS.start(), share::WEIGHTS.end());
            return Err(bad(
                "weight",
                format!("{weight}: a weight lies between {least} and {most}"),
            ));
        }
        if self.lifetime_s.is_some_and(|s| !(LIFETIME_S_MIN..=LIFETIME_S_MAX).contains(&s)) {
            let detail = format!("{LIFETIME_S_MIN} to {LIFETIME_S_MAX} seconds");
            return Err(bad("lifetime_s", detail));
        }
        Ok(())
    }
}

fn bad(field: &str, detail: impl fmt::Display) -> Problem {
    Problem::unprocessable("bad-definition", format!("{field}: {detail}")).with("field", field)
}

fn address(field: &str, text: &str) -> Answer<Address> {
    let quoted: String = text.chars().take(100).collect();
    text.parse().map_err(|why| bad(field, format!("{quoted:?} {why}")))
}

fn check_defaults(defaults: &BTreeMap<String, String>, fields: &[String]) -> Answer<()> {
    for (field, value) in defaults {
        if !fields.contains(field) {
            return Err(bad("defaults", format!("{field:?} is not among the fields")));
        }
        if value.len() > DEFAULT_OCTETS_MAX {
            let detail = format!("{field:?} is longer than {DEFAULT_OCTETS_MAX} octets");
            return Err(bad("defaults", detail));
        }
        if value.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
            return Err(bad("defaults", format!("{field:?} holds a control character")));
        }
    }
    Ok(())
}

/// What the relays would refuse to render is refused here, in the words of `message`.
fn check_content(template: &TemplateRecord) -> Answer<()> {
    let mailbox = |name: Option<String>, address: &Address| message::Mailbox {
        name,
        address: address.clone(),
    };
    let name = Some(template.from_name.clone()).filter(|name| !name.is_empty());
    let content = message::Content {
        from: mailbox(name, &template.from_address),
        reply_to: template.reply_to.as_ref().map(|address| mailbox(None, address)),
        subject: template.subject.clone(),
        text: template.text.clone(),
        html: template.html.clone(),
        derive_text: template.derive_text,
        headers: template.headers.clone(),
        fields: template.fields.clone(),
    };
    match message::Template::compile(&content) {
        Ok(_) => Ok(()),
        Err(error) => Err(content_problem(&error, template)),
    }
}

/// The line of the part, where there is one, stands in `line`.
fn content_problem(error: &message::ContentError, template: &TemplateRecord) -> Problem {
    use message::ContentError as E;
    let problem = Problem::unprocessable("bad-content", error.to_string());
    let body = |part: &str| match part {
        "text" => template.text.as_deref(),
        "html" => template.html.as_deref(),
        _ => None,
    };
    match error {
        E::Syntax { part, line, .. } => problem.with("field", part.as_str()).with("line", *line),
        E::Control { part, offset, .. } | E::LoneCr { part, offset } => {
            let before = body(part).and_then(|text| text.as_bytes().get(..*offset));
            let line = 1 + before.map_or(0, |b| memchr::memchr_iter(b'\n', b).count());
            problem.with("field", part.as_str()).with("line", line)
        }
        E::TooLong { part, .. } | E::UnknownField { part, .. } => {
            problem.with("field", part.as_str())
        }
        _ => problem,
    }
}
