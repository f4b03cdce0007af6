//! Mail that came back once, of each way to write: the examples of `mail`, put on again for
//! another recipient. What each is meant to say was written beside it by hand.

use std::sync::LazyLock;

use include_dir::{Dir, File, include_dir};
use mail::{Category, Report};
use memchr::memmem;
use serde::{Serialize, Serializer};

use super::fate::{End, Meant};
use super::returns::Job;
use super::strict;
use crate::mix;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../mail/tests/returned");

/// All ways to write, and of each what can be written anew.
static DIALECTS: LazyLock<Vec<Vec<Example>>> = LazyLock::new(|| {
    let dialects = FILES.dirs().map(|folder| {
        let mails =
            folder.files().filter(|file| file.path().extension().is_some_and(|e| e == "eml"));
        mails.filter_map(Example::read).collect::<Vec<_>>()
    });
    dialects.filter(|examples| !examples.is_empty()).collect()
});

/// One mail that came back.
struct Example {
    /// The file, for people.
    name: String,
    /// As it is sent, lines ending in CRLF.
    mail: Vec<u8>,
    report: Report,
    /// Why the message failed; of failures.
    category: Option<Category>,
    /// The addresses of whom the message went to and of where the mail was sent to.
    recipient: String,
    return_path: Option<String>,
    message_id: Option<String>,
}

/// The place of an example: its dialect, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Written(u16, u16);

impl Written {
    /// Whichever comes first.
    pub(super) const ANY: Self = Self(0, 0);

    /// What comes back from this address: each way to write is as likely.
    pub(super) fn drawn(seed: u64, address: &str) -> Self {
        let mut dice = mix::Dice::new(mix::of_text(seed, 12, address));
        let mut below = |many: usize| dice.below(many as u64) as u16;
        let dialect = below(DIALECTS.len());
        Self(dialect, below(DIALECTS[usize::from(dialect)].len()))
    }

    fn example(self) -> &'static Example {
        &DIALECTS[usize::from(self.0)][usize::from(self.1)]
    }

    pub(super) const fn dialect(self) -> u16 {
        self.0
    }

    /// The message is taken first, whatever is said of it later.
    pub(super) fn meant(self) -> Meant {
        let example = self.example();
        let end = example.category.map_or(End::Delivered, End::Returned);
        Meant { end, report: Some(example.report) }
    }

    /// The mail about this message.
    pub(super) fn write(self, job: &Job) -> Vec<u8> {
        let example = self.example();
        let id = strict::message_id(&job.headers);
        let id = id.trim_matches(['<', '>']);
        let mut mail = replaced(&example.mail, &example.recipient, &job.recipient);
        for (old, new) in [(&example.return_path, &*job.return_path), (&example.message_id, id)] {
            if let Some(old) = old {
                mail = replaced(&mail, old, new);
            }
        }
        mail
    }
}

impl Example {
    /// `None` for what cannot be written anew: it names nobody, or nobody in plain letters.
    fn read(file: &File<'_>) -> Option<Self> {
        let expected = FILES.get_file(file.path().with_extension("expected"))?.contents_utf8()?;
        let mut lines = expected.lines().peekable();
        let report = Report::from_word(lines.next()?.strip_prefix("kind: ")?)?;
        let failure = lines.next_if(|line| line.starts_with("recipient: "));
        let named = failure.and_then(|line| line["recipient: ".len()..].split(',').next());
        let category = match report {
            Report::Failure => Some(Category::from_word(lines.next()?.trim().split(',').next()?)?),
            _ => None,
        };
        let about = |line: &str| -> Option<String> {
            line.strip_prefix("feedback: ")?.split('"').nth(1).map(str::to_owned)
        };
        let complained = expected.lines().find_map(about);
        let message_id = expected.lines().find_map(|line| line.strip_prefix("message-id: "));
        let headers = strict::header_block(file.contents());
        let recipient = match report {
            Report::Failure | Report::Delayed => named?.to_owned(),
            Report::Complaint | Report::OptOut => complained?,
            Report::AutoReply | Report::ChallengeResponse | Report::Mdn | Report::Other => {
                address(&strict::field(headers, "From"))?
            }
            // These are about no message, or about one that nobody asked for.
            _ => return None,
        };
        memmem::find(file.contents(), recipient.as_bytes())?;
        Some(Self {
            name: file.path().display().to_string(),
            mail: with_crlf(file.contents()),
            report,
            category,
            recipient,
            return_path: address(&strict::field(headers, "To")),
            message_id: message_id.map(str::to_owned),
        })
    }
}

/// The first address in a field.
fn address(field: &str) -> Option<String> {
    let words = field.split(|c: char| c.is_whitespace() || "<>,;\"()".contains(c));
    words.into_iter().find(|word| word.contains('@')).map(str::to_owned)
}

fn with_crlf(mail: &[u8]) -> Vec<u8> {
    let lines = mail.split_inclusive(|octet| *octet == b'\n');
    let ended = lines.map(|line| match line.strip_suffix(b"\n") {
        Some(line) => [line.strip_suffix(b"\r").unwrap_or(line), b"\r\n"].concat(),
        None => [line, b"\r\n"].concat(),
    });
    ended.collect::<Vec<_>>().concat()
}

fn replaced(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, old.as_bytes()) {
        written.extend_from_slice(&rest[..at]);
        written.extend_from_slice(new.as_bytes());
        rest = &rest[at + old.len()..];
    }
    written.extend_from_slice(rest);
    written
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.example().name)
    }
}

#[cfg(test)]
mod tests {
    use mail::returned;

    use super::*;
    use crate::internet::fate::Fate;

    /// Nearly all ways to write are spoken, and each still says what it said of another.
    #[test]
    fn what_is_written_anew_says_the_same_of_somebody_else() {
        assert!(DIALECTS.len() >= 50, "only {} ways to write", DIALECTS.len());
        let mut wrong = Vec::new();
        for (dialect, examples) in DIALECTS.iter().enumerate() {
            for (number, example) in examples.iter().enumerate() {
                let written = Written(dialect as u16, number as u16);
                let job = Job {
                    report: example.report,
                    fate: Fate::Written(written),
                    host: 0,
                    recipient: "someone.else@hoster-7.pretend.example".to_owned(),
                    return_path: "b-7yk3@bounce.pretend.test".to_owned(),
                    client: [127, 0, 0, 1].into(),
                    headers: b"Message-ID: <new@pretend.test>\r\n".to_vec(),
                };
                let read = returned::parse(&written.write(&job));
                let category = read.failures.first().map(|failure| failure.finding.category);
                let meant = written.meant();
                let is_same = match meant.end {
                    End::Returned(meant) => category == Some(meant),
                    _ => true,
                };
                if !is_same || Some(read.kind) != meant.report {
                    wrong.push(format!("{}: {category:?} {:?}", example.name, read.kind));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
