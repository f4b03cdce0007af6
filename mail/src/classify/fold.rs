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
    let mut folded = String::with_capacity(text.len() + 2);
    folded.push(' ');
    let mut rest = text.trim_start_matches(is_blank);
    // Where the word before stands in there, if it is a reply code.
    let mut code_at = None;
    loop {
        let plain = plain_words(rest);
        if !plain.is_empty() {
            folded.push_str(plain);
            folded.push(' ');
            rest = rest[plain.len()..].trim_start_matches(is_blank);
            code_at = None;
            continue;
        }
        let end = rest.find(is_blank).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        rest = after.trim_start_matches(is_blank);
        // `550-5.1.1 second line` and `550 5.1.1 second line`: the code interrupts
        // the sentence and is known from elsewhere.
        if let Some(at) = code_at.take_if(|_| is_status(word)) {
            folded.truncate(at);
            continue;
        }
        code_at = is_code(word).then_some(folded.len());
        let word = without_code(word);
        if !word.is_empty() {
            push_folded(word, &mut folded);
            folded.push(' ');
        }
    }
    // All at once is cheaper than word by word.
    folded.make_ascii_lowercase();
    folded
}

/// The same, where the folded form of another text is known, which often is the same text.
pub(crate) fn fold_beside<'a>(text: &str, known: &str, folded: &'a str) -> Cow<'a, str> {
    let examined = |text| cut(text, EXAMINED_OCTETS_MAX).trim_end();
    match examined(text) == examined(known) {
        true => Cow::Borrowed(folded),
        false => Cow::Owned(fold(text)),
    }
}

const AFTER_LETTER: u8 = 1;
const AFTER_BLANK: u8 = 2;

/// Where an octet may stand in plain words: behind a letter, behind a blank, or nowhere.
const PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut octet = b'!';
    while octet <= b'~' {
        places[octet as usize] = match octet {
            b'@' => 0,
            // A code or a status may begin with it.
            b'2' | b'4' | b'5' => AFTER_LETTER,
            _ => AFTER_LETTER | AFTER_BLANK,
        };
        octet += 1;
    }
    places[b' ' as usize] = AFTER_LETTER;
    places
};

/// The words with which a text begins, as far as they are plain: ASCII, neither addresses nor numbers,
/// one space between them. Nearly all words are, and one loop over many takes half the time of a loop
/// for each, whose end no processor foresees.
fn plain_words(text: &str) -> &str {
    let octets = text.as_bytes();
    let mut allowed = AFTER_BLANK;
    let stays = |octet: &&u8| {
        let stays = PLACES[usize::from(**octet)] & allowed != 0;
        allowed = if **octet == b' ' { AFTER_BLANK } else { AFTER_LETTER };
        stays
    };
    let stop = octets.iter().take_while(stays).count();
    let ends_word = octets.get(stop).is_none_or(|octet| matches!(octet, 0..=b' ' | 0x7f));
    let end = match ends_word {
        true => stop,
        false => octets[..stop].iter().rposition(|octet| *octet == b' ').unwrap_or(0),
    };
    text[..end].trim_end_matches(' ')
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
    !c.is_ascii_graphic()
        && (c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}'))
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

/// The case of ASCII is left to the end.
fn push_letters(text: &str, into: &mut String) {
    if text.is_ascii() {
        into.push_str(text);
        return;
    }
    for c in text.chars() {
        if c.is_ascii() {
            into.push(c);
            continue;
        }
        for lower in c.to_lowercase() {
            match plain(lower) {
                Some(plain) => into.push_str(plain),
                None => into.push(lower),
            }
        }
    }
}

/// The ASCII letters that stand for a Latin letter with an accent.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
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
        _ => return None,
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
