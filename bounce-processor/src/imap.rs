//! Mailboxes that are looked into over IMAP (RFC 9051): where returned mail cannot be led here, a
//! provider's mailbox takes it in. A mail is marked, moved or deleted when what follows from it is
//! durable, and otherwise found again the next time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_imap::{Client, Session};
use futures_util::TryStreamExt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::error::{BounceError, chain};
use crate::replies::{Password, secret};
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
    /// It is deleted: what a person should read is in our own mailbox.
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
                let connector =
                    connector(roots).map_err(|why| refuse("tls", "implicit", &why.to_string()))?;
                Some((connector, name))
            }
        };
        Ok(Poll { config: self.clone(), password, connector })
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
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
    #[error("it has not answered within {} seconds", WITHIN.as_secs())]
    Late,
}

impl Poll {
    /// Looks into the mailbox again and again, until `stop`.
    pub(crate) async fn run(
        self,
        returns: Arc<Returns>,
        bytes_max: usize,
        stop: CancellationToken,
    ) {
        let mut was_well = true;
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = tokio::time::timeout(WITHIN, self.look(&returns, bytes_max)) => looked,
            };
            let looked = looked.unwrap_or(Err(Trouble::Late));
            let outcome = if looked.is_ok() { "done" } else { "failed" };
            metrics::counter!("malleposte_bounces_imap_looks_total", "outcome" => outcome)
                .increment(1);
            match looked {
                Ok(0) => was_well = true,
                Ok(mails) => {
                    was_well = true;
                    tracing::info!(host = self.config.host, mails, "mail was taken over IMAP");
                }
                // Once, and not every minute of a weekend.
                Err(trouble) if was_well => {
                    was_well = false;
                    let (host, why) = (&self.config.host, chain(&trouble));
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

    async fn look(&self, returns: &Returns, bytes_max: usize) -> Result<usize, Trouble> {
        let stream = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
        match &self.connector {
            None => self.read(stream, returns, bytes_max).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                self.read(stream, returns, bytes_max).await
            }
        }
    }

    async fn read<S>(
        &self,
        stream: S,
        returns: &Returns,
        bytes_max: usize,
    ) -> Result<usize, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug,
    {
        let mut client = Client::new(stream);
        client.read_response().await?.ok_or(Trouble::Greeting)?;
        let login = client.login(&self.config.user, &self.password.0).await;
        let mut session = login.map_err(|(error, _)| error)?;
        session.select(&self.config.folder).await?;
        let mut new: Vec<u32> = session.uid_search("UNSEEN UNDELETED").await?.into_iter().collect();
        new.sort_unstable();
        new.truncate(MAILS_MAX);
        let from = format!("{} {}", self.config.host, self.config.folder);
        for uid in &new {
            // A mail that is too large is understood by its beginning.
            let query = format!("BODY.PEEK[]<0.{bytes_max}>");
            let fetched: Vec<_> =
                session.uid_fetch(uid.to_string(), query).await?.try_collect().await?;
            let Some(octets) = fetched.iter().find_map(|mail| mail.body()) else { continue };
            returns.take_from(&from, octets).await?;
            self.done(&mut session, *uid).await?;
        }
        session.logout().await?;
        Ok(new.len())
    }

    async fn done<S>(&self, session: &mut Session<S>, uid: u32) -> Result<(), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug,
    {
        let uid = uid.to_string();
        match self.config.then {
            Then::Seen => mark(session, &uid, "\\Seen").await,
            Then::Move => Ok(session.uid_mv(&uid, &self.config.move_to).await?),
            Then::Delete => {
                mark(session, &uid, "\\Deleted").await?;
                let _gone: Vec<_> = session.expunge().await?.try_collect().await?;
                Ok(())
            }
        }
    }
}

async fn mark<S>(session: &mut Session<S>, uid: &str, flag: &str) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug,
{
    let stored = session.uid_store(uid, format!("+FLAGS.SILENT ({flag})")).await?;
    let _told: Vec<_> = stored.try_collect().await?;
    Ok(())
}
