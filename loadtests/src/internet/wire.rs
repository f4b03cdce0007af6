//! The octets of one connection: lines and bodies in, replies out. Reading is one large
//! buffer in which a whole message usually lies in one piece; replies are collected and
//! written when nothing more can be answered from the buffer.

use std::io;
use std::ops::Range;
use std::time::Duration;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// A command line longer than this is refused. RFC 5321, 4.5.3.1.4 says 512, plus
/// what extensions add.
const LINE_OCTETS_MAX: usize = 4096;

/// Room asked for before each read.
const READ_OCTETS: usize = 64 * 1024;

/// The end of a body that is not its first line.
const END: &[u8] = b"\r\n.\r\n";

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) struct Wire {
    stream: Option<Stream>,
    input: Vec<u8>,
    start: usize,
    out: Vec<u8>,
    idle: Duration,
}

/// What came where a line was expected.
pub(super) enum Line {
    Text(String),
    TooLong,
    Closed,
}

/// What came where a body was expected.
pub(super) enum Body {
    /// The octets before the end marker, still dot-stuffed, final CRLF included.
    Whole(Range<usize>),
    /// It has ended, and was larger than allowed.
    TooBig,
    Closed,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, idle: Duration) -> Self {
        Self {
            stream: Some(Stream::Plain(stream)),
            input: Vec::new(),
            start: 0,
            out: Vec::new(),
            idle,
        }
    }

    /// Adds a reply (without its CRLF) to those to be written.
    pub(super) fn push(&mut self, reply: &str) {
        self.out.extend_from_slice(reply.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            match self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)? {
                Stream::Plain(s) => s.write_all(&self.out).await,
                Stream::Tls(s) => {
                    s.write_all(&self.out).await?;
                    s.flush().await
                }
            }
        };
        timeout(self.idle, write).await??;
        self.out.clear();
        Ok(())
    }

    /// Writes what is left to say, says no more, and waits a moment for the client to
    /// close. Closing at once with unread octets would make the kernel reset the
    /// connection and the client lose the last reply.
    pub(super) async fn farewell(&mut self) -> io::Result<()> {
        const LINGER: Duration = Duration::from_millis(500);
        self.flush().await?;
        match self.stream.as_mut() {
            Some(Stream::Plain(s)) => s.shutdown().await?,
            Some(Stream::Tls(s)) => s.shutdown().await?,
            None => return Ok(()),
        }
        self.start = self.input.len();
        let drain = async {
            while matches!(self.read().await, Ok(1..)) {
                self.start = self.input.len();
            }
        };
        let _in_time = timeout(LINGER, drain).await.is_ok();
        Ok(())
    }

    /// Writes these octets as they are, at once.
    pub(super) async fn write_raw(&mut self, octets: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(octets);
        self.flush().await
    }

    /// The next line, without its end. A lone LF ends a command line too.
    pub(super) async fn line(&mut self) -> io::Result<Line> {
        loop {
            let waiting = &self.input[self.start..];
            if let Some(at) = memchr(b'\n', waiting) {
                let line = &waiting[..at];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let text = String::from_utf8_lossy(line).into_owned();
                self.start += at + 1;
                return Ok(Line::Text(text));
            }
            if waiting.len() > LINE_OCTETS_MAX {
                return Ok(Line::TooLong);
            }
            self.flush().await?;
            if self.read().await? == 0 {
                return Ok(Line::Closed);
            }
        }
    }

    /// The next body, up to its end marker.
    pub(super) async fn body(&mut self, octets_max: usize) -> io::Result<Body> {
        self.flush().await?;
        let mut searched = 0;
        let mut too_big = false;
        let mut first = true;
        loop {
            let waiting = &self.input[self.start..];
            // A body may be empty: then the dot is its first line.
            if first && waiting.starts_with(b".\r\n") {
                self.start += 3;
                return Ok(Body::Whole(self.start - 3..self.start - 3));
            }
            if let Some(at) = memmem::find(&waiting[searched..], END) {
                let end = self.start + searched + at + 2;
                let range = self.start..end;
                self.start = end + 3;
                return Ok(if too_big || range.len() > octets_max {
                    Body::TooBig
                } else {
                    Body::Whole(range)
                });
            }
            searched = waiting.len().saturating_sub(END.len() - 1);
            if waiting.len() > octets_max {
                // Let go of all but what may be the beginning of the end.
                too_big = true;
                self.start += searched;
                searched = 0;
            }
            first &= self.input.len() - self.start < 3;
            if self.read().await? == 0 {
                return Ok(Body::Closed);
            }
        }
    }

    /// The octets after BDAT.
    pub(super) async fn chunk(&mut self, octets: usize, octets_max: usize) -> io::Result<Body> {
        let mut left = octets;
        while octets > octets_max && left > 0 {
            let here = left.min(self.input.len() - self.start);
            self.start += here;
            left -= here;
            if left > 0 && self.read().await? == 0 {
                return Ok(Body::Closed);
            }
        }
        if octets > octets_max {
            return Ok(Body::TooBig);
        }
        while self.input.len() - self.start < octets {
            self.flush().await?;
            if self.read().await? == 0 {
                return Ok(Body::Closed);
            }
        }
        self.start += octets;
        Ok(Body::Whole(self.start - octets..self.start))
    }

    pub(super) fn octets(&self, range: Range<usize>) -> &[u8] {
        &self.input[range]
    }

    /// Reads once, whatever comes. For cutting a connection in the middle of a body.
    pub(super) async fn read_once(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.read().await.map(drop)
    }

    /// Ends when the client has gone away; reads on meanwhile, within bounds.
    pub(super) async fn gone(&mut self) {
        const AHEAD_MAX: usize = 1 << 20;
        while self.input.len() - self.start < AHEAD_MAX {
            let read = match self.stream.as_mut() {
                // No compaction here: a caller may hold a range into the buffer.
                Some(Stream::Plain(s)) => s.read_buf(&mut self.input).await,
                Some(Stream::Tls(s)) => s.read_buf(&mut self.input).await,
                None => return,
            };
            if !matches!(read, Ok(n) if n > 0) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn read(&mut self) -> io::Result<usize> {
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        } else if self.start > READ_OCTETS {
            self.input.drain(..self.start);
            self.start = 0;
        }
        self.input.reserve(READ_OCTETS);
        let input = &mut self.input;
        let read = async {
            match self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)? {
                Stream::Plain(s) => s.read_buf(input).await,
                Stream::Tls(s) => s.read_buf(input).await,
            }
        };
        timeout(self.idle, read).await?
    }

    /// Whether the client has sent more than was asked for.
    pub(super) fn has_more(&self) -> bool {
        self.start < self.input.len()
    }

    /// Gives up the plain stream for a handshake; unread octets are thrown away, so that
    /// nothing said in the clear counts afterwards (RFC 3207, 4.2).
    pub(super) fn take_plain(&mut self) -> Option<TcpStream> {
        self.input.clear();
        self.start = 0;
        match self.stream.take() {
            Some(Stream::Plain(stream)) => Some(stream),
            other => {
                self.stream = other;
                None
            }
        }
    }

    pub(super) fn encrypt(&mut self, stream: TlsStream<TcpStream>) {
        self.stream = Some(Stream::Tls(Box::new(stream)));
    }
}
