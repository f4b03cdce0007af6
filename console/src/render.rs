//! Templates into pages. Whatever is put into one is escaped, and cleaned of control characters and
//! direction overrides: most of it was written by strangers.

use include_dir::{Dir, include_dir};
use mail::Timestamp;
use mail::plain::Lang;
use mail::reply::clean_text;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value, context,
    escape_formatter,
};
use serde::Serialize;

use crate::assets;
use crate::platform::Trouble;
use crate::viewer::{Taste, Viewer};
use crate::words::words;

static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

pub(crate) struct Renderer {
    templates: Environment<'static>,
}

impl Renderer {
    pub(crate) fn new() -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.set_formatter(clean);
        templates.add_filter("num", num);
        templates.add_filter("decimal", decimal);
        templates.add_filter("percent", percent);
        templates.add_filter("octets", octets);
        templates.add_filter("span", span);
        templates.add_filter("moment", moment);
        templates.add_filter("iso", |at: u64| Timestamp(at).to_string());
        templates.add_filter("with", with);
        templates.add_filter("in_path", |text: &str| in_path(text));
        for file in TEMPLATES.files() {
            let name = file.path().to_str().expect("names of our own");
            let text = file.contents_utf8().expect("templates are text");
            templates.add_template(name, text).expect("templates read");
        }
        Self { templates }
    }

    /// A page for somebody who has signed in.
    pub(crate) fn page(
        &self,
        viewer: &Viewer,
        template: &str,
        content: Value,
    ) -> Result<String, Trouble> {
        self.render(
            template,
            viewer.taste,
            context! {
                viewer => value(viewer),
                form_token => viewer.form_token.clone(),
                ..content
            },
        )
    }

    /// A page for anybody.
    pub(crate) fn render(
        &self,
        template: &str,
        taste: Taste,
        content: Value,
    ) -> Result<String, Trouble> {
        let page = context! {
            t => words(taste.lang),
            lang => taste.lang.as_str(),
            theme => taste.theme,
            assets => format!("/console/assets/{}", *assets::VERSION),
            ..content
        };
        let rendered = self.templates.get_template(template).and_then(|t| t.render(page));
        rendered.map_err(|error| {
            tracing::error!(template, "a page cannot be rendered: {error:#}");
            Trouble::Broken("this page cannot be shown; the log says why".to_owned())
        })
    }
}

/// Anything that serde knows, as templates see it.
pub(crate) fn value(of: impl Serialize) -> Value {
    Value::from(Serde(of))
}

/// What is put into a page: text of strangers is cleaned before it is escaped.
fn clean(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let is_text = value.kind() == ValueKind::String && !value.is_safe();
    match value.as_str().filter(|_| is_text) {
        Some(text) => escape_formatter(out, state, &Value::from(cleaned(text))),
        None => escape_formatter(out, state, value),
    }
}

/// Blanks that do not break stay what they are: numbers and their units are written with them.
fn cleaned(text: &str) -> String {
    let clean = clean_text(text);
    let is_clean = text.replace(['\u{a0}', '\u{202f}'], " ") == clean;
    if is_clean { text.to_owned() } else { clean }
}

fn lang(state: &State) -> Lang {
    let lang = state.lookup("lang");
    lang.and_then(|lang| Lang::from_word(lang.as_str()?)).unwrap_or(Lang::En)
}

/// A whole number in groups of three (fr: a narrow blank between them).
fn num(state: &State, n: f64) -> String {
    grouped(lang(state), n.round().max(0.0) as u64)
}

/// The same, for others who write numbers for people.
#[must_use]
pub fn grouped(lang: Lang, n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len());
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(lang.pick(',', '\u{202f}'));
        }
        text.push(digit);
    }
    text
}

/// A number with as many places as say something.
fn decimal(state: &State, n: f64) -> String {
    let text = match n.abs() {
        n if n >= 100.0 || n == 0.0 => return num(state, n),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        _ => format!("{n:.3}"),
    };
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    lang(state).pick(text.clone(), text.replace('.', ","))
}

/// A share as hundredths.
fn percent(state: &State, share: f64) -> String {
    let share = if share.is_finite() { share * 100.0 } else { 0.0 };
    let places = if share == 0.0 || share >= 10.0 { 0 } else { 1 + usize::from(share < 1.0) };
    let text = format!("{share:.places$}");
    lang(state).pick(format!("{text}%"), format!("{}\u{202f}%", text.replace('.', ",")))
}

fn octets(state: &State, n: f64) -> String {
    const UNITS: &[&str] = &["B", "KB", "MB", "GB", "TB"];
    let (mut n, mut unit) = (n, 0);
    while n >= 1000.0 && unit + 1 < UNITS.len() {
        (n, unit) = (n / 1000.0, unit + 1);
    }
    let text = if unit == 0 || n >= 100.0 { format!("{n:.0}") } else { format!("{n:.1}") };
    let unit = lang(state).pick(UNITS[unit].to_owned(), UNITS[unit].replace('B', "o"));
    format!("{}\u{a0}{unit}", lang(state).pick(text.clone(), text.replace('.', ",")))
}

/// So many seconds, in the two largest units that say something.
fn span(state: &State, seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let day = lang(state).pick("d", "j");
    let units = [(86_400, day), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, name) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}\u{a0}{name}", rest / size));
        } else if !parts.is_empty() {
            break;
        }
        rest %= size;
    }
    if parts.is_empty() { "0\u{a0}s".to_owned() } else { parts.join(" ") }
}

/// A moment to the second, in UTC.
fn moment(at: u64) -> String {
    let text = Timestamp(at).to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

/// A text as one step of an address.
pub(crate) fn in_path(text: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}

/// Fills the holes of a text.
fn with(text: &str, holes: Kwargs) -> Result<String, Error> {
    let mut filled = text.to_owned();
    for name in holes.args() {
        let value: Value = holes.get(name)?;
        filled = filled.replace(&format!("{{{name}}}"), &value.to_string());
    }
    holes.assert_all_used()?;
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, lang: Lang, content: Value) -> String {
        let mut renderer = Renderer::new();
        renderer.templates.add_template_owned("try", template.to_owned()).expect("a template");
        renderer.render("try", Taste { lang, theme: "auto" }, content).expect("rendered")
    }

    #[test]
    fn numbers_are_written_as_each_language_does() {
        let all = "{{ 1234567|num }} {{ 12.345|decimal }} {{ 0.0123|percent }} {{ 61200|octets }}";
        assert_eq!(rendered(all, Lang::En, context! {}), "1,234,567 12.3 1.2% 61.2\u{a0}KB");
        assert_eq!(
            rendered(all, Lang::Fr, context! {}),
            "1\u{202f}234\u{202f}567 12,3 1,2\u{202f}% 61,2\u{a0}Ko"
        );
        let spans =
            "{{ 59.6|span }}, {{ 3661|span }}, {{ 86400|span }}, {{ 90000|span }}, {{ 0|span }}";
        let spans = rendered(spans, Lang::Fr, context! {}).replace('\u{a0}', " ");
        assert_eq!(spans, "1 min, 1 h 1 min, 1 j, 1 j 1 h, 0 s");
        assert_eq!(
            rendered("{{ 1000|moment }} {{ 1000|iso }}", Lang::En, context! {}),
            "1970-01-01 00:00:01 1970-01-01T00:00:01.000Z"
        );
    }

    #[test]
    fn text_of_strangers_is_only_text() {
        let hostile = "\"><script>alert(1)</script>\u{202e}gpj.exe\u{0}\u{1b}[31m".to_owned();
        let shown =
            rendered("<p title=\"{{ x }}\">{{ x }}</p>", Lang::En, context! { x => hostile });
        assert!(
            !shown.contains("<script") && !shown.contains('\u{202e}') && !shown.contains('\u{1b}')
        );
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
        let long = rendered("{{ x }}", Lang::En, context! { x => "x".repeat(1 << 20) });
        assert!(long.len() < 10_000, "{}", long.len());
        let filled = rendered("{{ 'a {x} b'|with(x='<i>') }}", Lang::En, context! {});
        assert_eq!(filled, "a &lt;i&gt; b");
    }
}
