//! An HTML template cut into its tokens. It is no document yet: template tags may stand
//! anywhere, in the middle of a table or of a tag, and a parser that builds a tree would
//! move what is inside them elsewhere. So nothing is nested here, and nothing is repaired.

/// A piece of an HTML template, in the order of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Text, entities not decoded.
    Text(&'a str),
    /// `{{ … }}`.
    Value(&'a str),
    /// `{% … %}`, wherever it stands: between tags, in a tag, in a comment or a style sheet.
    Control(&'a str),
    /// A start tag; the name in lower case, and what follows it up to the `>`.
    Start(String, &'a str),
    /// An end tag.
    End(String),
}

/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "title", "textarea"];

/// All tokens of a template.
pub(crate) fn tokens(html: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = html;
    while !rest.is_empty() {
        rest = match rest.find(['<', '{']) {
            None => {
                tokens.push(Token::Text(rest));
                ""
            }
            Some(0) => token(rest, &mut tokens),
            Some(at) => {
                tokens.push(Token::Text(&rest[..at]));
                &rest[at..]
            }
        };
    }
    tokens
}

/// The token at the start of `rest`, and what comes after it.
fn token<'a>(rest: &'a str, tokens: &mut Vec<Token<'a>>) -> &'a str {
    if let Some((token, after)) = template_tag(rest) {
        tokens.extend(token);
        return after;
    }
    if let Some(comment) = rest.strip_prefix("<!--") {
        let (inside, after) = comment.split_once("-->").unwrap_or((comment, ""));
        controls(inside, tokens);
        return after;
    }
    let is_tag = rest.strip_prefix('<').is_some_and(|r| {
        r.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
    });
    if !is_tag {
        tokens.push(Token::Text(&rest[..1]));
        return &rest[1..];
    }
    let (inside, after) = rest[1..].split_at(tag_end(&rest[1..]));
    tag(inside, after.strip_prefix('>').unwrap_or(after), tokens)
}

fn tag<'a>(inside: &'a str, after: &'a str, tokens: &mut Vec<Token<'a>>) -> &'a str {
    let (is_end, inside) = inside.strip_prefix('/').map_or((false, inside), |i| (true, i));
    let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '{');
    let (name, attributes) = inside.split_at(inside.find(ends).unwrap_or(inside.len()));
    let name = name.to_ascii_lowercase();
    if is_end {
        tokens.push(Token::End(name));
        return after;
    }
    if name.starts_with(['!', '?']) {
        return after;
    }
    if !RAW.contains(&name.as_str()) {
        tokens.push(Token::Start(name, attributes));
        return after;
    }
    let end = find_end(after, &name);
    controls(&after[..end], tokens);
    &after[end..]
}

/// Where the end tag of a raw element begins.
fn find_end(text: &str, name: &str) -> usize {
    let is_end = |at: &usize| {
        let tail = text.as_bytes().get(at + 2..at + 2 + name.len());
        text[*at..].starts_with("</")
            && tail.is_some_and(|t| t.eq_ignore_ascii_case(name.as_bytes()))
    };
    memchr::memchr_iter(b'<', text.as_bytes()).find(is_end).unwrap_or(text.len())
}

/// A template tag at the start of a text; a comment of the template language is none.
fn template_tag(text: &str) -> Option<(Option<Token<'_>>, &str)> {
    let close = match text.as_bytes() {
        [b'{', b'{', ..] => "}}",
        [b'{', b'%', ..] => "%}",
        [b'{', b'#', ..] => "#}",
        _ => return None,
    };
    let end = text[2..].find(close).map_or(text.len(), |at| at + 4);
    let (tag, after) = text.split_at(end);
    let token = match close {
        "}}" => Some(Token::Value(tag)),
        "%}" => Some(Token::Control(tag)),
        _ => None,
    };
    Some((token, after))
}

/// Only the control tags of a text that is not shown: they may open what is closed elsewhere.
pub(crate) fn controls<'a>(text: &'a str, tokens: &mut Vec<Token<'a>>) {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        rest = match template_tag(rest) {
            Some((token, after)) => {
                tokens.extend(token.filter(|t| matches!(t, Token::Control(_))));
                after
            }
            None => &rest[1..],
        };
    }
}

/// Where a tag ends: at the first `>` outside of quotes and template tags.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if let Some((_, after)) = template_tag(&text[at..]) {
            at = text.len() - after.len();
            continue;
        }
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') if text[..at].trim_end().ends_with('=') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        at += c.len_utf8();
    }
    text.len()
}

/// The value of an attribute, as it stands in the source.
pub(crate) fn attribute<'a>(attributes: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        if let Some((_, after)) = template_tag(rest) {
            rest = after;
            continue;
        }
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/');
        let end = rest.find(ends).unwrap_or(rest.len()).max(rest.chars().next()?.len_utf8());
        let (name, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            rest = after;
            continue;
        };
        let (value, after) = attribute_value(value.trim_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let inside = if quote.is_some() { &text[1..] } else { text };
    let mut at = 0;
    while let Some(c) = inside[at..].chars().next() {
        if let Some((_, after)) = template_tag(&inside[at..]) {
            at = inside.len() - after.len();
        } else if quote.map_or(c.is_ascii_whitespace(), |quote| c == quote) {
            return (&inside[..at], &inside[at + 1..]);
        } else {
            at += c.len_utf8();
        }
    }
    (inside, "")
}

/// Text and template tags of an attribute's value.
pub(crate) fn value_tokens(value: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        if let Some((token, after)) = template_tag(rest) {
            tokens.extend(token);
            rest = after;
            continue;
        }
        let next = rest.char_indices().skip(1).find(|(_, c)| *c == '{');
        let next = next.map_or(rest.len(), |(at, _)| at);
        tokens.push(Token::Text(&rest[..next]));
        rest = &rest[next..];
    }
    tokens
}
