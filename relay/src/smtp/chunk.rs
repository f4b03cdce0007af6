//! Envelope and message in one write, where the server offers CHUNKING (RFC 3030) beside
//! PIPELINING: one round trip for a message instead of two, and no final dot that could be
//! mistaken. What the octets are for is refused before they are read, if it is refused.

use mail::Phase;
use message::{Piece, Pieces};

use super::outcome::{Ended, Envelope, Outcome, Transaction};
use super::reply::{Trouble, to_reply};
use super::session::Session;
use super::wire::{self, LineEndError};

/// A larger message is sent when its recipient was accepted: below this its octets cost less
/// than the round trip that asks (5 ms at 100 Mbit/s).
const WHOLE_OCTETS_MAX: usize = 64 * 1024;

impl Session {
    /// Whether a message of this size goes with its envelope. Not where the last recipient was
    /// refused: lists with many dead addresses should not be carried for nothing.
    pub(super) fn is_in_one_write(&self, octets: usize) -> bool {
        let offered = self.capabilities.chunking && self.capabilities.pipelining;
        offered && !self.unchunked && !self.asks_first && octets <= WHOLE_OCTETS_MAX
    }

    /// All that is to be written, into the body.
    pub(super) fn put_whole(
        &mut self,
        envelope: &Envelope<'_>,
        message: Pieces<'_>,
    ) -> Result<(), LineEndError> {
        for piece in message.iter() {
            match piece {
                Piece::Own(octets) => wire::check_lines(octets)?,
                Piece::Shared(_) => {}
            }
        }
        if self.must_reset {
            self.body.extend_from_slice(b"RSET\r\n");
        }
        wire::mail_from(&mut self.body, envelope, message.len(), self.capabilities);
        wire::rcpt_to(&mut self.body, envelope, self.capabilities);
        let chunk = format!("BDAT {} LAST\r\n", message.len());
        self.body.extend_from_slice(chunk.as_bytes());
        message.iter().for_each(|piece| self.body.extend_from_slice(piece.octets()));
        Ok(())
    }

    /// Writes it and hears the answers. The last octet does what the final dot does elsewhere,
    /// and is told as that.
    pub(super) async fn send_whole(
        &mut self,
        before_dot: impl Fn() -> bool,
        done: &mut Transaction,
    ) -> Ended {
        let has_reset = std::mem::replace(&mut self.must_reset, true);
        let written = match self.write_body(before_dot, done).await {
            Ok(true) => Ok(()),
            Ok(false) => return (Phase::Data, None, Outcome::Withheld),
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = written
            && !done.dot_written
        {
            return self.not_written(trouble, done).await;
        }
        let mut refused = None;
        for phase in &[Phase::Mail, Phase::Mail, Phase::Rcpt][usize::from(!has_reset)..] {
            match self.expect(*phase, done).await {
                Ok(()) => {}
                Err((phase, _, Outcome::Failed(trouble))) => {
                    // One that hangs up instead of answering, as some do when a connection has
                    // carried enough, had better be asked first from now on.
                    self.is_chunking_broken |= done.replies.is_empty();
                    return refused.unwrap_or_else(|| unanswered(phase, trouble));
                }
                // Whatever RSET comes to, the answers to what follows decide.
                Err(_) if done.replies.len() == 1 && has_reset && !self.broken => {}
                Err(ended) => _ = refused.get_or_insert(ended),
            }
            if self.broken {
                break;
            }
        }
        if self.broken {
            return refused.unwrap_or_else(|| unanswered(Phase::Rcpt, Trouble::Closed));
        }
        self.hear_chunk(refused, done).await
    }

    /// The answer to the chunk itself.
    async fn hear_chunk(&mut self, refused: Option<Ended>, done: &mut Transaction) -> Ended {
        let reply = match self.reply(Phase::Dot).await {
            Ok(response) => to_reply(&response),
            Err(trouble) => {
                self.broken = true;
                return refused.unwrap_or_else(|| unanswered(Phase::Dot, trouble));
            }
        };
        done.replies.push((Phase::Dot, reply.clone()));
        self.broken |= reply.code == 421;
        // "What is that?" means the command itself; what the server makes of the octets after it is
        // nothing that we wait for. Without a recipient 503 and the like are right.
        let is_unknown = match refused {
            Some(_) => matches!(reply.code, 500 | 502),
            None => matches!(reply.code, 500..=504),
        };
        if is_unknown {
            (self.is_chunking_broken, self.broken) = (true, true);
        }
        if is_unknown && refused.is_none() {
            return (Phase::Data, None, Outcome::Failed(Trouble::OutOfPlace(reply)));
        }
        refused.unwrap_or_else(|| self.conclude(reply, done))
    }

    /// The server went away while it was written to: it has not got the message, and may have
    /// said why.
    async fn not_written(&mut self, trouble: Trouble, done: &mut Transaction) -> Ended {
        self.broken = true;
        // One more where RSET came first.
        for phase in [Phase::Mail, Phase::Rcpt, Phase::Dot, Phase::Dot] {
            let Ok(response) = self.last_words().await else { break };
            let reply = to_reply(&response);
            done.replies.push((phase, reply.clone()));
            if reply.code >= 400 {
                return (phase, Some(reply), Outcome::Refused);
            }
        }
        (Phase::Dot, None, Outcome::Failed(trouble))
    }
}

fn unanswered(phase: Phase, trouble: Trouble) -> Ended {
    (phase, None, Outcome::NoReplyAfterDot(trouble))
}
