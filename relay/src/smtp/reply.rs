//! Replies read one by one, none lost: what came before the connection broke is kept,
//! and so is what came after the reply that was asked for.

use std::io;

use mail::classify::Own;
use mail::{EnhancedStatus, Reply};
use smtp_proto::Response;
use smtp_proto::response::parser::ResponseReceiver;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::words::Flaw;

/// A reply longer than this is a broken server or a hostile one. RFC 5321, 4.5.3.1.5
/// asks for 512 a line.
const REPLY_OCTETS_MAX: usize = 8 * 1024;
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

/// Reads replies off a stream.
#[derive(Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Where the unread octets of `buffer` begin.
    at: usize,
    receiver: ResponseReceiver,
    /// Octets of the reply that is being read.
    octets: usize,
}

impl ReplyReader {
    /// The next reply. After an error the stream is of no more use.
    pub async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<Response<String>, Trouble> {
        loop {
            if let Some(response) = self.parse()? {
                return Ok(response);
            }
            self.buffer.resize(READ_OCTETS, 0);
            let read = stream.read(&mut self.buffer).await;
            self.buffer.truncate(read.as_ref().copied().unwrap_or(0));
            self.at = 0;
            if read? == 0 {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Whether nothing was received beyond the last reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.buffer.len() && self.octets == 0
    }

    /// Takes in octets that were read by others.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// A reply out of what is there; `None` when more is needed.
    pub(super) fn parse(&mut self) -> Result<Option<Response<String>>, Trouble> {
        let unread = &self.buffer[self.at..];
        if unread.is_empty() {
            return Ok(None);
        }
        let mut octets = unread.iter();
        let result = self.receiver.parse(&mut octets);
        let used = unread.len() - octets.len();
        let began = self.at;
        self.at += used;
        self.octets += used;
        match result {
            Ok(response) => {
                self.receiver.reset();
                self.octets = 0;
                if !(200..600).contains(&response.code) {
                    return Err(self.garbage(began));
                }
                Ok(Some(response))
            }
            Err(smtp_proto::Error::NeedsMoreData { .. }) if self.octets <= REPLY_OCTETS_MAX => {
                Ok(None)
            }
            Err(smtp_proto::Error::NeedsMoreData { .. } | smtp_proto::Error::ResponseTooLong) => {
                Err(Trouble::TooLong)
            }
            Err(_) => Err(self.garbage(began)),
        }
    }

    /// What came instead of a reply, its beginning.
    fn garbage(&self, began: usize) -> Trouble {
        let unread = &self.buffer[began..];
        let seen = String::from_utf8_lossy(&unread[..unread.len().min(60)]);
        Trouble::Garbage(mail::reply::clean_text(&seen))
    }
}

/// The shared form of a reply.
pub(super) fn to_reply(response: &Response<String>) -> Reply {
    let [class, subject, detail] = response.esc;
    let status = matches!(class, 2 | 4 | 5)
        .then(|| EnhancedStatus(class, u16::from(subject), u16::from(detail)));
    Reply::new(response.code, status, &response.message)
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
