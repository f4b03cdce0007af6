//! A newsletter of a chosen size with the generator's merge fields.

use super::names::PROSE;

/// Subject and bodies of a pretend campaign, in the template language of campaigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The subject line.
    pub subject: String,
    /// The plain-text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
}

impl Template {
    /// A newsletter whose two bodies together come to `octets` (at least 1 KB), give or
    /// take a paragraph: a quarter is text, the rest HTML. ASCII only, lines under 100
    /// octets, so that no transfer encoding changes the size on the wire.
    #[must_use]
    pub fn of_size(octets: usize) -> Self {
        let octets = octets.max(1024);
        Self {
            subject: "{{ first_name }}, your place is kept (code {{ code }})".to_owned(),
            text: text(octets / 4),
            html: html(octets - octets / 4),
        }
    }
}

fn text(octets: usize) -> String {
    let tail = "\nYour code: {{ code }}\nSee you in {{ city }},\nthe house\n";
    let mut body = String::from("Good morning {{ first_name }},\n\n");
    for (i, sentence) in PROSE.iter().cycle().enumerate() {
        if body.len() + tail.len() + sentence.len() > octets {
            break;
        }
        body.push_str(sentence);
        body.push_str(if i % 4 == 3 { "\n\n" } else { "\n" });
    }
    body + tail
}

fn html(octets: usize) -> String {
    let tail = "<p class=\"code\">Your code: <b>{{ code }}</b></p>\n\
                <p>See you in {{ city }}</p>\n</body>\n</html>\n";
    let mut body = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <style>body{font-family:sans-serif;max-width:36em}.code{color:#a40}</style>\n\
         </head>\n<body>\n<h1>Good morning {{ first_name }}</h1>\n",
    );
    for sentence in PROSE.iter().cycle() {
        if body.len() + tail.len() + sentence.len() + 8 > octets {
            break;
        }
        body.push_str("<p>");
        body.push_str(sentence);
        body.push_str("</p>\n");
    }
    body + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_its_size_and_its_fields() {
        for octets in [10_000, 50_000] {
            let t = Template::of_size(octets);
            let size = t.text.len() + t.html.len();
            assert!(size <= octets && size > octets - 250, "{size} for {octets}");
            for field in super::super::MERGE_FIELDS {
                assert!(t.text.contains(&format!("{{{{ {field} }}}}")));
                assert!(t.html.contains(&format!("{{{{ {field} }}}}")));
            }
            assert!(t.text.lines().chain(t.html.lines()).all(|l| l.len() < 100));
        }
    }
}
