//! Replies read one by one, none lost: what came before the connection broke is kept,
//! and so is what came after the reply that was asked for.

use std::io;

use mail::classify::Own;
use mail::{EnhancedStatus, Reply};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::words::Flaw;

/// A reply longer than this is a broken server or a hostile one: 64 lines of 512 octets, which is
/// what RFC 5321, 4.5.3.1.5 gives a line; it sets no bound to their number.
const REPLY_OCTETS_MAX: usize = 32 * 1024;
/// What is read at a time; a pipeline's replies mostly fit.
const READ_OCTETS: usize = 2048;

/// What went wrong when it was not the server that said no.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The connection ended.
    #[error("the connection was closed")]
    Closed,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The network failed.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// More than a reply may hold.
    #[error("a reply of more than {REPLY_OCTETS_MAX} octets")]
    TooLong,
    /// Not SMTP.
    #[error("not a reply: {0:?}")]
    Garbage(String),
    /// Lines of one reply that do not agree (RFC 5321, 4.2.1: "MUST be the same").
    #[error("a reply with two codes, {0} and {1}")]
    TwoCodes(u16, u16),
    /// A reply that does not fit what was asked.
    #[error("a reply out of place: {0}")]
    OutOfPlace(Reply),
    /// TLS did not come about.
    #[error("handshake failed: {0}")]
    Tls(Flaw),
    /// What a domain demands of TLS is not to be had, in its own words (MTA-STS, DANE).
    #[error("{0}")]
    Policy(String),
    /// The message demands verified TLS all the way (RFC 8689), and why it cannot have it here.
    #[error("{why}")]
    NotAssured {
        /// What that means.
        own: Own,
        /// In words.
        why: String,
    },
    /// The server says that it is who we are.
    #[error("it calls itself {0}, which is our own name: mail to it would come back to us")]
    Ourselves(String),
    /// The server lacks what the policy demands.
    #[error("{0} is not offered")]
    NotOffered(&'static str),
    /// A next hop that must be logged in to does not let us in.
    #[error("{why}")]
    Login {
        /// What it said, or what is missing here. Holds no secret.
        why: String,
        /// Whether it says that it may be different in a moment; else an operator must act.
        passing: bool,
    },
    /// The egress source has no way to the server: other sources may.
    #[error("{0}")]
    NoWay(String),
    /// The egress source itself cannot be used now, whatever the server: other sources can.
    #[error("{0}")]
    Source(String),
}

impl Trouble {
    /// As reports about TLS have it, where it came up with TLS.
    pub(super) fn flaw(&self) -> Flaw {
        match self {
            Self::Tls(flaw) => Flaw { why: self.to_string(), ..flaw.clone() },
            Self::NotOffered(_) => Flaw::not_offered(),
            other => Flaw::other(other.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// A reply as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The enhanced status (RFC 2034), the last one where lines have several.
    pub status: Option<EnhancedStatus>,
    /// What it said: its lines without code and status, LF between them.
    pub text: String,
}

/// Reads replies off a stream.
#[derive(Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Where the unread octets of `buffer` begin.
    at: usize,
    /// The lines so far of the reply that is being read, and how many octets they were.
    begun: Option<Response>,
    octets: usize,
}

impl ReplyReader {
    /// The next reply. After an error the stream is of no more use.
    pub async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<Response, Trouble> {
        loop {
            if let Some(response) = self.parse()? {
                return Ok(response);
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.reserve(READ_OCTETS);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Whether nothing was received beyond the last reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.buffer.len() && self.begun.is_none()
    }

    /// Takes in octets that were read by others.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// A reply out of what is there; `None` when more is needed.
    pub(super) fn parse(&mut self) -> Result<Option<Response>, Trouble> {
        loop {
            let unread = &self.buffer[self.at..];
            let Some(end) = memchr::memchr(b'\n', unread) else { return self.unended() };
            self.octets += end + 1;
            if self.octets > REPLY_OCTETS_MAX {
                return Err(Trouble::TooLong);
            }
            let Some((line, is_last)) = line(unread[..end].trim_ascii_end()) else {
                return Err(self.garbage());
            };
            self.at += end + 1;
            match &mut self.begun {
                None => self.begun = Some(line),
                Some(begun) if begun.code != line.code => {
                    return Err(Trouble::TwoCodes(begun.code, line.code));
                }
                Some(begun) => {
                    begun.status = line.status.or(begun.status);
                    begun.text.push('\n');
                    begun.text.push_str(&line.text);
                }
            }
            if is_last {
                self.octets = 0;
                return Ok(self.begun.take());
            }
        }
    }

    /// A line that has no end yet, if it can become one of a reply.
    fn unended(&self) -> Result<Option<Response>, Trouble> {
        let unread = &self.buffer[self.at..];
        let (code, rest) = unread.split_at(unread.len().min(3));
        let is_begun = code.iter().all(u8::is_ascii_digit)
            && rest.first().is_none_or(|octet| *octet == b'-' || octet.is_ascii_whitespace());
        match is_begun {
            false => Err(self.garbage()),
            true if self.octets + unread.len() > REPLY_OCTETS_MAX => Err(Trouble::TooLong),
            true => Ok(None),
        }
    }

    /// What came instead of a reply, its beginning.
    fn garbage(&self) -> Trouble {
        let unread = &self.buffer[self.at..];
        let seen = String::from_utf8_lossy(&unread[..unread.len().min(60)]);
        Trouble::Garbage(mail::reply::clean_text(&seen))
    }
}

/// A line of a reply, and whether it is its last (RFC 5321, 4.2).
fn line(octets: &[u8]) -> Option<(Response, bool)> {
    let (code, rest) = octets.split_at_checked(3)?;
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    let (is_last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return None,
    };
    let text = String::from_utf8_lossy(text);
    let (first, others) = text.split_once(' ').unwrap_or((&text, ""));
    let (status, text) = match first.parse() {
        Ok(status) => (Some(status), others.to_owned()),
        Err(_) => (None, text.into_owned()),
    };
    (200..600).contains(&code).then_some((Response { code, status, text }, is_last))
}

/// The shared form of a reply.
pub(super) fn to_reply(response: &Response) -> Reply {
    Reply::new(response.code, response.status, &response.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(chunks: &[&[u8]]) -> (Vec<String>, String) {
        let mut mock = chunks.concat();
        // One octet at a time is the worst that a network does.
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        let (mut near, mut far) = tokio::io::duplex(1);
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            mock.truncate(200_000);
            let _ = far.write_all(&mock).await;
        });
        let end = loop {
            match reader.next(&mut near).await {
                Ok(response) => replies.push(to_reply(&response).to_string()),
                Err(trouble) => break trouble.to_string(),
            }
        };
        drop(near);
        writer.await.unwrap();
        (replies, end)
    }

    #[tokio::test]
    async fn every_reply_before_the_end_is_kept() {
        let (replies, end) =
            read_all(&[b"250-2.1.0 a\r\n250 2.1.0 b\r\n550 5.1.1 no\r\n421 4.7.0 bye\r\n25"]).await;
        assert_eq!(replies, ["250 2.1.0 a b", "550 5.1.1 no", "421 4.7.0 bye"]);
        assert_eq!(end, "the connection was closed");
        let (replies, _) = read_all(&[b"250\r\n550 5.7.509 no\n220-a\r\n220-\r\n220 b\r\n"]).await;
        assert_eq!(replies, ["250 ", "550 5.7.509 no", "220 a b"]);
        let (replies, _) = read_all(&[b"354\t\r\n250\x0c\n221 bye \t\n"]).await;
        assert_eq!(replies, ["354 ", "250 ", "221 bye"]);
    }

    #[tokio::test]
    async fn full_lines_are_read_as_many_as_there_is_room_for() {
        let line = |mark: &str| [format!("250{mark}").as_bytes(), &[b'x'; 506], b"\r\n"].concat();
        assert_eq!(line("-").len(), 512);
        let reply = |lines: usize| [line("-").repeat(lines - 1), line(" ")].concat();
        for lines in [1, 9, 64] {
            let mut reader = ReplyReader::default();
            reader.feed(&reply(lines));
            let read = reader.parse().expect("a reply").expect("a whole one");
            assert_eq!((read.code, read.text.len()), (250, 507 * lines - 1));
            assert!(reader.is_empty());
        }
        assert_eq!(read_all(&[&reply(65)]).await.1, "a reply of more than 32768 octets");
    }

    #[tokio::test]
    async fn lines_of_one_reply_have_one_code() {
        let (replies, end) = read_all(&[b"250 ok\r\n250-yes\r\n550 no\r\n250 ok\r\n"]).await;
        assert_eq!((replies.len(), end.as_str()), (1, "a reply with two codes, 250 and 550"));
    }

    #[tokio::test]
    async fn endless_replies_and_garbage_are_refused() {
        let line = [b"250 ".as_slice(), &[b'x'; 100_000]].concat();
        assert_eq!(read_all(&[&line]).await.1, Trouble::TooLong.to_string());
        let lines = b"250-\r\n".repeat(10_000);
        assert_eq!(read_all(&[&lines]).await.1, Trouble::TooLong.to_string());
        assert_eq!(read_all(&[b"HTTP/1.1 400\r\n"]).await.1, "not a reply: \"H\"");
        assert_eq!(read_all(&[b"999 x\r\n"]).await.0, [""; 0]);
        assert!(read_all(&[b"100 x\r\n"]).await.1.starts_with("not a reply"));
        assert!(read_all(&[b"\0\xff\xfe"]).await.1.starts_with("not a reply"));
    }

    #[test]
    fn what_follows_a_reply_stays() {
        let mut reader = ReplyReader::default();
        reader.feed(b"220 go\r\n250 injected\r\n");
        assert_eq!(reader.parse().unwrap().unwrap().code, 220);
        assert!(!reader.is_empty());
        assert_eq!(reader.parse().unwrap().unwrap().code, 250);
        assert!(reader.is_empty());
        reader.feed(b"25");
        assert!(reader.parse().unwrap().is_none());
        assert!(!reader.is_empty());
    }
}
