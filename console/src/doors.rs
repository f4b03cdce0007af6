//! Who is let in. Passwords lie as Argon2id hashes (RFC 9106) where [`Doors`] keeps them; whoever has
//! signed in has a token in a cookie, and another one in each form.

use std::sync::LazyLock;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::platform::Answer;

/// Wrong passwords for one account before the next ones are refused, and for how long.
pub(crate) const TRIES_MAX: u64 = 10;
pub(crate) const TRIES_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Octets of a password that are looked at.
pub(crate) const PASSWORD_OCTETS_MAX: usize = 1024;
/// Fewer are guessed.
const PASSWORD_CHARS_MIN: usize = 10;

/// A person who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The password's hash, as a PHC string.
    pub password: String,
    /// Whether orders may be given.
    pub may_operate: bool,
    /// When the password was last set, in milliseconds of the Unix epoch.
    pub changed_at: u64,
}

/// Somebody who is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The account.
    pub name: String,
    /// What each form must bring.
    pub form_token: String,
    /// Since when, in milliseconds of the Unix epoch.
    pub began_at: u64,
}

/// Where accounts and sessions are kept.
#[async_trait]
pub trait Doors: Send + Sync + 'static {
    /// An account by its name.
    async fn account(&self, name: &str) -> Answer<Option<Account>>;
    /// Whether there is any account at all.
    async fn has_accounts(&self) -> Answer<bool>;
    /// Lets somebody in.
    async fn begin(&self, token: &str, session: &Session, lasts: Duration) -> Answer<()>;
    /// Who has this token.
    async fn session(&self, token: &str) -> Answer<Option<Session>>;
    /// Signs out.
    async fn end(&self, token: &str) -> Answer<()>;
    /// How many tries there were.
    async fn tries(&self, name: &str) -> Answer<u64>;
    /// Counts a try, and answers how many there were within this time.
    async fn count_try(&self, name: &str, within: Duration) -> Answer<u64>;
    /// Forgets the tries.
    async fn forget_tries(&self, name: &str) -> Answer<()>;
}

/// 256 random bits, as text.
#[must_use]
pub(crate) fn token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// A password that nobody guesses: 120 random bits, to be shown once.
#[must_use]
pub fn new_password() -> String {
    URL_SAFE_NO_PAD.encode(random::<15>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bits = [0; N];
    SystemRandom::new().fill(&mut bits).expect("the system has randomness");
    bits
}

/// Whether a password is one.
///
/// # Errors
/// What is wrong with it.
pub fn check_password(password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(format!(
            "a password of {chars} characters is guessed: {PASSWORD_CHARS_MIN} at least"
        ));
    }
    if password.len() > PASSWORD_OCTETS_MAX {
        return Err(format!("a password has at most {PASSWORD_OCTETS_MAX} octets"));
    }
    Ok(())
}

/// OWASP's first choice of 2024 for Argon2id: 19 MiB, two passes, one lane.
fn hasher() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("within the bounds of Argon2");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash to keep. Takes a processor for some 20 ms.
#[must_use]
pub fn hash_password(password: &str) -> String {
    let salt = SaltString::from_b64(&STANDARD_NO_PAD.encode(random::<16>())).expect("16 octets");
    let hash = hasher().hash_password(password.as_bytes(), &salt).expect("a short password");
    hash.to_string()
}

/// Whether it is the password. Takes as long where there is no account.
pub(crate) fn is_password(hash: Option<&str>, password: &str) -> bool {
    static NOBODYS: LazyLock<String> = LazyLock::new(|| hash_password(&token()));
    let there = hash.unwrap_or(&NOBODYS);
    let Ok(parsed) = PasswordHash::new(there) else { return false };
    hasher().verify_password(password.as_bytes(), &parsed).is_ok() && hash.is_some()
}

/// Whether two secrets are one, in a time that does not tell where they differ.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_its_own_hash_alone() {
        let hash = hash_password("correct horse");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_password(Some(&hash), "correct horse"));
        assert!(!is_password(Some(&hash), "correct horsf"));
        assert!(!is_password(None, "correct horse"));
        assert!(!is_password(Some("no hash"), "correct horse"));
        assert_ne!(hash, hash_password("correct horse"), "each has a salt of its own");
        assert!(check_password("short").is_err() && check_password(&new_password()).is_ok());
    }
}
