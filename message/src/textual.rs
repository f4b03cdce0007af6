//! The text part that is derived from an HTML template when there is none: a template, too,
//! with the same merge fields, so that values come into it as they are and not as HTML.
//!
//! Own code, because libraries that turn HTML into text read a finished document: they move
//! template tags out of tables and drop them from tags. Entities are mail-parser's.

use mail_parser::decoders::html::add_html_token;

use crate::markup::{Token, attribute, controls, tokens, value_tokens};

/// Elements that nobody sees. In a `head`, too, template tags count.
const HIDDEN: [&str; 9] =
    ["head", "script", "style", "title", "textarea", "template", "svg", "object", "noframes"];
/// Elements without an end.
const VOID: [&str; 8] = ["br", "img", "hr", "input", "meta", "link", "col", "wbr"];
/// With an empty line before and after.
const PARAGRAPHS: [&str; 14] =
    ["p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote", "pre", "hr"];
/// On lines of their own.
const LINES: [&str; 17] = [
    "div",
    "tr",
    "li",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "center",
    "address",
    "figure",
    "figcaption",
    "dt",
    "dd",
    "caption",
];
/// Lists deeper than this are indented no further.
const DEPTH_MAX: usize = 8;

/// The text of an HTML template; empty when it shows none.
pub(crate) fn text_of(html: &str) -> String {
    let mut writer = Writer::default();
    for token in tokens(html) {
        writer.token(&token);
    }
    writer.link_end();
    let text = writer.out;
    match writer.is_begun {
        true if text.ends_with('\n') => text,
        true => text + "\n",
        false => String::new(),
    }
}

/// What separates the next word from what is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    /// Another cell of a row.
    Cell,
    Line,
    Paragraph,
}

#[derive(Default)]
struct Writer<'a> {
    out: String,
    gap: Gap,
    /// Something was written that is seen; control tags are not.
    is_begun: bool,
    /// The element that hides what is in it, and how many of its name are open.
    hidden: Option<(String, usize)>,
    lists: Vec<List>,
    /// The link that is open: where it goes, and where its text begins.
    link: Option<(&'a str, usize)>,
    /// `pre` elements that are open.
    preformatted: usize,
}

struct List {
    /// The number of the next item; `None`: bullets.
    next: Option<u32>,
}

impl<'a> Writer<'a> {
    fn token(&mut self, token: &Token<'a>) {
        match token {
            // It takes no room: what follows it keeps its distance to what precedes.
            Token::Control(tag) => self.control(tag),
            Token::Start(name, attributes) => self.start(name, attributes),
            Token::End(name) => self.end(name),
            Token::Value(_) | Token::Text(_) if self.hidden.is_some() => {}
            Token::Value(tag) => {
                self.fill_gap();
                self.append(tag);
                self.is_begun = true;
            }
            Token::Text(text) => self.text(text),
        }
    }

    fn control(&mut self, tag: &str) {
        // Items that a loop repeats cannot be numbered beforehand.
        if let Some(list) = self.lists.last_mut() {
            list.next = None;
        }
        self.append(tag);
    }

    fn start(&mut self, name: &str, attributes: &'a str) {
        if let Some((hiding, depth)) = &mut self.hidden {
            if hiding == name {
                *depth += 1;
            }
            if !(hiding == "head" && name == "body") {
                return self.controls_of(attributes, None);
            }
            self.hidden = None;
        }
        if HIDDEN.contains(&name) || (!VOID.contains(&name) && is_hidden(attributes)) {
            self.hidden = Some((name.to_owned(), 1));
            return self.controls_of(attributes, None);
        }
        self.break_around(name);
        let used = match name {
            "a" => attribute(attributes, "href"),
            "img" => attribute(attributes, "alt"),
            _ => None,
        };
        self.controls_of(attributes, used);
        self.open(name, attributes, used);
    }

    fn open(&mut self, name: &str, attributes: &str, used: Option<&'a str>) {
        match name {
            "br" if self.gap == Gap::Line => self.gap = Gap::Paragraph,
            "br" => self.gap = self.gap.max(Gap::Line),
            "td" | "th" if self.is_begun => self.gap = self.gap.max(Gap::Cell),
            "hr" => {
                self.word("----------");
                self.gap = Gap::Paragraph;
            }
            "img" if !is_hidden(attributes) => self.value(used.unwrap_or_default()),
            "a" => {
                // Links do not nest: the one before ends here.
                self.link_end();
                self.link = Some((used.unwrap_or_default(), self.out.len()));
            }
            "ul" => self.lists.push(List { next: None }),
            "ol" => self.lists.push(List { next: Some(1) }),
            "li" => self.item(),
            "pre" => self.preformatted += 1,
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((hiding, depth)) = &mut self.hidden {
            if hiding == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "a" => self.link_end(),
            "li" => self.end_item(),
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            "ul" | "ol" => drop(self.lists.pop()),
            _ => {}
        }
        self.break_around(name);
    }

    fn break_around(&mut self, name: &str) {
        let is_nested_list = matches!(name, "ul" | "ol") && !self.lists.is_empty();
        if LINES.contains(&name) || is_nested_list {
            self.gap = self.gap.max(Gap::Line);
        } else if PARAGRAPHS.contains(&name) {
            self.gap = Gap::Paragraph;
        }
    }

    /// An attribute's value that is shown.
    fn value(&mut self, value: &'a str) {
        for token in value_tokens(value) {
            self.token(&token);
        }
    }

    /// The control tags of a tag's attributes, without those of the one that is shown.
    fn controls_of(&mut self, attributes: &'a str, used: Option<&'a str>) {
        let mut found = Vec::new();
        match used.and_then(|used| attributes.split_once(used)) {
            Some((before, after)) => {
                controls(before, &mut found);
                controls(after, &mut found);
            }
            None => controls(attributes, &mut found),
        }
        for token in &found {
            if let Token::Control(tag) = token {
                self.control(tag);
            }
        }
    }

    fn item(&mut self) {
        // An item without words.
        if self.out.ends_with(' ') {
            self.end_item();
        }
        let depth = self.lists.len().clamp(1, DEPTH_MAX);
        let mark = match self.lists.last_mut().and_then(|list| list.next.as_mut()) {
            Some(next) => {
                let mark = format!("{next}. ");
                *next += 1;
                mark
            }
            None => "- ".to_owned(),
        };
        self.word(&format!("{}{mark}", "  ".repeat(depth - 1)));
    }

    fn end_item(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.gap = self.gap.max(Gap::Line);
    }

    /// `text (URL)`; the URL alone for a link without text, and none that says nothing new.
    fn link_end(&mut self) {
        let Some((href, from)) = self.link.take() else { return };
        let href = href.trim();
        let written = self.out.get(from..).unwrap_or_default();
        let text = written.trim_matches(|c: char| c.is_whitespace() || c == '|');
        let lower = href.to_ascii_lowercase();
        let leads_nowhere =
            href.is_empty() || ["#", "javascript:", "cid:"].iter().any(|s| lower.starts_with(s));
        let bare = |url: &str| {
            let schemes = ["mailto:", "tel:", "https://", "http://"];
            let stripped = schemes.iter().find_map(|s| url.strip_prefix(s)).unwrap_or(url);
            stripped.trim_end_matches('/').to_owned()
        };
        if leads_nowhere || bare(text) == bare(&decoded(href)) {
            return;
        }
        if text.is_empty() {
            self.fill_gap();
            return self.address(href);
        }
        // It belongs to the text, whatever ended inside of the link.
        let gap = std::mem::replace(&mut self.gap, Gap::Space);
        self.fill_gap();
        self.push('(');
        self.address(href);
        self.push(')');
        self.gap = gap;
    }

    fn address(&mut self, href: &'a str) {
        for token in value_tokens(href) {
            match token {
                Token::Text(text) => decoded(text).chars().for_each(|c| self.push(c)),
                Token::Value(tag) | Token::Control(tag) => self.append(tag),
                Token::Start(..) | Token::End(_) => {}
            }
        }
        self.is_begun = true;
    }

    fn text(&mut self, text: &str) {
        let text = decoded(text);
        if self.preformatted > 0 {
            return self.lines(&text);
        }
        let is_blank = |c: char| c.is_whitespace() && c != '\u{a0}';
        for (i, word) in text.split(is_blank).enumerate() {
            if i > 0 {
                self.gap = self.gap.max(Gap::Space);
            }
            // Blanks alone only keep a cell open.
            match word.chars().all(|c| c == '\u{a0}') {
                true if word.is_empty() => {}
                true => self.gap = self.gap.max(Gap::Space),
                false => self.word(word),
            }
        }
    }

    /// Preformatted text.
    fn lines(&mut self, text: &str) {
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.gap = if self.gap >= Gap::Line { Gap::Paragraph } else { Gap::Line };
            }
            if !line.trim().is_empty() {
                self.word(line.trim_end());
            }
            if line.ends_with(' ') {
                self.gap = self.gap.max(Gap::Space);
            }
        }
    }

    fn word(&mut self, word: &str) {
        self.fill_gap();
        word.chars().for_each(|c| self.push(c));
        self.is_begun = true;
    }

    fn fill_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !self.is_begun {
            return;
        }
        // Nothing else leaves a blank at the end than the mark of an item.
        let after_mark = self.out.ends_with(' ');
        match gap {
            Gap::None => {}
            Gap::Space | Gap::Line | Gap::Paragraph if after_mark => {}
            Gap::Space => self.out.push(' '),
            Gap::Cell if self.out.ends_with('\n') => {}
            Gap::Cell => self.out.push_str(" | "),
            Gap::Line => self.out.push('\n'),
            Gap::Paragraph => self.out.push_str("\n\n"),
        }
    }

    /// A template tag as it is; a brace before it is kept from joining it.
    fn append(&mut self, tag: &str) {
        if self.out.ends_with('{') {
            self.out.pop();
            self.out.push_str("{{ '{' }}");
        }
        self.out.push_str(tag);
    }

    /// A character that is none of the template language, whatever stands before it.
    fn push(&mut self, c: char) {
        if self.out.ends_with('{') && matches!(c, '{' | '%' | '#') {
            self.out.pop();
            self.out.push_str("{{ '{' }}");
        }
        self.out.push(c);
    }
}

fn is_hidden(attributes: &str) -> bool {
    let style = attribute(attributes, "style").unwrap_or_default();
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect();
    let style = style.to_ascii_lowercase();
    style.contains("display:none") || style.contains("visibility:hidden")
}

/// Entities as the characters they stand for; what has no width is left out.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '#';
        let end = rest[1..].find(|c: char| !is_inside(c)).map(|end| end + 1);
        match end.filter(|end| *end > 1 && rest[*end..].starts_with(';')) {
            Some(end) => {
                add_html_token(&mut out, &rest.as_bytes()[..=end], false);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    let no_width = ['\u{200b}', '\u{200c}', '\u{feff}', '\u{ad}', '\u{34f}', '\0'];
    if out.contains(no_width) { out.replace(no_width, "") } else { out }
}

#[cfg(test)]
#[path = "textual_tests.rs"]
mod tests;
