//! Access tokens for next hops that take nothing else (XOAUTH2), fetched where they are given out
//! (RFC 6749): for an application that speaks for itself (4.4, Microsoft), or for a mailbox whose
//! owner gave it a refresh token (6, Google and Microsoft).

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;
use web::{Https, Posting, Uri};

use crate::config::OAuth;
use crate::smtp::{NoSecret, SecretFrom};

/// A whole fetch.
const WITHIN: Duration = Duration::from_secs(20);
/// An answer holds a token or two of some thousand octets each.
const ANSWER_OCTETS_MAX: usize = 128 * 1024;
/// What an answer says that names no lifetime (RFC 6749, 5.1 leaves it open).
const LIFETIME: u64 = 600;
/// A token that lives no longer than this is not used again: a login may take a while, and clocks
/// differ.
const SPARE: Duration = Duration::from_secs(120);

/// One application's tokens at one place; fetched when a login needs one, and kept while it lives.
pub struct Tokens {
    grant: OAuth,
    uri: Uri,
    https: Arc<Https>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    /// What came in place of the one in the file, if that could not be written.
    refresh_token: Option<String>,
}

struct Token {
    text: String,
    until: Instant,
    /// A server took it.
    was_good: bool,
}

/// RFC 6749, 5.1 and 5.2.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: String,
    error: String,
    error_description: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token from {}", self.grant.token_url)
    }
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.grant == other.grant
    }
}

impl Eq for Tokens {}

fn passing(why: impl fmt::Display) -> NoSecret {
    NoSecret { why: why.to_string(), passing: true }
}

impl Tokens {
    /// None where the grant's address is none, which its check has said before.
    pub(crate) fn new(grant: &OAuth, https: &Arc<Https>) -> Option<Self> {
        let uri = grant.uri().ok()?;
        let (grant, https) = (grant.clone(), https.clone());
        Some(Self { grant, uri, https, kept: Mutex::default() })
    }

    /// A token that is good for a while. Those who ask meanwhile wait for one fetch.
    pub(crate) async fn token(&self) -> Result<String, NoSecret> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && token.until > Instant::now() + SPARE
        {
            return Ok(token.text.clone());
        }
        let said = self.fetch(kept.refresh_token.as_deref()).await?;
        let lives = Duration::from_secs(said.expires_in.unwrap_or(LIFETIME));
        // One that nobody asked for would change what is asked with the next time.
        if self.grant.has_refresh_token() && !said.refresh_token.is_empty() {
            kept.refresh_token = self.keep_refresh_token(said.refresh_token);
        }
        let text = said.access_token;
        let until = Instant::now() + lives;
        kept.token = Some(Token { text: text.clone(), until, was_good: false });
        Ok(text)
    }

    /// A server took it, or not: then the next login fetches another. Answers whether that may
    /// help: a token that was good once has been withdrawn, one that never was is not what the
    /// server wants.
    pub(crate) async fn tried(&self, text: &str, is_taken: bool) -> bool {
        let mut kept = self.kept.lock().await;
        let Some(token) = kept.token.as_mut().filter(|token| token.text == text) else {
            // Another login was faster.
            return true;
        };
        token.was_good |= is_taken;
        let was_good = token.was_good;
        if !is_taken {
            kept.token = None;
        }
        was_good
    }

    /// When what it is asked for with was last changed.
    pub(crate) fn changed_at(&self) -> Option<std::time::SystemTime> {
        let files = [&self.grant.client_secret_file, &self.grant.refresh_token_file];
        files.iter().filter_map(|path| std::fs::metadata(path).ok()?.modified().ok()).max()
    }

    async fn fetch(&self, newer: Option<&str>) -> Result<Said, NoSecret> {
        let form = self.form(newer).await?;
        let posting = Posting {
            host: self.uri.host().unwrap_or_default(),
            port: self.uri.port_u16(),
            path: self.uri.path_and_query().map_or("/", |path| path.as_str()),
            media_type: "application/x-www-form-urlencoded",
            headers: &[],
            body: form.into(),
            octets_max: ANSWER_OCTETS_MAX,
            within: WITHIN,
            in_the_clear: false,
        };
        let answer = self.https.post(posting).await.map_err(passing)?;
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status == 200 && is_token(&said.access_token) {
            return Ok(said);
        }
        let why = match (said.error.as_str(), said.error_description.lines().next()) {
            ("", _) if answer.status == 200 => "it answers without a token".to_owned(),
            ("", _) => format!("it answers with status {}", answer.status),
            (error, None) => format!("it answers {error:?}"),
            (error, Some(more)) => format!("it answers {error:?}: {more:?}"),
        };
        // RFC 6749, 5.2: a request that is wrong stays wrong.
        let is_wrong = (400..500).contains(&answer.status) && answer.status != 429;
        Err(NoSecret { why, passing: !is_wrong })
    }

    async fn form(&self, newer: Option<&str>) -> Result<String, NoSecret> {
        let OAuth { client_id, scope, client_secret_file, refresh_token_file, .. } = &self.grant;
        let secret = if_named(client_secret_file).await?;
        let refresh_token = match newer {
            Some(newer) => Some(newer.to_owned()),
            None => if_named(refresh_token_file).await?,
        };
        let grant_type =
            if refresh_token.is_some() { "refresh_token" } else { "client_credentials" };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", grant_type).append_pair("client_id", client_id);
        let scope = (!scope.is_empty()).then(|| scope.clone());
        let more = [("scope", scope), ("client_secret", secret), ("refresh_token", refresh_token)];
        for (name, value) in more {
            value.iter().for_each(|value| _ = form.append_pair(name, value));
        }
        Ok(form.finish())
    }

    /// Another refresh token than the one that was shown: from now on that is the good one (RFC
    /// 6749, 6). It goes into the file; if it cannot, it is kept here as long as this relay runs.
    fn keep_refresh_token(&self, token: String) -> Option<String> {
        let path = &self.grant.refresh_token_file;
        match write(path, &token) {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(?path, %error, "a new refresh token cannot be written; kept until this relay stops");
                Some(token)
            }
        }
    }
}

async fn if_named(path: &Path) -> Result<Option<String>, NoSecret> {
    if path == Path::new("") {
        return Ok(None);
    }
    let file = SecretFrom::File(path.to_owned());
    let read = file.read().await;
    read.map(Some).map_err(|no| NoSecret { why: format!("{file}: {no}"), ..no })
}

/// Whole or not at all, and for nobody else to read.
fn write(path: &Path, token: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// RFC 6750, 2.1: what may stand in a header may stand in XOAUTH2's line.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
