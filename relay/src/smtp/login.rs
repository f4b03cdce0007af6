//! Logging in to a next hop (RFC 4954): PLAIN, LOGIN and XOAUTH2, after encryption and never
//! before. Secrets are read when they are needed, go into the command, and nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{Phase, Reply};

use super::failure::SessionError;
use super::reply::{Trouble, to_reply};
use super::session::{Session, Target};
use crate::tokens::Tokens;

/// A password is a line, and a token some thousand octets.
const SECRET_OCTETS_MAX: u64 = 64 * 1024;

/// What is special about a next hop that an operator named; the default is a mail exchanger.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hop<'a> {
    /// TLS from the first octet (RFC 8314), and not by STARTTLS.
    pub implicit_tls: bool,
    /// Log in before any mail.
    pub login: Option<&'a Login>,
    /// It may bear our own name: it is named by an operator, and perhaps on this very host.
    pub may_be_namesake: bool,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Of servers that have no PLAIN; written down nowhere.
    Login,
    /// Google's and Microsoft's, with an access token (RFC 6749) as the secret.
    XOAuth2,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOAuth2 => "XOAUTH2",
        }
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// In a file, read again each time.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
    /// Given out when it is asked for: a token that soon runs out.
    Granted(Arc<Tokens>),
}

/// Why there is no secret; shows none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSecret {
    /// In words.
    pub why: String,
    /// Whether there may be one in a moment; else an operator must act.
    pub passing: bool,
}

impl fmt::Display for NoSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn missing(why: impl fmt::Display) -> NoSecret {
    NoSecret { why: why.to_string(), passing: false }
}

/// Who logs in, and how. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// With what.
    pub secret: SecretFrom,
}

/// A secret on its way into a command.
struct Secret(String);

impl fmt::Display for SecretFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {path:?}"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Granted(tokens) => tokens.fmt(f),
        }
    }
}

impl SecretFrom {
    /// The secret, which is a line.
    pub(crate) async fn read(&self) -> Result<String, NoSecret> {
        let text = match self {
            Self::File(path) => {
                let size = tokio::fs::metadata(path).await.map_err(missing)?.len();
                if size > SECRET_OCTETS_MAX {
                    return Err(missing(format!("{size} octets are too many for a secret")));
                }
                tokio::fs::read_to_string(path).await.map_err(missing)?
            }
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| missing("it is not set, or no text"))?
            }
            // A token is asked for with secrets, which are read here.
            Self::Granted(tokens) => return Box::pin(tokens.token()).await,
        };
        let line = text.trim_end_matches(['\r', '\n']);
        match line {
            "" => Err(missing("it is empty")),
            line if line.chars().any(char::is_control) => Err(missing("more than one line")),
            line => Ok(line.to_owned()),
        }
    }
}

impl Login {
    /// When the secret was last changed, as far as that can be told.
    pub(crate) fn changed_at(&self) -> Option<SystemTime> {
        match &self.secret {
            SecretFrom::File(path) => std::fs::metadata(path).ok()?.modified().ok(),
            SecretFrom::Variable(_) => None,
            SecretFrom::Granted(tokens) => tokens.changed_at(),
        }
    }

    /// What is said: the command, and an answer to each challenge.
    fn words(&self, secret: &Secret) -> (String, Vec<String>) {
        let (user, secret) = (&self.user, &secret.0);
        match self.mechanism {
            Mechanism::Plain => {
                let both = STANDARD.encode(format!("\0{user}\0{secret}"));
                (format!("AUTH PLAIN {both}"), Vec::new())
            }
            Mechanism::Login => {
                let words = [user, secret].map(|word| STANDARD.encode(word));
                ("AUTH LOGIN".to_owned(), words.to_vec())
            }
            Mechanism::XOAuth2 => {
                let both = format!("user={user}\x01auth=Bearer {secret}\x01\x01");
                // A challenge is the error; an empty answer asks for the reply that follows it.
                (format!("AUTH XOAUTH2 {}", STANDARD.encode(both)), vec![String::new()])
            }
        }
    }
}

impl Secret {
    /// A server's words without what some of them repeat of ours.
    fn hidden_in(&self, said: &str, words: &[&str]) -> String {
        let encoded = STANDARD.encode(&self.0);
        let tokens = words.iter().flat_map(|line| line.split(' '));
        let ours = tokens.filter(|token| token.len() > 7).chain([self.0.as_str(), &encoded]);
        ours.fold(said.to_owned(), |text, word| text.replace(word, "…"))
    }
}

/// The mechanisms that an answer to EHLO offers, in capitals.
pub(super) fn offered(ehlo: &str) -> Vec<String> {
    let words = ehlo.lines().skip(1).filter_map(|line| {
        // With an equals sign, as servers from before the RFC wrote it.
        let (verb, rest) = line.split_at_checked(4)?;
        let is_auth = verb.eq_ignore_ascii_case("AUTH") && rest.starts_with([' ', '=', '\t']);
        is_auth.then(|| rest[1..].split_ascii_whitespace())
    });
    words.flatten().map(str::to_ascii_uppercase).collect()
}

/// An operator must act, and until then nobody tries again and again.
fn refused(why: String) -> SessionError {
    SessionError::trouble(Phase::Ehlo, Trouble::Login { why, passing: false })
}

impl Session {
    /// Logs in, once the session is as private as it will be.
    pub(super) async fn log_in(
        &mut self,
        target: &Target<'_>,
        login: &Login,
    ) -> Result<(), SessionError> {
        let mechanism = login.mechanism.name();
        // A proxy's loopback is not ours.
        let is_local = self.peer().ip().is_loopback() && target.via.is_none();
        if self.tls().is_none() && !is_local {
            return Err(refused(format!("no password is sent in the clear to {}", self.peer())));
        }
        if !self.mechanisms.iter().any(|offered| offered == mechanism) {
            let offers = match self.mechanisms.join(", ") {
                none if none.is_empty() => "no AUTH at all".to_owned(),
                some => some,
            };
            return Err(refused(format!("AUTH {mechanism} is not offered: {offers}")));
        }
        let secret = match login.secret.read().await {
            Ok(secret) => Secret(secret),
            Err(NoSecret { why, passing }) => {
                let why = format!("{}: {why}", login.secret);
                return Err(SessionError::trouble(Phase::Ehlo, Trouble::Login { why, passing }));
            }
        };
        let (command, answers) = login.words(&secret);
        let reply = self.converse(&command, &answers).await?;
        let is_in = reply.code == 235;
        let may_help = match &login.secret {
            SecretFrom::Granted(tokens) => tokens.tried(&secret.0, is_in).await,
            SecretFrom::File(_) | SecretFrom::Variable(_) => false,
        };
        if is_in {
            return Ok(());
        }
        self.broken = true;
        let words: Vec<&str> =
            std::iter::once(&command).chain(&answers).map(String::as_str).collect();
        let said = secret.hidden_in(&reply.to_string(), &words);
        let why = format!("AUTH {mechanism} as {:?} was answered {said:?}", login.user);
        let passing = may_help || (400..500).contains(&reply.code);
        Err(SessionError::trouble(Phase::Ehlo, Trouble::Login { why, passing }))
    }

    async fn converse(&mut self, command: &str, answers: &[String]) -> Result<Reply, SessionError> {
        let trouble = |t| SessionError::trouble(Phase::Ehlo, t);
        let mut reply =
            self.ask(Phase::Ehlo, format!("{command}\r\n").as_bytes()).await.map_err(trouble)?;
        for answer in answers {
            if reply.code != 334 {
                break;
            }
            let line = format!("{answer}\r\n");
            reply = self.ask(Phase::Ehlo, line.as_bytes()).await.map_err(trouble)?;
        }
        Ok(to_reply(&reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_read_as_servers_write_it() {
        let of = |text: &str| offered(text).join(" ");
        assert_eq!(of("mx\nSIZE 10\nAUTH PLAIN login\n8BITMIME"), "PLAIN LOGIN");
        assert_eq!(of("mx\nauth=XOAUTH2 PLAIN"), "XOAUTH2 PLAIN");
        assert_eq!(of("AUTH PLAIN\nAUTHORITY X"), "", "the first line is a greeting");
        assert_eq!(of("mx\nAUTH"), "");
    }

    /// The examples of RFC 4616 and of Google's description.
    #[test]
    fn the_words_are_those_of_the_specifications() {
        let login = |mechanism, user: &str| Login {
            mechanism,
            user: user.into(),
            secret: SecretFrom::Variable("X".into()),
        };
        let secret = |text: &str| Secret(text.into());
        let (plain, none) = login(Mechanism::Plain, "tim").words(&secret("tanstaaftanstaaf"));
        assert_eq!((plain.as_str(), none.len()), ("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm", 0));
        let words = login(Mechanism::Login, "tim").words(&secret("tanstaaftanstaaf"));
        assert_eq!(words.1, ["dGlt", "dGFuc3RhYWZ0YW5zdGFhZg=="]);
        let token = secret("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
        let (xoauth, answers) = login(Mechanism::XOAuth2, "someuser@example.com").words(&token);
        assert_eq!(
            xoauth,
            "AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRj\
             Mk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
        );
        assert_eq!(answers, [""]);
    }
}
