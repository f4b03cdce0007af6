//! Lines and mails off the wire, within bounds. A line ends in CRLF and in nothing
//! else; a mail ends in CRLF.CRLF and in nothing else (RFC 5321, 2.3.8 and 4.1.1.4):
//! who sees an end where the next system sees none lets mail be smuggled in.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// A command line: RFC 5321, 4.5.3.1.4 asks for 512 octets, extensions add to it.
const COMMAND_OCTETS_MAX: usize = 2048;
/// After the last word a client is heard for this long, so that it reads it.
const LINGER: Duration = Duration::from_secs(2);
/// A mail that is refused is still heard to its end, if that is near: then the client
/// reads why. Past this many times the limit it is cut off.
const HEARD_TIMES: usize = 2;

/// Reports are smaller than this. Few mails may be larger at the same time, so that all
/// connections together cannot take all memory.
const SMALL_OCTETS: usize = 512 * 1024;

/// A client's side of the connection, buffered.
pub(crate) struct Wire<S> {
    stream: BufReader<S>,
    answers: Vec<u8>,
}

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum NoLine {
    /// The connection ended.
    End,
    /// Too slow.
    Late,
    /// Longer than any command.
    Long,
    /// A CR or LF on its own, or a NUL.
    Bare,
}

/// A mail, or what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// All of it, dots unstuffed.
    Whole(Vec<u8>),
    /// It ended, and cannot be taken.
    Unfit(Unfit),
    /// It did not end in time or within reach: the connection is of no more use.
    Broken(Unfit),
    /// The connection ended.
    End,
}

/// What is wrong with a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A CR or LF on its own.
    Bare,
    /// A line past the limit.
    LongLine,
    /// More octets than the limit.
    Large,
    /// Too slow.
    Late,
    /// Large, and too many others are large at the moment.
    Crowded,
}

/// How large a mail may be, and who else is large.
#[derive(Clone, Copy)]
pub(crate) struct Room<'r> {
    pub(crate) bytes_max: usize,
    pub(crate) line_bytes_max: usize,
    pub(crate) large: &'r Semaphore,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::with_capacity(16 * 1024, stream), answers: Vec::new() }
    }

    /// Adds a line to the answers; they leave together (RFC 2920).
    pub(crate) fn say(&mut self, line: &str) {
        self.answers.extend_from_slice(line.as_bytes());
        self.answers.extend_from_slice(b"\r\n");
    }

    /// Sends the answers.
    pub(crate) async fn flush(&mut self, within: Duration) -> io::Result<()> {
        let answers = std::mem::take(&mut self.answers);
        let send = async {
            self.stream.write_all(&answers).await?;
            self.stream.flush().await
        };
        timeout_at(Instant::now() + within, send).await?
    }

    /// Whether the client has sent more already.
    pub(crate) fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// The connection itself, when nothing of it is in our hands.
    pub(crate) fn into_stream(self) -> S {
        self.stream.into_inner()
    }

    /// Waits until the client says something, or has gone.
    pub(crate) async fn heard(&mut self) {
        // An error or an end is found by whoever reads next.
        let _ = self.stream.fill_buf().await;
    }

    /// One command line, without its CRLF.
    pub(crate) async fn line(&mut self, within: Duration) -> Result<Vec<u8>, NoLine> {
        let deadline = Instant::now() + within;
        let mut line = Vec::new();
        loop {
            let chunk = match timeout_at(deadline, self.stream.fill_buf()).await {
                Err(_) => return Err(NoLine::Late),
                Ok(Err(_)) | Ok(Ok([])) => return Err(NoLine::End),
                Ok(Ok(chunk)) => chunk,
            };
            let end = chunk.iter().position(|b| *b == b'\n');
            let taken = end.map_or(chunk.len(), |at| at + 1);
            line.extend_from_slice(&chunk[..taken]);
            self.stream.consume(taken);
            if line.len() > COMMAND_OCTETS_MAX {
                return Err(NoLine::Long);
            }
            if end.is_some() {
                break;
            }
        }
        match line.strip_suffix(b"\r\n") {
            Some(text) if !text.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) => Ok(text.to_vec()),
            _ => Err(NoLine::Bare),
        }
    }

    /// A mail, after 354. A large one comes with a permit, to be held as long as it is.
    pub(crate) async fn data<'r>(
        &mut self,
        room: Room<'r>,
        within: Duration,
    ) -> (Data, Option<SemaphorePermit<'r>>) {
        let deadline = Instant::now() + within;
        let mut mail = Gather::new(room.bytes_max, room.line_bytes_max);
        let mut large = None;
        let data = loop {
            let chunk = match timeout_at(deadline, self.stream.fill_buf()).await {
                Err(_) => break Data::Broken(Unfit::Late),
                Ok(Err(_)) | Ok(Ok([])) => break Data::End,
                Ok(Ok(chunk)) => chunk,
            };
            let (taken, is_end) = mail.take(chunk);
            self.stream.consume(taken);
            if is_end {
                break mail.finish();
            }
            if mail.mail.len() > SMALL_OCTETS && large.is_none() {
                large = room.large.try_acquire().ok();
                if large.is_none() {
                    mail.spoil(Unfit::Crowded);
                }
            }
            let too_far = room.bytes_max.saturating_mul(HEARD_TIMES);
            if let Some(unfit) = mail.unfit.filter(|_| mail.heard > too_far) {
                break Data::Broken(unfit);
            }
        };
        (data, large)
    }

    /// Sends the last words and hears the client out for a moment: data that nobody reads
    /// would make the system take the words back.
    pub(crate) async fn close(mut self) {
        let deadline = Instant::now() + LINGER;
        let farewell = async {
            self.stream.write_all(&self.answers).await?;
            self.stream.shutdown().await?;
            let mut sink = vec![0; 64 * 1024];
            while self.stream.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        let _polite = timeout_at(deadline, farewell).await;
    }
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Text,
    Cr,
    Dot,
    DotCr,
    /// After the mail.
    End,
}

struct Gather {
    mail: Vec<u8>,
    at: At,
    line: usize,
    heard: usize,
    unfit: Option<Unfit>,
    bytes_max: usize,
    line_bytes_max: usize,
}

impl Gather {
    fn new(bytes_max: usize, line_bytes_max: usize) -> Self {
        let (mail, at) = (Vec::new(), At::Start);
        Self { mail, at, line: 0, heard: 0, unfit: None, bytes_max, line_bytes_max }
    }

    /// Takes octets up to the end of the mail; answers how many, and whether it ended.
    fn take(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut rest = chunk;
        while let Some(octet) = rest.first() {
            let run = self.run(rest);
            if run > 0 {
                self.keep(&rest[..run]);
                self.at = At::Text;
                rest = &rest[run..];
                continue;
            }
            rest = &rest[1..];
            if self.step(*octet) {
                break;
            }
        }
        let taken = chunk.len() - rest.len();
        self.heard += taken;
        (taken, self.at == At::End)
    }

    /// Octets that can be kept as they are: those of a line up to its end.
    fn run(&self, rest: &[u8]) -> usize {
        let is_text = self.at == At::Text || (self.at == At::Start && rest[0] != b'.');
        if is_text { memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()) } else { 0 }
    }

    fn step(&mut self, octet: u8) -> bool {
        self.at = match (self.at, octet) {
            (At::DotCr, b'\n') => At::End,
            (At::Start, b'.') => At::Dot,
            (At::Dot, b'\r') => At::DotCr,
            (At::Start | At::Text, b'\r') => At::Cr,
            (At::Cr, b'\n') => {
                self.keep(b"\r\n");
                self.line = 0;
                At::Start
            }
            (At::Cr | At::DotCr, _) | (_, b'\n') => {
                self.spoil(Unfit::Bare);
                if octet == b'\r' { At::Cr } else { At::Text }
            }
            // After a dot at the start of a line: the dot was stuffed.
            (At::Dot | At::Start | At::Text | At::End, octet) => {
                self.keep(&[octet]);
                At::Text
            }
        };
        self.at == At::End
    }

    fn keep(&mut self, octets: &[u8]) {
        self.line += octets.len();
        if self.line > self.line_bytes_max {
            self.spoil(Unfit::LongLine);
        }
        if self.unfit.is_none() {
            if self.mail.len() + octets.len() > self.bytes_max {
                self.spoil(Unfit::Large);
            } else {
                self.mail.extend_from_slice(octets);
            }
        }
    }

    fn spoil(&mut self, unfit: Unfit) {
        self.unfit.get_or_insert(unfit);
        self.mail = Vec::new();
    }

    fn finish(self) -> Data {
        match self.unfit {
            Some(unfit) => Data::Unfit(unfit),
            None => Data::Whole(self.mail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(text: &[u8], piece: usize) -> (Data, usize) {
        let mut mail = Gather::new(100, 30);
        let mut taken = 0;
        for chunk in text.chunks(piece) {
            let (n, is_end) = mail.take(chunk);
            taken += n;
            if is_end {
                return (mail.finish(), taken);
            }
        }
        (Data::End, taken)
    }

    #[test]
    fn a_mail_ends_in_crlf_dot_crlf_and_in_nothing_else() {
        let cases: &[(&[u8], Data)] = &[
            (b"a\r\nb\r\n.\r\nQUIT\r\n", Data::Whole(b"a\r\nb\r\n".to_vec())),
            (b".\r\n", Data::Whole(Vec::new())),
            (b"..a\r\n...\r\n.\r\n", Data::Whole(b".a\r\n..\r\n".to_vec())),
            (b".a\r\n.\r\n", Data::Whole(b"a\r\n".to_vec())),
            (b"a\n.\nMAIL\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\r\n.\nMAIL\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\n.\r\nMAIL\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\r.\r\nMAIL\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\r\n.\rMAIL\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\r\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"a\r\n.\r\r\n.\r\n", Data::Unfit(Unfit::Bare)),
            (b"0123456789012345678901234567890\r\n.\r\n", Data::Unfit(Unfit::LongLine)),
            (b"a\r\n.", Data::End),
        ];
        for (text, expected) in cases {
            for piece in [1, 2, 3, 1000] {
                let (data, taken) = gather(text, piece);
                let shown = String::from_utf8_lossy(text);
                assert_eq!(&data, expected, "{shown:?} by {piece}");
                // Whatever comes after the end is the next command's.
                if text.ends_with(b"QUIT\r\n") {
                    assert_eq!(&text[taken..], b"QUIT\r\n");
                } else {
                    assert_eq!(taken, text.len(), "{shown:?}");
                }
            }
        }
        let large = b"0123456789\r\n".repeat(20);
        assert_eq!(gather(&[&large[..], b".\r\n"].concat(), 7).0, Data::Unfit(Unfit::Large));
    }
}
