//! The part of a mail that is the report: up to where the original begins. What
//! stands after that is somebody else's text and proves nothing.

use std::cell::OnceCell;
use std::sync::LazyLock;

use super::mime::Parts;
use super::named::head_address;
use super::phrases::phrases;
use super::{answer, fields};
use crate::category::Phase;
use crate::classify::{cut, fold, fold_beside};

/// Octets of the report that are read; the original below may be long.
pub(super) const SECTION_OCTETS_MAX: usize = 16 * 1024;
/// Heads of lines that say: here the original begins. Folded, without ornament.
const ORIGINAL_BEGINS: &[&str] = &[
    "this is a copy of",
    "below this line is a copy",
    "below the next line is a copy",
    "original message follows",
    "original message attached",
    "original message headers",
    "original message header",
    "original message details",
    "original message is",
    "original message below",
    "message header follows",
    "original mail headers",
    "original mail info",
    "original headers",
    "headers of your message",
    "headers of the original",
    "message headers:",
    "original email follows",
    "beginning of original message",
    "content of the original message",
    "message headers follow",
    "message text follows",
    "message body follows",
    "returned message",
    "unsent message",
    "undelivered message follows",
    "the header of the original message",
    "header of the original",
    "below is a copy of the original",
    "start of returned message",
    "included is a copy",
    "a copy of the original message",
    "a copy of your message",
    "the body of the message",
    "copy of the original message",
    "copy of message follows",
    "your message reads",
    "message contents follow",
    "the original message follows",
    "attachment is a copy",
    "mensaje original",
    "en-tetes de message",
    "en-tetes du message",
    "en-tete du message",
    "message d'origine",
    "message original",
    "ursprungliche nachricht",
    "ursprungliche nachrichtenkopf",
    "messaggio originale",
    "mensagem original",
    "исходное сообщение",
    "oorspronkelijk bericht",
    "oryginalna wiadomosc",
    "ursprungligt meddelande",
    "原始邮件",
    "原始郵件",
    "元のメッセージ",
    "end of message",
    "message body suppressed",
    "forwarded message",
];

phrases! {
    /// What reports of delay say, folded.
    DELAY = [
        "warning message only",
        "do not need to resend",
        "has been delayed",
        "is delayed",
        "message delayed",
        "delivery attempts will continue",
        "will continue trying",
        "will continue to try",
        "will be retried",
        "still being retried",
        "still awaiting delivery",
        "not yet been delivered",
        "hasn't been delivered yet",
        "has not yet been",
        "will keep trying",
        "only a temporary failure report",
        "delivery delayed",
        "delivery is delayed",
        "delivery status notification (delay",
        "warning: could not send message",
        "warning: message still undelivered",
        "delayed mail",
        "message is still in the queue",
        "no action is required on your part",
        "remise est retardee",
        "remise differee",
        "a ete retarde",
        "nouvelles tentatives",
        "consegna ritardata",
        "ritardo nella consegna",
        "non e' stato ancora consegnato",
        "non e stato ancora consegnato",
        "遅延",
        "まだ配送できて",
        "まだ配信できて",
        "is vertraagd",
        "nog niet bezorgd",
        "nog niet afgeleverd",
        "ar fordrojd",
        "annu inte kunnat",
        "er forsinket",
        "endnu ikke",
        "enda ikke",
        "задерживается",
        "пока не удалось доставить",
        "opoznion",
        "jeszcze nie zosta",
        "zpozden",
        "gecikti",
        "noch nicht zugestellt",
        "se ha retrasado",
        "retrasado",
        "aun no se ha podido",
        "foi adiada",
        "ainda nao foi entregue",
        "延迟",
        "延遲",
        "지연",
        "est differe ",
        "n'a pas encore pu",
        "pas encore ete remis",
        "verzogert",
    ]
}

phrases! {
    /// Whatever else they say, these have given up.
    GIVEN_UP = [
        "permanent error",
        "failed permanently",
        "stopped trying",
        "given up",
        "n'y aura pas de nouvelle",
        "definitivement",
        "endgultig",
        "definitivamente",
        "could not be delivered to one or more",
    ]
}

/// The texts of the report up to where the original begins.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) text: String,
    /// Its head, folded.
    pub(super) folded: String,
    phase: OnceCell<Phase>,
}

impl Section {
    pub(super) fn of(parts: &Parts) -> Self {
        let mut text = String::new();
        for (n, part) in parts.texts.iter().take(3).enumerate() {
            let begins = if n == 0 { begins_in_first(parts) } else { original_begins(part) };
            let end = begins.unwrap_or(part.len());
            text.push_str(cut(&part[..end], SECTION_OCTETS_MAX));
            text.push('\n');
            // A second text is the original's body, unless the first says next to nothing.
            if text.contains('@') || text.len() > 400 {
                break;
            }
        }
        let first = parts.texts.first().map_or("", String::as_str);
        let folded = fold_beside(&text, first, parts.said()).into_owned();
        Self { text, folded, phase: OnceCell::new() }
    }

    /// Whether the report says that it still tries.
    pub(super) fn says_delayed(&self, parts: &Parts) -> bool {
        (DELAY.occur_in(&self.folded) || DELAY.occur_in(parts.subject_folded()))
            && !GIVEN_UP.occur_in(&self.folded)
    }

    /// At which step it says that the answer came.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.get_or_init(|| answer::phase(&self.folded))
    }
}

/// The header of the original as the text quotes it.
pub(super) fn quoted_header<'a>(parts: &'a Parts) -> Option<&'a str> {
    let mut tail = &parts.texts.first()?[begins_in_first(parts)?..];
    while !tail.is_empty() {
        let (line, below) = tail.split_once('\n').unwrap_or((tail, ""));
        if fields::is_field(line) && !line.trim_end().ends_with(':') {
            return Some(tail);
        }
        tail = below;
    }
    None
}

/// Fields that follow one another, so far.
#[derive(Default)]
struct Pasted {
    from: usize,
    fields: u32,
    has_id: bool,
    has_head: bool,
    is_report: bool,
}

impl Pasted {
    fn take(&mut self, line: &str) {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        self.fields += 1;
        self.has_id |= name == "message-id";
        self.has_head |= matches!(name.as_str(), "from" | "date" | "mime-version");
        self.is_report |= ["recipient", "reason", "status", "error", "diagnostic", "action"]
            .iter()
            .any(|word| name.contains(word));
    }

    /// Whether only the header of a message has them.
    fn is_header(&self) -> bool {
        self.fields >= 3 && self.has_id && self.has_head && !self.is_report
    }
}

/// The first text is looked through once: for what it reports, and for what it quotes.
fn begins_in_first(parts: &Parts) -> Option<usize> {
    *parts.original_at.get_or_init(|| original_begins(parts.texts.first()?))
}

fn original_begins(text: &str) -> Option<usize> {
    let mut at = 0;
    // A header that was pasted without a word begins after a blank line, field upon field.
    let mut pasted: Option<Pasted> = None;
    let mut after_blank = true;
    for line in text.split_inclusive('\n') {
        let starts = |s: &str| line.get(..s.len()).is_some_and(|l| l.eq_ignore_ascii_case(s));
        let header = starts("Received: ") || starts("Return-Path: ") || starts("DKIM-Signature: ");
        if header || names_original(line) {
            return Some(at);
        }
        let is_blank = line.trim().is_empty();
        // Elsewhere a field is one line of prose among others.
        let may_be_field = !is_blank && (after_blank || pasted.is_some());
        let is_field = may_be_field && fields::is_field(line);
        if !is_field && !line.starts_with([' ', '\t']) {
            pasted = None;
        } else if is_field && pasted.is_none() && after_blank {
            pasted = Some(Pasted { from: at, ..Pasted::default() });
        }
        if let Some(pasted) = pasted.as_mut().filter(|_| is_field) {
            pasted.take(line);
            if pasted.is_header() {
                return Some(pasted.from);
            }
        }
        after_blank = is_blank;
        at += line.len();
    }
    None
}

/// The first letters of those sentences, in order. Folding each line of a long text would cost more
/// than all the rest.
static HEADS: LazyLock<Vec<[u8; 3]>> = LazyLock::new(|| {
    // Where a capital is another octet than its small letter.
    let capital = |sentence: &&str| {
        let mut letters = sentence.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    let small = ORIGINAL_BEGINS.iter().map(|sentence| (*sentence).to_owned());
    let sentences = small.chain(ORIGINAL_BEGINS.iter().filter_map(capital));
    let mut heads: Vec<[u8; 3]> = sentences
        .filter_map(|sentence| sentence.to_ascii_lowercase().as_bytes().first_chunk().copied())
        .collect();
    heads.sort_unstable();
    heads.dedup();
    heads
});

fn names_original(line: &str) -> bool {
    let is_ornament =
        |c: char| matches!(c, '-' | '*' | '|' | '=' | '_' | '>' | '#' | '+') || c.is_whitespace();
    let bare = line.trim_start_matches(is_ornament);
    let head: Option<[u8; 3]> = bare.as_bytes().first_chunk().copied();
    let is_head =
        |head: [u8; 3]| HEADS.binary_search(&head.map(|b| b.to_ascii_lowercase())).is_ok();
    if !head.is_some_and(is_head) {
        return false;
    }
    let bare = bare.trim_end_matches(is_ornament);
    let folded = fold(cut(bare, 200));
    let folded = folded.trim();
    bare.len() < 200
        && (folded == "original message" || ORIGINAL_BEGINS.iter().any(|o| folded.starts_with(o)))
}

/// The lines of a section that mention an address, each with the one below it.
pub(super) fn about(section: &str, address: &str) -> String {
    let address = address.to_lowercase();
    let lines: Vec<&str> = section.lines().collect();
    let mut kept = String::new();
    for (i, line) in lines.iter().enumerate() {
        if line.to_lowercase().contains(&address) && kept.len() < 4096 {
            let below = lines.get(i + 1).filter(|l| head_address(l).is_none());
            for line in [Some(line), below].into_iter().flatten() {
                kept.push_str(cut(line, 1000));
                kept.push('\n');
            }
        }
    }
    kept
}
