//! A session from the connection to the goodbye; what is said about one message in
//! between is `transaction`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mail::{Phase, Reply};
use mail_send::SmtpClient;
use message::Shared;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::capabilities::Capabilities;
use super::config::{Timeouts, TlsPolicy};
use super::dial::{Dialled, dial};
use super::failure::{SessionError, not_ourselves, positive};
use super::login::{Hop, offered};
use super::proxy::Via;
use super::reply::{ReplyReader, Response, Trouble};
use super::stream::Stream;
use super::tls::{TlsClient, TlsFacts};
use super::words::Flaw;
use crate::meters;

/// Whom to speak to, from where, and how.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where the server is, in the order of wish. One that has not answered for a second has the
    /// next one begun beside it.
    pub addrs: &'a [SocketAddr],
    /// Those of them where TLS failed not long ago: an opportunistic session does without there.
    pub plain: &'a [SocketAddr],
    /// Those of them that do not know the CHUNKING that they offer: it is done without there.
    pub unchunked: &'a [SocketAddr],
    /// The name that its certificate should have.
    pub host: &'a str,
    /// The egress source's address; any when it is not given.
    pub local_ip: Option<IpAddr>,
    /// The proxy that has that address, if it is not this host's.
    pub via: Option<&'a Via>,
    /// The egress source's name.
    pub ehlo_name: &'a str,
    /// How much encryption is wanted.
    pub tls: TlsPolicy,
    /// How long each step may take.
    pub timeouts: &'a Timeouts,
    /// What is special about it, if it is no mail exchanger.
    pub hop: Hop<'a>,
}

/// An open session.
pub struct Session {
    pub(super) stream: Stream,
    pub(super) reader: ReplyReader,
    pub(super) timeouts: Timeouts,
    /// Commands on their way out, and the message: kept for their capacity.
    pub(super) commands: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// What is written after so many octets of the body.
    pub(super) shared: Vec<(usize, Shared)>,
    pub(super) capabilities: Capabilities,
    pub(super) transactions: u32,
    /// A transaction was left open: RSET comes first.
    pub(super) must_reset: bool,
    pub(super) broken: bool,
    /// The last recipient was refused: the next is asked for before its message is sent.
    pub(super) asks_first: bool,
    /// CHUNKING is not used although it is offered.
    pub(super) unchunked: bool,
    /// The server did not know it just now.
    pub(super) is_chunking_broken: bool,
    /// What AUTH offers, where it is to be used.
    pub(super) mechanisms: Vec<String>,
    tls: Option<TlsFacts>,
    plain_because: Option<Flaw>,
    is_tls_broken: bool,
    banner: Reply,
    peer: SocketAddr,
    silent: Vec<SocketAddr>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("capabilities", &self.capabilities)
            .field("transactions", &self.transactions)
            .field("broken", &self.broken)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, greets, and encrypts as the policy wants. Where TLS is offered and
    /// fails, and plain text will do, it connects once more without
    /// ([`plain_because`](Self::plain_because) tells).
    pub async fn connect(target: &Target<'_>, tls: &TlsClient) -> Result<Self, SessionError> {
        let session = Self::connect_with_or_without(target, tls).await;
        meters::connected(match &session {
            Ok(Self { tls: Some(facts), .. }) if facts.worth().is_ok() => "verified",
            Ok(Self { tls: Some(_), .. }) => "unverified",
            Ok(Self { tls: None, .. }) => "plain",
            Err(SessionError { phase: Phase::Tls, .. }) => "tls-failed",
            Err(SessionError { phase: Phase::Connect, .. }) => "not-connected",
            Err(_) => "refused",
        });
        session
    }

    async fn connect_with_or_without(
        target: &Target<'_>,
        tls: &TlsClient,
    ) -> Result<Self, SessionError> {
        match Self::open(target, target.tls, tls).await {
            Err(SessionError {
                phase: Phase::Tls,
                trouble: Some(trouble),
                peer: Some(peer),
                ..
            }) if target.tls == TlsPolicy::Opportunistic => {
                let same = Target { addrs: &[peer], ..*target };
                let plain = Self::open(&same, TlsPolicy::Never, tls).await;
                let mut session = plain.map_err(|e| SessionError { peer: Some(peer), ..e })?;
                session.plain_because = Some(trouble.flaw());
                session.is_tls_broken = true;
                Ok(session)
            }
            result => result,
        }
    }

    async fn open(
        target: &Target<'_>,
        policy: TlsPolicy,
        tls: &TlsClient,
    ) -> Result<Self, SessionError> {
        let began = Instant::now();
        let dialled = dial(target).await;
        meters::waited(Phase::Connect, began.elapsed());
        let Dialled { stream, addr, silent } = dialled?;
        let known_plain = policy == TlsPolicy::Opportunistic && target.plain.contains(&addr);
        let session = Self {
            stream: Stream::Plain(stream),
            reader: ReplyReader::default(),
            timeouts: target.timeouts.clone(),
            commands: Vec::with_capacity(512),
            body: Vec::new(),
            shared: Vec::new(),
            capabilities: Capabilities::default(),
            transactions: 0,
            must_reset: false,
            broken: false,
            asks_first: false,
            unchunked: target.unchunked.contains(&addr),
            is_chunking_broken: false,
            mechanisms: Vec::new(),
            tls: None,
            plain_because: known_plain.then(|| Flaw::other("TLS failed here not long ago")),
            is_tls_broken: false,
            banner: Reply::new(220, None, ""),
            peer: addr,
            silent,
        };
        let policy = if known_plain { TlsPolicy::Never } else { policy };
        let begun = session.begin_session(target, policy, tls).await;
        begun.map_err(|error| SessionError { peer: Some(addr), ..error })
    }

    async fn begin_session(
        mut self,
        target: &Target<'_>,
        policy: TlsPolicy,
        tls: &TlsClient,
    ) -> Result<Self, SessionError> {
        if target.hop.implicit_tls {
            self = self.encrypt(target, policy, tls).await?;
        }
        let banner = self.reply(Phase::Banner).await;
        let banner = banner.map_err(|t| self.told(SessionError::trouble(Phase::Banner, t)))?;
        self.banner = positive(Phase::Banner, &banner).map_err(|e| self.told(e))?;
        let greeted = self.greet(target).await;
        greeted.map_err(|e| self.told(e))?;
        if !target.hop.implicit_tls {
            self = self.secure(target, policy, tls).await?;
        }
        if let Some(login) = target.hop.login {
            let logged_in = self.log_in(target, login).await;
            logged_in.map_err(|e| self.told(e))?;
        }
        Ok(self)
    }

    /// An error with what came of TLS, where it had come about by then.
    fn told(&self, error: impl Into<SessionError>) -> SessionError {
        let tls = self.tls.as_ref().map(ToString::to_string).unwrap_or_default();
        SessionError { tls, ..error.into() }
    }

    async fn secure(
        mut self,
        target: &Target<'_>,
        policy: TlsPolicy,
        tls: &TlsClient,
    ) -> Result<Self, SessionError> {
        let may_be_plain = matches!(policy, TlsPolicy::Never | TlsPolicy::Opportunistic);
        if policy == TlsPolicy::Never || (!self.capabilities.starttls && may_be_plain) {
            return Ok(self);
        }
        if !self.capabilities.starttls {
            return Err(SessionError::trouble(Phase::Tls, Trouble::NotOffered("STARTTLS")));
        }
        let answer = self.ask(Phase::Tls, b"STARTTLS\r\n").await;
        let answer = answer.map_err(|t| SessionError::trouble(Phase::Tls, t))?;
        match positive(Phase::Tls, &answer) {
            Ok(_) => {
                self = self.encrypt(target, policy, tls).await?;
                // What was offered in the clear does not count (RFC 3207, 4.2).
                self.capabilities = Capabilities::default();
                match self.greet(target).await {
                    Ok(()) => Ok(self),
                    Err(error) => Err(self.told(error)),
                }
            }
            // 421 ends the session; any other answer leaves it as it was.
            Err(refused) if answer.code != 421 && may_be_plain => {
                self.plain_because = Some(Flaw { why: refused.to_string(), ..Flaw::not_offered() });
                Ok(self)
            }
            Err(refused) => Err(*refused),
        }
    }

    async fn encrypt(
        mut self,
        target: &Target<'_>,
        policy: TlsPolicy,
        tls: &TlsClient,
    ) -> Result<Self, SessionError> {
        let failed = |flaw: Flaw| SessionError {
            tls: "failed".to_owned(),
            ..SessionError::trouble(Phase::Tls, Trouble::Tls(flaw))
        };
        // Whoever sits between might have put commands' answers before the handshake
        // (CVE-2011-0411 and its kin): what came in the clear is not answered to.
        if !self.reader.is_empty() {
            return Err(failed(Flaw::other("octets after the answer to STARTTLS")));
        }
        let Stream::Plain(stream) = self.stream else {
            return Err(failed(Flaw::other("already encrypted")));
        };
        let client = SmtpClient { stream, timeout: self.timeouts.of(Phase::Tls) };
        let began = Instant::now();
        let encrypted = client
            .into_tls(&tls.connector, target.host)
            .await
            .map_err(|error| failed(Flaw::of_handshake(&error)))?;
        meters::waited(Phase::Tls, began.elapsed());
        let facts = tls.facts(encrypted.tls_connection(), target.host);
        if policy == TlsPolicy::Verified
            && let Err(flaw) = facts.worth()
        {
            return Err(SessionError { tls: facts.to_string(), ..failed(flaw.clone()) });
        }
        self.stream = Stream::Tls(Box::new(encrypted.stream));
        self.tls = Some(facts);
        Ok(self)
    }

    async fn greet(&mut self, target: &Target<'_>) -> Result<(), SessionError> {
        let name = target.ehlo_name;
        let knows_us = |answer: &Response| match target.hop.may_be_namesake {
            true => Ok(()),
            false => not_ourselves(answer, name),
        };
        self.mechanisms.clear();
        let trouble = |t| SessionError::trouble(Phase::Ehlo, t);
        debug_assert!(super::wire::is_path(name));
        let ehlo = format!("EHLO {name}\r\n");
        let answer = self.ask(Phase::Ehlo, ehlo.as_bytes()).await.map_err(trouble)?;
        // A server from before 1995 knows no EHLO (RFC 5321, 3.2).
        if matches!(answer.code, 500 | 502 | 504) {
            let helo = format!("HELO {name}\r\n");
            let answer = self.ask(Phase::Ehlo, helo.as_bytes()).await.map_err(trouble)?;
            positive(Phase::Ehlo, &answer)?;
            return knows_us(&answer).map_err(trouble);
        }
        positive(Phase::Ehlo, &answer)?;
        knows_us(&answer).map_err(trouble)?;
        self.capabilities = Capabilities::of(&answer.text);
        if target.hop.login.is_some() {
            self.mechanisms = offered(&answer.text);
        }
        Ok(())
    }

    pub(super) async fn ask(&mut self, phase: Phase, command: &[u8]) -> Result<Response, Trouble> {
        timeout(self.timeouts.of(phase), async {
            self.stream.write_all(command).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| Trouble::Timeout)??;
        self.reply(phase).await
    }

    pub(super) async fn reply(&mut self, phase: Phase) -> Result<Response, Trouble> {
        // Replies of a pipeline mostly came together: no timer for those.
        if let Some(response) = self.reader.parse()? {
            return Ok(response);
        }
        let began = Instant::now();
        let reply = timeout(self.timeouts.of(phase), self.reader.next(&mut self.stream)).await;
        meters::waited(phase, began.elapsed());
        reply.map_err(|_| Trouble::Timeout)?
    }

    /// What the server offers.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The greeting.
    #[must_use]
    pub fn banner(&self) -> &Reply {
        &self.banner
    }

    /// The address that answered.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The addresses that were tried before it and did not answer.
    #[must_use]
    pub fn silent(&self) -> &[SocketAddr] {
        &self.silent
    }

    /// The encryption, if there is any.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// What history keeps of the encryption: see `Event::tls`.
    #[must_use]
    pub fn encryption(&self) -> String {
        match (&self.tls, &self.plain_because) {
            (Some(tls), _) => tls.to_string(),
            (None, Some(_)) => "plain".to_owned(),
            (None, None) => String::new(),
        }
    }

    /// Why there is no encryption although the server offers it.
    #[must_use]
    pub fn plain_because(&self) -> Option<&str> {
        self.plain_because.as_ref().map(|flaw| flaw.why.as_str())
    }

    /// What is wrong with the server's TLS where there is no encryption.
    #[must_use]
    pub fn plain_flaw(&self) -> Option<Flaw> {
        match (&self.tls, &self.plain_because) {
            (Some(_), _) => None,
            (None, Some(flaw)) => Some(flaw.clone()),
            (None, None) => Some(Flaw::not_offered()),
        }
    }

    /// Whether TLS was tried just now, and failed in a way that cost a connection.
    #[must_use]
    pub fn is_tls_broken(&self) -> bool {
        self.is_tls_broken
    }

    /// Whether the server offered CHUNKING, and did not know it when it was used just now.
    #[must_use]
    pub fn is_chunking_broken(&self) -> bool {
        self.is_chunking_broken
    }

    /// Transactions so far, whatever came of them.
    #[must_use]
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether the session can take another transaction, as far as is known.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.broken
    }

    /// Says goodbye. What the server answers changes nothing.
    pub async fn quit(mut self) {
        if self.broken {
            return;
        }
        let wait = std::time::Duration::from_secs(u64::from(self.timeouts.quit_s));
        let _ = timeout(wait, async {
            self.stream.write_all(b"QUIT\r\n").await?;
            self.stream.flush().await?;
            let _ = self.reader.next(&mut self.stream).await;
            self.stream.shutdown().await
        })
        .await;
    }
}
