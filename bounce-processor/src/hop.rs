//! Mail handed to a mail server of one's own: answers of people, alarms.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mail_send::smtp::message::Message;
use mail_send::{SmtpClient, SmtpClientBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// What the server may take for one mail.
const WITHIN: Duration = Duration::from_secs(120);

/// A mail server that takes what is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NextHop {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: NextHopTls,
    /// Who logs in there. Empty: nobody.
    pub user: String,
    /// The file that holds the password.
    pub secret_file: PathBuf,
}

impl Default for NextHop {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 25,
            tls: NextHopTls::None,
            user: String::new(),
            secret_file: PathBuf::new(),
        }
    }
}

/// How a connection to a mail server of one's own is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NextHopTls {
    /// Not at all: for a server on this host.
    #[default]
    None,
    /// With STARTTLS, and not without.
    StartTls,
    /// From its first octet.
    Implicit,
}

/// What is shown to nobody but the server that it is for.
#[derive(Clone, Default)]
pub(crate) struct Password(pub(crate) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What a file holds that holds a secret, without the end of its line.
pub(crate) fn secret(path: &Path) -> Result<Password, String> {
    let read = std::fs::read_to_string(path);
    read.map(|text| Password(text.trim().to_owned())).map_err(|e| e.to_string())
}

/// Which setting of a next hop cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("next_hop.{key}: {text:?} {why}")]
pub struct HopError {
    pub(crate) key: &'static str,
    pub(crate) text: String,
    pub(crate) why: String,
}

/// A next hop whose settings make sense, with its password.
#[derive(Debug, Clone)]
pub struct Hop {
    settings: NextHop,
    password: Password,
}

impl Hop {
    /// Checks the settings and reads the password.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(settings: &NextHop) -> Result<Self, HopError> {
        let NextHop { host, port, user, secret_file, .. } = settings;
        let refuse = |key, text: &str, why: &str| {
            Err(HopError { key, text: text.to_owned(), why: why.to_owned() })
        };
        if host.is_empty() || *port == 0 {
            return refuse("host", host, "names no server and port");
        }
        let has_file = !secret_file.as_os_str().is_empty();
        if user.is_empty() == has_file {
            return refuse("user", user, "needs a secret_file, and one needs a user");
        }
        if !has_file {
            return Ok(Self { settings: settings.clone(), password: Password::default() });
        }
        match secret(secret_file) {
            Ok(password) => Ok(Self { settings: settings.clone(), password }),
            Err(why) => refuse("secret_file", &secret_file.display().to_string(), &why),
        }
    }

    /// Hands over a mail, whole lines that end in CRLF, to one recipient. `name` is what we are called.
    ///
    /// # Errors
    /// Why it was not taken, without the server's words: they may quote addresses, which do not belong
    /// into a log.
    pub async fn send(
        &self,
        name: &str,
        from: &str,
        to: &str,
        octets: &[u8],
    ) -> Result<(), String> {
        let sent = tokio::time::timeout(WITHIN, self.try_to_send(name, from, to, octets)).await;
        sent.map_err(|_| "the next hop does not answer in time".to_owned())?
    }

    async fn try_to_send(
        &self,
        name: &str,
        from: &str,
        to: &str,
        octets: &[u8],
    ) -> Result<(), String> {
        let said = |error: mail_send::Error| match error {
            mail_send::Error::UnexpectedReply(reply) => {
                format!("the next hop answers {}", reply.code)
            }
            other => format!("the next hop: {other}"),
        };
        let NextHop { host, port, tls, user, .. } = &self.settings;
        let mut builder = SmtpClientBuilder::new(host.clone(), *port)
            .map_err(|why| format!("TLS for the next hop: {why}"))?
            .implicit_tls(*tls == NextHopTls::Implicit)
            .helo_host(name)
            .timeout(WITHIN);
        if !user.is_empty() {
            builder = builder.credentials((user.clone(), self.password.0.clone()));
        }
        // The client ends the last line itself.
        let octets = octets.strip_suffix(b"\r\n").unwrap_or(octets);
        let message = Message::new(from.to_owned(), [to.to_owned()], octets);
        match tls {
            NextHopTls::None => hand_over(builder.connect_plain().await, message).await,
            NextHopTls::StartTls | NextHopTls::Implicit => {
                hand_over(builder.connect().await, message).await
            }
        }
        .map_err(said)
    }
}

async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(
    connected: mail_send::Result<SmtpClient<S>>,
    message: Message<'_>,
) -> mail_send::Result<()> {
    let mut client = connected?;
    client.send(message).await?;
    // It has taken the mail: whether it says goodbye is all the same.
    let _ = client.quit().await;
    Ok(())
}
