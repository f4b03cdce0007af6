//! What becomes of real marketing mails, of broken markup, and of braces.

use proptest::prelude::*;

use super::*;

/// Real mails beside the text that must come of them; adding a case adds two files.
#[test]
fn marketing_mails_read_well_as_text() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/text");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let html = entry.expect("a file").path();
        if html.extension().is_some_and(|e| e == "html") {
            let read = |path| std::fs::read_to_string(path).expect("readable");
            let got = text_of(&read(html.clone()));
            // A typographic blank is hard to tell from another one in a text file.
            assert_eq!(got.replace('\u{a0}', " "), read(html.with_extension("txt")), "{html:?}");
            cases += 1;
        }
    }
    assert!(cases >= 2, "{cases} cases");
}

#[test]
fn nothing_shown_is_no_text() {
    for html in [
        "",
        " \n<br>&nbsp;",
        "<img src=x.png>",
        "<style>p{}</style><!-- words -->",
        "<p hidden style='display:none'>words <p>more</p></p>",
    ] {
        assert_eq!(text_of(html), "", "{html}");
    }
}

#[test]
fn broken_markup_shows_its_words() {
    for (html, text) in [
        ("1 < 2 > 0 {x} & y &bogus; &amp", "1 < 2 > 0 {x} & y &bogus; &amp\n"),
        ("<p>a<p>b</b></div>c", "a\n\nb\nc\n"),
        ("a<!-- b", "a\n"),
        ("<a href=\"x", "x\n"),
        ("<ul><li><li>b</ul>c", "-\n- b\n\nc\n"),
        ("{<b>{ a }}</b>", "{{ '{' }}{ a }}\n"),
        ("<a href=https://e.example/{{ a b }}/>x</a>", "x (https://e.example/{{ a b }}/)\n"),
        ("<!-- {% if a %} --><p>b</p><!-- {% endif %} -->", "{% if a %}b{% endif %}\n"),
    ] {
        assert_eq!(text_of(html), text, "{html}");
    }
}

proptest! {
    #[test]
    fn no_markup_makes_a_template_that_was_none(
        html in "(<p>|</p>|<a href=\"|\">|</a>|&#123;|&#37;|\\{|[%#}]|<b>|<li>|é| |a){0,40}"
    ) {
        prop_assume!(!["{{", "{%", "{#"].iter().any(|tag| html.contains(tag)));
        let text = text_of(&html);
        let mut env = minijinja::Environment::new();
        env.add_template("text", &text).expect("a template");
        let rendered = env.get_template("text").expect("it").render(()).expect("rendered");
        let expected = text.replace("{{ '{' }}", "{");
        prop_assert_eq!(rendered.trim_end(), expected.trim_end());
    }
}
