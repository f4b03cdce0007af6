//! Mailboxes that are looked into over IMAP (RFC 9051): where returned mail cannot be led here, a
//! provider's mailbox takes it in. A mail is marked, moved or deleted when what follows from it is
//! durable, and otherwise found again the next time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_imap::{Client, Session};
use futures_util::TryStreamExt;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::chain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::error::BounceError;
use crate::hop::{Password, secret};
use crate::returned::Returns;

/// What a look may take; a mailbox with more is emptied over several.
const WITHIN: Duration = Duration::from_secs(600);
/// Mails of one look.
const MAILS_MAX: usize = 5_000;

/// A mailbox at an IMAP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImapMailbox {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: ImapTls,
    /// A file of certificates (PEM) that are trusted besides the system's, for a server of one's
    /// own. Empty: none.
    pub authorities: PathBuf,
    /// Whose mailbox.
    pub user: String,
    /// The file that holds the password.
    pub secret_file: PathBuf,
    /// The folder that mail comes into.
    pub folder: String,
    /// What becomes of a mail that is done with.
    pub then: Then,
    /// The folder that mails are moved to, where they are.
    pub move_to: String,
    /// Seconds between looks, 5 to 86400.
    pub every_s: u64,
}

impl Default for ImapMailbox {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 993,
            tls: ImapTls::Implicit,
            authorities: PathBuf::new(),
            user: String::new(),
            secret_file: PathBuf::new(),
            folder: "INBOX".into(),
            then: Then::Seen,
            move_to: String::new(),
            every_s: 60,
        }
    }
}

/// How a connection to an IMAP server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImapTls {
    /// From its first octet.
    Implicit,
    /// Not at all: for a server on this host. The password is sent in the clear.
    None,
}

/// What becomes of a mail that is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It is marked as read, and stays.
    Seen,
    /// It goes to another folder.
    Move,
    /// It is deleted: what a person should read is in our own mailbox. One that is larger than
    /// `bytes_max` is marked as read instead.
    Delete,
}

/// A mailbox whose settings are good.
#[derive(Clone)]
pub(crate) struct Poll {
    config: ImapMailbox,
    password: Password,
    connector: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ImapMailbox {
    /// # Errors
    /// The first setting that cannot be used, with its place in the list.
    pub(crate) fn poll(&self, at: usize) -> Result<Poll, BounceError> {
        let refuse = |key: &str, text: &str, why: &str| {
            BounceError::Setting(format!("bounces.imap[{at}].{key}: {text:?} {why}"))
        };
        if self.host.is_empty() || self.port == 0 {
            return Err(refuse("host", &self.host, "names no server and port"));
        }
        if self.user.is_empty() {
            return Err(refuse("user", &self.user, "names nobody"));
        }
        if self.folder.is_empty() {
            return Err(refuse("folder", &self.folder, "names no folder"));
        }
        if (self.then == Then::Move) == self.move_to.is_empty() {
            return Err(refuse("move_to", &self.move_to, "goes with then = \"move\""));
        }
        if !(5..=86_400).contains(&self.every_s) {
            return Err(refuse("every_s", &self.every_s.to_string(), "is not 5 to 86400"));
        }
        let password = secret(&self.secret_file)
            .map_err(|why| refuse("secret_file", &self.secret_file.display().to_string(), &why))?;
        let connector = match self.tls {
            ImapTls::None => None,
            ImapTls::Implicit => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| refuse("host", &self.host, "is no name that a certificate has"))?;
                let authorities = self.authorities.display().to_string();
                let roots = web::trusted_roots(&authorities)
                    .map_err(|why| refuse("authorities", &authorities, &why))?;
                let config = web::tls_client(roots)
                    .map_err(|why| refuse("tls", "implicit", &why.to_string()))?;
                let connector = TlsConnector::from(Arc::new(config));
                Some((connector, name))
            }
        };
        Ok(Poll { config: self.clone(), password, connector })
    }
}

/// What went wrong with a look.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("it cannot be reached: {0}")]
    Reach(#[from] std::io::Error),
    #[error("it does not greet")]
    Greeting,
    #[error(transparent)]
    Imap(#[from] async_imap::error::Error),
    #[error("a mail was put off: {0}")]
    Bounce(#[from] BounceError),
    #[error("it has no {0}, which `then` needs: choose another")]
    Unable(&'static str),
    #[error("it has not answered within {} seconds", WITHIN.as_secs())]
    Late,
}

/// What this processor knows of a mailbox from one look to the next: mails that are done with and
/// are not marked so yet. A server that refuses the mark does not have them done twice.
#[derive(Debug, Default)]
struct Memory {
    /// Numbers are of use under this one only (RFC 9051, 2.3.1.1).
    validity: Option<u32>,
    /// Each with whether all of it was read.
    done: HashMap<u32, bool>,
}

impl Poll {
    /// Looks into the mailbox again and again, until `stop`.
    pub(crate) async fn run(
        self,
        returns: Arc<Returns>,
        bytes_max: usize,
        stop: CancellationToken,
    ) {
        let (mut was_well, mut memory) = (true, Memory::default());
        loop {
            let look = self.look(&returns, bytes_max, &mut memory);
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = tokio::time::timeout(WITHIN, look) => looked,
            };
            let looked = looked.unwrap_or(Err(Trouble::Late));
            let outcome = if looked.is_ok() { "done" } else { "failed" };
            metrics::counter!("malleposte_bounces_imap_looks_total", "outcome" => outcome)
                .increment(1);
            let host = &self.config.host;
            match looked {
                Ok(0) => was_well = true,
                Ok(mails) => {
                    was_well = true;
                    tracing::info!(host, mails, "mail was taken over IMAP");
                }
                // Once, and not every minute of a weekend.
                Err(trouble) if was_well => {
                    was_well = false;
                    let why = chain(&trouble);
                    tracing::warn!(host, "a mailbox cannot be looked into: {why}");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(self.config.every_s)) => {}
            }
        }
    }

    async fn look(
        &self,
        returns: &Returns,
        bytes_max: usize,
        memory: &mut Memory,
    ) -> Result<usize, Trouble> {
        let stream = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
        match &self.connector {
            None => self.read(stream, returns, bytes_max, memory).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                self.read(stream, returns, bytes_max, memory).await
            }
        }
    }

    /// Takes what is new. One mail that cannot be taken now holds up none of the others.
    async fn read<S: Wire>(
        &self,
        stream: S,
        returns: &Returns,
        bytes_max: usize,
        memory: &mut Memory,
    ) -> Result<usize, Trouble> {
        let mut client = Client::new(stream);
        client.read_response().await?.ok_or(Trouble::Greeting)?;
        let login = client.login(&self.config.user, &self.password.0).await;
        let mut session = login.map_err(|(error, _)| error)?;
        self.check(&mut session).await?;
        let selected = session.select(&self.config.folder).await?;
        if memory.validity != selected.uid_validity {
            *memory = Memory { validity: selected.uid_validity, done: HashMap::new() };
        }
        let mut new: Vec<u32> = session.uid_search("UNSEEN UNDELETED").await?.into_iter().collect();
        new.sort_unstable();
        new.truncate(MAILS_MAX);
        let (mut taken, mut trouble) = (0, None);
        for uid in new {
            match self.take(&mut session, uid, returns, bytes_max, memory).await {
                Ok(()) => taken += 1,
                Err(Trouble::Bounce(error)) => trouble = Some(Trouble::Bounce(error)),
                Err(other) => return Err(other),
            }
        }
        session.logout().await?;
        trouble.map_or(Ok(taken), Err)
    }

    /// Whether what becomes of mails can be done, before any is taken.
    async fn check<S: Wire>(&self, session: &mut Session<S>) -> Result<(), Trouble> {
        let able = session.capabilities().await?;
        match self.config.then {
            Then::Seen => {}
            Then::Delete if !able.has_str("UIDPLUS") => return Err(Trouble::Unable("UIDPLUS")),
            Then::Delete => {}
            Then::Move if !able.has_str("MOVE") => return Err(Trouble::Unable("MOVE")),
            Then::Move => {
                session.status(&self.config.move_to, "(MESSAGES)").await?;
            }
        }
        Ok(())
    }

    async fn take<S: Wire>(
        &self,
        session: &mut Session<S>,
        uid: u32,
        returns: &Returns,
        bytes_max: usize,
        memory: &mut Memory,
    ) -> Result<(), Trouble> {
        let is_whole = match memory.done.get(&uid) {
            Some(is_whole) => *is_whole,
            None => {
                // A mail that is too large is understood by its beginning.
                let query = format!("BODY.PEEK[]<0.{bytes_max}>");
                let fetched: Vec<_> =
                    session.uid_fetch(uid.to_string(), query).await?.try_collect().await?;
                let octets = fetched.iter().find_map(|mail| mail.body());
                // Somebody else was faster.
                let Some(octets) = octets else { return Ok(()) };
                let from = format!("{} {}", self.config.host, self.config.folder);
                returns.take_from(&from, octets).await?;
                let is_whole = octets.len() < bytes_max;
                memory.done.insert(uid, is_whole);
                is_whole
            }
        };
        match self.config.then {
            Then::Seen => mark(session, uid, "\\Seen").await?,
            // Whatever of it is not here is there alone.
            _ if !is_whole => mark(session, uid, "\\Seen").await?,
            Then::Move => session.uid_mv(uid.to_string(), &self.config.move_to).await?,
            Then::Delete => {
                mark(session, uid, "\\Deleted").await?;
                let gone = session.uid_expunge(uid.to_string()).await?;
                let _gone: Vec<_> = gone.try_collect().await?;
            }
        }
        memory.done.remove(&uid);
        Ok(())
    }
}

/// Marks a mail, or says that the server does not let us.
async fn mark<S: Wire>(session: &mut Session<S>, uid: u32, flag: &str) -> Result<(), Trouble> {
    let command = format!("UID STORE {uid} +FLAGS.SILENT ({flag})");
    Ok(session.run_command_and_check_ok(command).await?)
}

/// What an IMAP session runs over.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Wire for S {}
