//! One message to one recipient over an open session. With PIPELINING (RFC 2920) MAIL,
//! RCPT and DATA go out in one write, the message and its final dot in another; with CHUNKING
//! besides, all of it in one (`chunk`). Files that other messages have too are written from where
//! they lie.

use std::time::Duration;

use mail::{Phase, Reply};
use message::{Piece, Pieces};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::outcome::{Ended, Envelope, Outcome, Transaction};
use super::reply::{Response, Trouble, to_reply};
use super::session::Session;
use super::stream::Stream;
use super::wire::{self, LineEndError};

/// A buffer that grew for one large message is let go.
const BODY_KEPT_OCTETS_MAX: usize = 256 * 1024;

impl Session {
    /// Sends one message, which ends in CRLF. `before_dot` is asked right before each
    /// write that may hold the final dot. Without a session that
    /// [`is_usable`](Session::is_usable) nothing is sent.
    pub async fn transact<'m>(
        &mut self,
        envelope: &Envelope<'_>,
        message: impl Into<Pieces<'m>>,
        before_dot: impl Fn() -> bool,
    ) -> Transaction {
        let mut transaction = Transaction {
            outcome: Outcome::Accepted,
            phase: Phase::Local,
            reply: None,
            replies: Vec::with_capacity(4),
            dot_written: false,
            began: false,
        };
        let ended = self.run(envelope, message.into(), before_dot, &mut transaction).await;
        (transaction.phase, transaction.reply, transaction.outcome) = ended;
        if let Outcome::Failed(_) | Outcome::NoReplyAfterDot(_) | Outcome::Withheld =
            transaction.outcome
        {
            self.broken = true;
        }
        let is_early = matches!(transaction.phase, Phase::Mail | Phase::Rcpt);
        self.asks_first = is_early && matches!(transaction.outcome, Outcome::Refused);
        self.shared.clear();
        if self.body.capacity() > BODY_KEPT_OCTETS_MAX {
            self.body = Vec::new();
        }
        transaction
    }

    async fn run(
        &mut self,
        envelope: &Envelope<'_>,
        message: Pieces<'_>,
        before_dot: impl Fn() -> bool,
        done: &mut Transaction,
    ) -> Ended {
        if let Err(outcome) = self.prepare(envelope, message) {
            return (Phase::Local, None, outcome);
        }
        if let Err(ended) = self.check_idle(done).await {
            return ended;
        }
        self.transactions += 1;
        done.began = true;
        if self.is_in_one_write(message.len()) {
            return self.send_whole(before_dot, done).await;
        }
        let begun = if self.capabilities.pipelining {
            self.begin_pipelined(envelope, message.len(), done).await
        } else {
            self.begin(envelope, message.len(), done).await
        };
        match begun {
            Err(ended) => ended,
            Ok(()) => self.send_body(before_dot, done).await,
        }
    }

    /// Everything that can be told without the server; the message is made ready.
    fn prepare(&mut self, envelope: &Envelope<'_>, message: Pieces<'_>) -> Result<(), Outcome> {
        if self.broken {
            return Err(Outcome::Failed(Trouble::Closed));
        }
        if !wire::is_path(envelope.mail_from)
            || !wire::is_path(envelope.rcpt_to)
            || envelope.rcpt_to.is_empty()
        {
            return Err(Outcome::BadPath);
        }
        if envelope.smtputf8 && !self.capabilities.smtputf8 {
            return Err(Outcome::Utf8NotOffered);
        }
        if envelope.require_tls && !self.assures_tls() {
            return Err(Outcome::TlsNotAssured { is_verified: self.is_verified() });
        }
        if let Some(octets_max) = self.too_big_for(message.len()) {
            return Err(Outcome::TooBig { octets_max });
        }
        self.body.clear();
        self.shared.clear();
        let written = if self.is_in_one_write(message.len()) {
            self.put_whole(envelope, message)
        } else {
            self.put_stuffed(message)
        };
        written.map_err(Outcome::Malformed)
    }

    /// The message and its final dot. What is shared was found clean when it was made.
    fn put_stuffed(&mut self, message: Pieces<'_>) -> Result<(), LineEndError> {
        for piece in message.iter() {
            match piece {
                Piece::Own(octets) => wire::stuff_lines(octets, &mut self.body)?,
                Piece::Shared(shared) => self.shared.push((self.body.len(), shared.clone())),
            }
        }
        self.body.extend_from_slice(wire::FINAL_DOT);
        Ok(())
    }

    /// What the server takes at most, where a message of so many octets is more (RFC 1870).
    pub fn too_big_for(&self, octets: usize) -> Option<u64> {
        self.capabilities.size.filter(|max| *max > 0 && octets as u64 > *max)
    }

    /// Whether the server promises verified TLS for the way from there, over a session that has it
    /// (RFC 8689, 4.2.1). Whether the server is one of the recipient's is another question.
    #[must_use]
    pub fn assures_tls(&self) -> bool {
        self.capabilities.require_tls && self.is_verified()
    }

    fn is_verified(&self) -> bool {
        self.tls().is_some_and(|tls| tls.worth().is_ok())
    }

    /// A server may have said 421, or left, while the session was idle; then nothing is
    /// sent, and nothing needs to be doubted.
    async fn check_idle(&mut self, done: &mut Transaction) -> Result<(), Ended> {
        let mut octets = [0; 512];
        let closed = match self.stream.read_now(&mut octets).await {
            None if self.reader.is_empty() => return Ok(()),
            None => Trouble::Closed,
            Some(Ok(n)) => {
                self.reader.feed(&octets[..n]);
                Trouble::Closed
            }
            Some(Err(error)) => error.into(),
        };
        self.broken = true;
        Err(match self.reader.parse() {
            Ok(Some(response)) => {
                let reply = to_reply(&response);
                done.replies.push((Phase::Mail, reply.clone()));
                // Said to nobody in particular; what sounds like for ever is about the session.
                if (400..500).contains(&reply.code) {
                    (Phase::Mail, Some(reply), Outcome::Refused)
                } else {
                    (Phase::Mail, None, Outcome::Failed(Trouble::OutOfPlace(reply)))
                }
            }
            Ok(None) => (Phase::Mail, None, Outcome::Failed(closed)),
            Err(trouble) => (Phase::Mail, None, Outcome::Failed(trouble)),
        })
    }

    /// MAIL, RCPT and DATA in one write; the first refusal decides.
    async fn begin_pipelined(
        &mut self,
        envelope: &Envelope<'_>,
        size: usize,
        done: &mut Transaction,
    ) -> Result<(), Ended> {
        self.commands.clear();
        let reset = std::mem::replace(&mut self.must_reset, true);
        if reset {
            self.commands.extend_from_slice(b"RSET\r\n");
        }
        wire::mail_from(&mut self.commands, envelope, size, self.capabilities);
        wire::rcpt_to(&mut self.commands, envelope, self.capabilities);
        self.commands.extend_from_slice(b"DATA\r\n");
        // A server that has had enough may close while we write: its reason is read all the same.
        let written = self.write_commands(Phase::Mail).await;
        if reset && let Err(ended) = self.expect(Phase::Mail, done).await {
            // The answers to what follows would be taken for others.
            self.broken = true;
            return Err(ended);
        }
        let mut refused: Option<Ended> = None;
        for phase in [Phase::Mail, Phase::Rcpt, Phase::Data] {
            match self.expect(phase, done).await {
                Ok(()) => {}
                Err((_, None, _)) if refused.is_some() => {
                    self.broken = true;
                    break;
                }
                Err(ended) => {
                    let broke = matches!(ended.2, Outcome::Failed(_));
                    refused.get_or_insert(ended);
                    if broke || self.broken {
                        break;
                    }
                }
            }
        }
        let Some(ended) = refused else {
            return written.map_err(|t| (Phase::Data, None, Outcome::Failed(t)));
        };
        let wants_message = matches!(done.replies.last(), Some((Phase::Data, r)) if r.code == 354);
        if wants_message && !self.broken {
            self.send_nothing(done).await;
        }
        Err(ended)
    }

    /// One command after the other, for servers without PIPELINING.
    async fn begin(
        &mut self,
        envelope: &Envelope<'_>,
        size: usize,
        done: &mut Transaction,
    ) -> Result<(), Ended> {
        if std::mem::replace(&mut self.must_reset, true) {
            self.commands.clear();
            self.commands.extend_from_slice(b"RSET\r\n");
            self.command(Phase::Mail, done).await?;
        }
        self.commands.clear();
        wire::mail_from(&mut self.commands, envelope, size, self.capabilities);
        self.command(Phase::Mail, done).await?;
        self.commands.clear();
        wire::rcpt_to(&mut self.commands, envelope, self.capabilities);
        self.command(Phase::Rcpt, done).await?;
        self.commands.clear();
        self.commands.extend_from_slice(b"DATA\r\n");
        self.command(Phase::Data, done).await
    }

    async fn command(&mut self, phase: Phase, done: &mut Transaction) -> Result<(), Ended> {
        let written = self.write_commands(phase).await;
        let answered = self.expect(phase, done).await;
        match (written, answered) {
            (Err(trouble), Err((_, None, _))) => Err((phase, None, Outcome::Failed(trouble))),
            (_, answered) => answered,
        }
    }

    async fn write_commands(&mut self, phase: Phase) -> Result<(), Trouble> {
        timeout(self.timeouts.of(phase), async {
            self.stream.write_all(&self.commands).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| Trouble::Timeout)?
        .map_err(Trouble::from)
    }

    /// Reads a reply that should agree: 354 to DATA, 2yz to all others.
    pub(super) async fn expect(
        &mut self,
        phase: Phase,
        done: &mut Transaction,
    ) -> Result<(), Ended> {
        let reply = match self.reply(phase).await {
            Ok(response) => to_reply(&response),
            Err(trouble) => return Err((phase, None, Outcome::Failed(trouble))),
        };
        done.replies.push((phase, reply.clone()));
        let agrees = if phase == Phase::Data { reply.code == 354 } else { reply.is_positive() };
        if agrees {
            return Ok(());
        }
        // 421 announces the end of the session, whatever was asked (RFC 5321, 3.8).
        self.broken |= reply.code == 421;
        if reply.code >= 400 {
            Err((phase, Some(reply), Outcome::Refused))
        } else {
            Err((phase, None, Outcome::Failed(Trouble::OutOfPlace(reply))))
        }
    }

    /// A server that wants a message for a refused recipient gets none (RFC 2920, 3.1).
    async fn send_nothing(&mut self, done: &mut Transaction) {
        self.commands.clear();
        self.commands.extend_from_slice(b".\r\n");
        let written = self.write_commands(Phase::Dot).await;
        match self.reply(Phase::Dot).await {
            Ok(response) if written.is_ok() => {
                self.broken |= response.code == 421;
                done.replies.push((Phase::Dot, to_reply(&response)));
            }
            _ => self.broken = true,
        }
    }

    /// The message and its final dot, and the answer.
    async fn send_body(&mut self, before_dot: impl Fn() -> bool, done: &mut Transaction) -> Ended {
        let written = match self.write_body(before_dot, done).await {
            Ok(true) => Ok(()),
            Ok(false) => return (Phase::Data, None, Outcome::Withheld),
            Err(trouble) => Err(trouble),
        };
        let answer = match &written {
            Ok(()) => self.reply(Phase::Dot).await,
            Err(_) => self.last_words().await,
        };
        let reply = match (answer, written) {
            (Ok(response), _) => to_reply(&response),
            (Err(trouble), _) if done.dot_written => {
                return (Phase::Dot, None, Outcome::NoReplyAfterDot(trouble));
            }
            (Err(trouble), Ok(())) | (Err(_), Err(trouble)) => {
                return (Phase::Dot, None, Outcome::Failed(trouble));
            }
        };
        done.replies.push((Phase::Dot, reply.clone()));
        self.conclude(reply, done)
    }

    /// What the answer to a whole message comes to.
    pub(super) fn conclude(&mut self, reply: Reply, done: &Transaction) -> Ended {
        self.broken |= reply.code == 421 || !done.dot_written;
        if reply.is_positive() && done.dot_written {
            self.must_reset = false;
            (Phase::Dot, Some(reply), Outcome::Accepted)
        } else if reply.code >= 400 {
            (Phase::Dot, Some(reply), Outcome::Refused)
        } else if done.dot_written {
            (Phase::Dot, None, Outcome::NoReplyAfterDot(Trouble::OutOfPlace(reply)))
        } else {
            (Phase::Dot, None, Outcome::Failed(Trouble::OutOfPlace(reply)))
        }
    }

    /// A server that stopped reading may have said why before it closed.
    pub(super) async fn last_words(&mut self) -> Result<Response, Trouble> {
        timeout(Duration::from_secs(2), self.reader.next(&mut self.stream))
            .await
            .unwrap_or(Err(Trouble::Timeout))
    }

    /// Writes the body, and what is shared in its places; `false` when the rest was withheld. Once
    /// the last octet was taken the server may get it, whatever is heard of the connection.
    pub(super) async fn write_body(
        &mut self,
        before_dot: impl Fn() -> bool,
        done: &mut Transaction,
    ) -> Result<bool, Trouble> {
        let wait = Duration::from_secs(u64::from(self.timeouts.block_s));
        let mut from = 0;
        for (to, shared) in &self.shared {
            for octets in [&self.body[from..*to], shared.octets()] {
                if !write_blocks(&mut self.stream, octets, wait, &before_dot).await? {
                    return Ok(false);
                }
            }
            from = *to;
        }
        if !write_blocks(&mut self.stream, &self.body[from..], wait, &before_dot).await? {
            return Ok(false);
        }
        done.dot_written = true;
        timeout(wait, self.stream.flush()).await.map_err(|_| Trouble::Timeout)??;
        Ok(true)
    }
}

/// Writes block by block, so that a slow server is not a dead one. A large message may take
/// longer than a lease is known to last, so the question is asked before each block.
async fn write_blocks(
    stream: &mut Stream,
    octets: &[u8],
    wait: Duration,
    before_dot: &impl Fn() -> bool,
) -> Result<bool, Trouble> {
    let mut rest = octets;
    while !rest.is_empty() {
        if !before_dot() {
            return Ok(false);
        }
        let write = timeout(wait, stream.write(rest)).await;
        match write.map_err(|_| Trouble::Timeout)?? {
            0 => return Err(Trouble::Closed),
            n => rest = &rest[n..],
        }
    }
    Ok(true)
}
