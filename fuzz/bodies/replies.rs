//! The reader of replies: whatever a server sends, it answers with replies and then a trouble,
//! and it makes no difference in which pieces the octets come.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use relay::smtp::{ReplyReader, Trouble};
use tokio::io::{AsyncRead, ReadBuf};

/// Hands out so many octets at a time.
struct Pieces<'a> {
    octets: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.size.min(buffer.remaining()).min(self.octets.len());
        let (now, later) = self.octets.split_at(size);
        buffer.put_slice(now);
        self.octets = later;
        Poll::Ready(Ok(()))
    }
}

/// All replies, and what kind of trouble ended them.
fn read(octets: &[u8], size: usize) -> (Vec<String>, &'static str) {
    let (mut reader, mut stream) = (ReplyReader::default(), Pieces { octets, size });
    let mut replies = Vec::new();
    loop {
        match reader.next(&mut stream).now_or_never().expect("octets are always there") {
            Ok(reply) => {
                assert!((200..600).contains(&reply.code), "{}", reply.code);
                replies.push(format!("{} {:?} {}", reply.code, reply.status, reply.text));
            }
            Err(Trouble::Closed) => return (replies, "closed"),
            // Which of the two it is depends on how much is seen at a time.
            Err(Trouble::Garbage(_) | Trouble::TooLong) => return (replies, "no reply"),
            Err(Trouble::TwoCodes(..)) => return (replies, "two codes"),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Panics where a promise is broken.
pub(crate) fn run(octets: &[u8]) {
    let whole = read(octets, usize::MAX);
    assert_eq!(whole, read(octets, 1));
    assert_eq!(whole, read(octets, 7));
}
