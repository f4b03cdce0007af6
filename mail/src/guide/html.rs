//! The guide as one page: nothing is loaded, nothing runs, every text is escaped.

use std::fmt::Write as _;

use super::labels::Labels;
use super::{Chapter, Entry};
use crate::plain::Lang;

/// Colours that keep their contrast in the light and in the dark (WCAG 2.2, 1.4.3).
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif}\
h1,h2,h3{line-height:1.25}article{margin:2rem 0;border-top:1px solid #888}\
dt{font-weight:700;margin-top:.6rem}dd{margin:0 0 0 1rem}\
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}nav ul{columns:16rem}";

pub(super) fn page(lang: Lang, labels: &Labels, chapters: &[Chapter]) -> String {
    let (title, about) = (escaped(labels.title, lang), escaped(labels.about, lang));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p>{about}</p>\n"
    );
    push_contents(&mut page, lang, labels, chapters);
    for chapter in chapters {
        let (title, about) = (escaped(chapter.title, lang), escaped(chapter.about, lang));
        let _infallible = write!(page, "<section>\n<h2>{title}</h2>\n<p>{about}</p>\n");
        for entry in &chapter.entries {
            push_entry(&mut page, lang, labels, entry);
        }
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn push_contents(page: &mut String, lang: Lang, labels: &Labels, chapters: &[Chapter]) {
    let contents = escaped(labels.contents, lang);
    let _infallible = write!(page, "<nav aria-label=\"{contents}\">\n<h2>{contents}</h2>\n<ul>\n");
    for entry in chapters.iter().flat_map(|chapter| &chapter.entries) {
        let word = escaped(entry.word, lang);
        let title = match entry.title {
            "" => format!("<code>{word}</code>"),
            title => escaped(title, lang),
        };
        let _infallible = writeln!(page, "<li><a href=\"#{word}\">{title}</a></li>");
    }
    page.push_str("</ul>\n</nav>\n");
}

fn push_entry(page: &mut String, lang: Lang, labels: &Labels, entry: &Entry) {
    let word = escaped(entry.word, lang);
    let title = match entry.title {
        "" => format!("<code>{word}</code>"),
        title => format!("{} <small><code>{word}</code></small>", escaped(title, lang)),
    };
    let _infallible = write!(page, "<article id=\"{word}\">\n<h3>{title}</h3>\n<dl>\n");
    let mut line = |label: &str, value: String| {
        let _infallible = writeln!(page, "<dt>{}</dt><dd>{value}</dd>", escaped(label, lang));
    };
    line(labels.what, escaped(entry.plain.what, lang));
    line(labels.todo, escaped(entry.plain.todo, lang));
    if let Some(address) = &entry.address {
        line(labels.address, escaped(address, lang));
    }
    if let Some(again) = entry.again {
        line(labels.again, escaped(again, lang));
    }
    if !entry.particulars.is_empty() {
        let items =
            entry.particulars.iter().map(|text| format!("<li>{}</li>", escaped(text, lang)));
        line(labels.particulars, format!("<ul>{}</ul>", items.collect::<String>()));
    }
    if let Some(example) = entry.example {
        line(labels.example, format!("<code lang=\"\">{}</code>", entities(example)));
    }
    page.push_str("</dl>\n</article>\n");
}

/// For text and attributes alike.
fn entities(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The same, and in French a sign that stands after a blank does not begin a line.
fn escaped(text: &str, lang: Lang) -> String {
    let text = entities(text);
    match lang {
        Lang::En => text,
        Lang::Fr => [':', ';', '?', '!']
            .iter()
            .fold(text, |text, sign| text.replace(&format!(" {sign}"), &format!("\u{a0}{sign}"))),
    }
}
