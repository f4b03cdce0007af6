//! Text made comparable: lower case, accents off, one space between words, mail
//! addresses reduced to `@`, repeated reply codes of continued lines dropped. Rules
//! and remote texts pass through here alike.

use std::borrow::Cow;

/// Octets of a text that the classifier looks at: a reply has at most 1 KB, a
/// diagnosis in a report says what it has to say long before this.
pub(crate) const EXAMINED_OCTETS_MAX: usize = 4096;

/// The comparable form of a remote text. A blank stands at both ends, so that a
/// pattern may ask for whole words.
#[must_use]
pub fn fold(text: &str) -> String {
    let text = cut(text, EXAMINED_OCTETS_MAX);
    // Nearly every text is of this kind, and parts into words an octet at a time.
    let is_plain = |b: u8| matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    if text.bytes().all(is_plain) {
        fold_words(text.len(), text.split_ascii_whitespace())
    } else {
        fold_words(text.len(), text.split(is_blank).filter(|word| !word.is_empty()))
    }
}

fn fold_words<'a>(octets: usize, words: impl Iterator<Item = &'a str>) -> String {
    let mut folded = String::with_capacity(octets + 2);
    folded.push(' ');
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        // `550-5.1.1 second line` and `550 5.1.1 second line`: the code interrupts
        // the sentence and is known from elsewhere.
        let next_is_status = words.peek().is_some_and(|next| is_status(next));
        if is_code(word) && next_is_status {
            words.next();
            continue;
        }
        let word = without_code(word);
        if !word.is_empty() {
            push_folded(word, &mut folded);
            folded.push(' ');
        }
    }
    folded
}

/// The first `max` octets, never splitting a character.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}')
}

fn is_code(word: &str) -> bool {
    let b = word.as_bytes();
    b.len() == 3 && matches!(b[0], b'4' | b'5') && b.iter().all(u8::is_ascii_digit)
}

fn is_status(word: &str) -> bool {
    matches!(word.as_bytes(), [b'2' | b'4' | b'5', b'.', ..])
        && word.parse::<crate::EnhancedStatus>().is_ok()
}

fn without_code(word: &str) -> &str {
    let Some((head, tail)) = word.split_at_checked(3) else { return word };
    match tail.strip_prefix('-') {
        Some(rest) if is_code(head) => {
            if is_status(rest) {
                ""
            } else {
                rest
            }
        }
        _ => word,
    }
}

/// A word may hold an address between other signs: `<ann@example.org>...` becomes
/// `<@>...`, because a mailbox may be called `mailbox.full`.
fn push_folded(word: &str, into: &mut String) {
    match word.find('@') {
        None => push_letters(word, into),
        Some(at) => {
            let inner = |c: char| {
                !matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | '"' | '\'' | ',' | ';' | ':')
            };
            let start = word[..at].rfind(|c| !inner(c)).map_or(0, |i| i + 1);
            let end = word[at..].find(|c| !inner(c)).map_or(word.len(), |i| at + i);
            push_letters(&word[..start], into);
            into.push('@');
            // A full stop after an address ends the sentence.
            if word[at..end].ends_with('.') {
                into.push('.');
            }
            push_letters(&word[end..], into);
        }
    }
}

fn push_letters(text: &str, into: &mut String) {
    if text.is_ascii() {
        let at = into.len();
        into.push_str(text);
        into[at..].make_ascii_lowercase();
        return;
    }
    for c in text.chars() {
        if c.is_ascii() {
            into.push(c.to_ascii_lowercase());
        } else {
            for lower in c.to_lowercase() {
                match plain(lower) {
                    Cow::Borrowed(plain) => into.push_str(plain),
                    Cow::Owned(same) => into.push_str(&same),
                }
            }
        }
    }
}

/// The ASCII letters that stand for a Latin letter with an accent.
fn plain(c: char) -> Cow<'static, str> {
    Cow::Borrowed(match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' | 'ĉ' | 'ċ' => "c",
        'ď' | 'đ' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'į' | 'ı' => "i",
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
        'ŕ' | 'ř' => "r",
        'ś' | 'ş' | 'š' | 'ș' => "s",
        'ţ' | 'ť' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' | 'ų' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'œ' => "oe",
        'æ' => "ae",
        'ß' => "ss",
        'ё' => "е",
        '’' | '‘' | '´' => "'",
        '“' | '”' | '«' | '»' => "\"",
        '–' | '—' => "-",
        // Accents written as characters of their own.
        '\u{300}'..='\u{36f}' => "",
        _ => return Cow::Owned(c.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_comparable() {
        let cases = [
            ("Boîte  aux\tlettres PLEINE", " boite aux lettres pleine "),
            ("L’adresse e\u{301}lectronique", " l'adresse electronique "),
            ("<full.box@example.org>... User unknown", " <@>... user unknown "),
            ("no account a@b.example.", " no account @. "),
            ("The email 550-5.1.1 account 550 5.1.1 is gone", " the email account is gone "),
            ("550-Second 550 users", " second 550 users "),
            ("", " "),
        ];
        for (text, expected) in cases {
            assert_eq!(fold(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert!(fold(&"é".repeat(5000)).len() <= EXAMINED_OCTETS_MAX);
    }
}
