//! Webhooks, signed as Standard Webhooks are (standardwebhooks.com, "Signature scheme"): whoever
//! receives one can prove that it is ours, that nobody changed it, and when it was made.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Uri;

use crate::{Https, HttpsError, Posting};

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Octets of a secret.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;
/// What a receiver may take: it should put the thing down and answer.
const WITHIN: Duration = Duration::from_secs(20);

/// What hooks are signed with.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl FromStr for Secret {
    type Err = HookError;

    /// `whsec_` and 24 to 64 octets in base64.
    fn from_str(text: &str) -> Result<Self, HookError> {
        let octets = text.trim().strip_prefix(SECRET_PREFIX).and_then(|t| STANDARD.decode(t).ok());
        let octets = octets.filter(|octets| SECRET_OCTETS.contains(&octets.len()));
        let octets = octets.ok_or(HookError::Secret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &octets)))
    }
}

impl Secret {
    /// The signature of a hook with this identity, made at this second since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, at_s: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{at_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

/// Why a hook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It is none of ours.
    #[error("the secret is not whsec_ and {} to {} octets in base64", SECRET_OCTETS.start(), SECRET_OCTETS.end())]
    Secret,
    /// It leads nowhere.
    #[error("{0:?} is no http:// or https:// URL with a host")]
    Url(String),
    /// There was no answer.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The receiver did not take it.
    #[error("{0} answers {1}")]
    Answer(String, u16),
}

/// Where something is told by a web request.
#[derive(Clone)]
pub struct Hook {
    host: String,
    port: Option<u16>,
    path: String,
    in_the_clear: bool,
    secret: Secret,
}

impl fmt::Debug for Hook {
    /// Without its path: for many a service that is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Which setting of a hook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text:?} {why}")]
pub struct HookSetting {
    /// `webhook` or `webhook_secret_file`.
    pub key: &'static str,
    /// What it is.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Hook {
    /// The hook that settings name, with its secret out of a file; `None`: none, where the URL is empty.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn of_settings(url: &str, secret_file: &Path) -> Result<Option<Self>, HookSetting> {
        if url.is_empty() {
            return Ok(None);
        }
        let refuse = |key, text: String, why: String| HookSetting { key, text, why };
        let file = secret_file.display().to_string();
        let wrong = |why: String| refuse("webhook_secret_file", file.clone(), why);
        let text = std::fs::read_to_string(secret_file).map_err(|e| wrong(e.to_string()))?;
        let secret: Secret = text.parse().map_err(|e: HookError| wrong(e.to_string()))?;
        let hook = Self::new(url, secret);
        hook.map(Some).map_err(|e| refuse("webhook", url.to_owned(), e.to_string()))
    }

    /// A hook at a URL.
    ///
    /// # Errors
    /// When the URL cannot be asked.
    pub fn new(url: &str, secret: Secret) -> Result<Self, HookError> {
        let wrong = || HookError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let in_the_clear = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().or(in_the_clear.then_some(80));
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host: authority.host().to_owned(), port, path, in_the_clear, secret })
    }

    /// Hands it in. The same `id` whenever the same thing is told again, so that the receiver can
    /// tell; `at_s` is now.
    ///
    /// # Errors
    /// When it is not taken: any answer but 2xx.
    pub async fn post(
        &self,
        https: &Https,
        id: &str,
        at_s: u64,
        body: Bytes,
    ) -> Result<(), HookError> {
        let headers = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", self.secret.sign(id, at_s, &body)),
        ];
        let posting = Posting {
            host: &self.host,
            port: self.port,
            path: &self.path,
            media_type: "application/json",
            headers: &headers,
            body,
            // Its status says all that is asked.
            octets_max: 0,
            within: WITHIN,
            in_the_clear: self.in_the_clear,
        };
        let answer = https.post(posting).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(HookError::Answer(self.host.clone(), answer.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's reference implementations.
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_x", "whsec_YWJj"] {
            assert!(text.parse::<Secret>().is_err(), "{text}");
        }
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        for url in ["", "/path", "ftp://a.example/", "https://", "https://me:pw@a.example/"] {
            let refused = Hook::new(url, secret.clone()).unwrap_err().to_string();
            assert!(refused.contains(url), "{refused}");
        }
        let hook = Hook::new("http://[::1]:8080/in?x=1", secret).unwrap();
        let place = (hook.host.as_str(), hook.port, hook.path.as_str(), hook.in_the_clear);
        assert_eq!(place, ("[::1]", Some(8080), "/in?x=1", true));
    }
}
