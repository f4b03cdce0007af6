//! Templates made ready once: merge fields alone become a list of pieces with all
//! that is literal encoded beforehand; anything with logic or filters stays with
//! the template language. Both give the same text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use crate::content::{Content, ContentError};
use crate::encode::Literal;

/// Instructions, and 64 octets each: a template may loop, and never for long.
const FUEL: u64 = 200_000;
/// How alike names must be for one to be offered instead of the other (0 to 1).
const ALIKE: f64 = 0.75;

/// A body or a line with its merge fields.
pub(crate) enum Source<L> {
    /// Literals and fields in turn.
    Merge(Vec<Piece<L>>),
    /// The name of a template in the environment.
    Logic(String),
}

pub(crate) enum Piece<L> {
    Literal(L),
    /// The index of the field.
    Field(usize),
}

/// Compiles the parts of one content into one environment.
pub(crate) struct Compiler<'a> {
    content: &'a Content,
    pub(crate) env: Environment<'static>,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(content: &'a Content) -> Self {
        let mut env = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        if let Ok(syntax) = syntax.build() {
            env.set_syntax(syntax);
        }
        env.set_auto_escape_callback(|name| match name {
            "html" => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_fuel(Some(FUEL));
        env.remove_global("debug");
        env.add_filter("link", link);
        Self { content, env }
    }

    pub(crate) fn line(&mut self, part: &str, text: &str) -> Result<Source<String>, ContentError> {
        self.source(part, text, str::to_owned)
    }

    pub(crate) fn body(&mut self, part: &str, text: &str) -> Result<Source<Literal>, ContentError> {
        self.source(part, &text.replace("\r\n", "\n"), Literal::new)
    }

    fn source<L>(
        &mut self,
        part: &str,
        text: &str,
        literal: impl Fn(&str) -> L,
    ) -> Result<Source<L>, ContentError> {
        self.env
            .add_template_owned(part.to_owned(), text.to_owned())
            .map_err(|error| syntax(part, &error))?;
        self.check_fields(part)?;
        if let Some(pieces) = merge_only(text, &self.content.fields, literal) {
            self.env.remove_template(part);
            return Ok(Source::Merge(pieces));
        }
        self.check_functions(part)?;
        Ok(Source::Logic(part.to_owned()))
    }

    fn check_fields(&self, part: &str) -> Result<(), ContentError> {
        let template = self.env.get_template(part).map_err(|error| syntax(part, &error))?;
        let mut unknown: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !self.content.fields.contains(name))
            .filter(|name| !self.env.globals().any(|(global, _)| global == name))
            .collect();
        // A set has no order, an error message has.
        unknown.sort_unstable();
        match unknown.into_iter().next() {
            None => Ok(()),
            Some(field) => Err(ContentError::UnknownField {
                part: part.to_owned(),
                nearest: nearest(&field, &self.content.fields),
                field,
            }),
        }
    }

    /// Filters and functions are looked up when a template runs, so it runs once
    /// here. What depends on the values is no fault of the template's yet.
    fn check_functions(&self, part: &str) -> Result<(), ContentError> {
        let template = self.env.get_template(part).map_err(|error| syntax(part, &error))?;
        let sample = self.content.fields.iter().map(|f| (f.as_str(), Value::from("1")));
        match template.render(Value::from_pairs(sample)) {
            Err(error) if is_the_templates_fault(error.kind()) => Err(syntax(part, &error)),
            _ => Ok(()),
        }
    }
}

fn is_the_templates_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::TemplateNotFound
            | ErrorKind::BadInclude
            | ErrorKind::UnknownBlock
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
            | ErrorKind::OutOfFuel
            | ErrorKind::SyntaxError
    )
}

fn syntax(part: &str, error: &minijinja::Error) -> ContentError {
    let detail = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    ContentError::Syntax { part: part.to_owned(), line: error.line().unwrap_or(1), detail }
}

/// What a link may be that comes out of a value. Escaping keeps a value inside its quotes, and says
/// nothing of what a reader does with `javascript:` there.
const LINKS: &[&str] = &["https:", "http:", "mailto:", "tel:"];

/// A value that may stand where a link goes; nothing in place of others.
fn link(value: String) -> String {
    let value = value.trim();
    let is = |scheme: &&&str| {
        value.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    LINKS.iter().find(is).map_or_else(String::new, |_| value.to_owned())
}

fn nearest(field: &str, fields: &[String]) -> Option<String> {
    let field = field.to_lowercase();
    fields
        .iter()
        .map(|known| (strsim::jaro_winkler(&field, &known.to_lowercase()), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.clone())
}

/// The pieces of a text whose only tags are `{{ field }}`; `None` for all others.
fn merge_only<L>(
    text: &str,
    fields: &[String],
    literal: impl Fn(&str) -> L,
) -> Option<Vec<Piece<L>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = next_tag(rest) {
        if at > 0 {
            pieces.push(Piece::Literal(literal(&rest[..at])));
        }
        let (name, after) = rest[at..].strip_prefix("{{")?.split_once("}}")?;
        let name = name.trim_matches([' ', '\t', '\n']);
        pieces.push(Piece::Field(fields.iter().position(|field| field == name)?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(literal(rest)));
    }
    Some(pieces)
}

fn next_tag(text: &str) -> Option<usize> {
    let opens = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    memchr::memchr_iter(b'{', text.as_bytes()).find(opens)
}
