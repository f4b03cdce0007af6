//! DKIM signatures (RFC 6376, RFC 8463). Canonical forms are mail-auth's, keys are
//! `keys`. When a signature is made is the caller's to say, so that the same message
//! signed again is the same octets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{Domain, Timestamp};
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::Canonicalization;

use crate::keys::{Algorithm, Key, KeyError};
use crate::pieces::{Message, Piece, Pieces};

/// What is signed, where it is there. `From` and `Subject` are named once more than
/// they occur, so that nobody adds a second one on the way (RFC 6376, 8.15).
const SIGNED: &[&str] = &[
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    // Those of a TLS report (RFC 8460, 5.3).
    "tls-report-domain",
    "tls-report-submitter",
    "tls-required",
];
const SEALED: &str = "from:subject";

/// Signs for one domain, with one key or with several beside each other.
pub struct Signer {
    domain: Domain,
    keys: Vec<Key>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("domain", &self.domain).field("keys", &self.keys).finish()
    }
}

impl Signer {
    /// A signer that puts one signature for each key, in their order.
    ///
    /// # Errors
    /// Without a key.
    pub fn new(domain: &Domain, keys: Vec<Key>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        Ok(Self { domain: domain.clone(), keys })
    }

    /// A signer with an RSA private key, PKCS#8 or PKCS#1, in PEM or DER.
    ///
    /// # Errors
    /// As [`Key::read`].
    pub fn rsa(key: &[u8], domain: &Domain, selector: &str) -> Result<Self, KeyError> {
        Self::new(domain, vec![Key::read(Algorithm::Rsa, key, selector)?])
    }

    /// Puts a `DKIM-Signature` for each key, made at `at`, before `message`, which is a whole
    /// message with CRLF line ends. All of them share the hash of the body. Files are hashed as
    /// they are, and nothing is copied.
    ///
    /// # Errors
    /// When the library cannot sign; the message is as before.
    pub fn sign(&self, at: Timestamp, message: &mut Message) -> Result<(), KeyError> {
        let (signed, body) = signed_fields(&message.own);
        let header = message.own.len() - body.len();
        let hash = HashAlgorithm::Sha256.hash(Body { message: message.pieces(), header });
        let shared = shared_tags(at, &signed, hash.as_ref());
        // Several headers of one name are taken from the bottom (RFC 6376, 5.4.2).
        let mut canonical = Vec::with_capacity(2048);
        Canonicalization::Relaxed.canonicalize_headers(signed.into_iter().rev(), &mut canonical);
        let mut signatures = String::with_capacity(1024);
        for key in &self.keys {
            self.signature(key, &shared, &mut canonical, &mut signatures)?;
        }
        message.prepend(signatures.into_bytes());
        Ok(())
    }

    /// Appends one signature; `canonical` holds the signed header, and again afterwards.
    fn signature(
        &self,
        key: &Key,
        shared: &str,
        canonical: &mut Vec<u8>,
        signatures: &mut String,
    ) -> Result<(), KeyError> {
        let header = canonical.len();
        let (domain, algorithm, selector) = (&self.domain, key.algorithm().tag(), key.selector());
        let own = format!(
            " v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={selector};{shared}\r\n"
        );
        let field = std::iter::once((b"DKIM-Signature".as_slice(), own.as_bytes()));
        Canonicalization::Relaxed.canonicalize_headers(field, canonical);
        // The signature's own field is hashed without its line end (RFC 6376, 3.7).
        canonical.truncate(canonical.len() - 2);
        let seal = key.seal(canonical);
        canonical.truncate(header);
        signatures.push_str("DKIM-Signature:");
        signatures.push_str(own.trim_end());
        fold_base64(signatures, &seal?);
        signatures.push_str("\r\n");
        Ok(())
    }
}

/// The body in its canonical form. Each piece but the last ends with a line that is not empty, so
/// that they can be made canonical one by one; what is shared is so already.
struct Body<'a> {
    message: Pieces<'a>,
    /// Octets before the body.
    header: usize,
}

impl Writable for Body<'_> {
    fn write(self, writer: &mut impl Writer) {
        for piece in self.message.after(self.header) {
            match piece {
                Piece::Own(own) => Canonicalization::Relaxed.canonical_body(own, 0).write(writer),
                Piece::Shared(shared) => writer.write(shared.octets()),
            }
        }
    }
}

/// The tags that are the same whatever the key, from the list of headers to `b=`.
fn shared_tags(at: Timestamp, signed: &[Field<'_>], hash: &[u8]) -> String {
    let mut text = String::with_capacity(512);
    text.push_str("\r\n\th=");
    for (name, _) in signed.iter().rev() {
        text.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
        text.push(':');
        if text.len() - text.rfind('\n').unwrap_or(0) > 60 {
            text.push_str("\r\n\t ");
        }
    }
    text.push_str(SEALED);
    text.push_str(&format!("; t={};\r\n\tbh={};\r\n\tb=", at.secs(), STANDARD.encode(hash)));
    text
}

/// A header field: name, and value with its line end.
type Field<'a> = (&'a [u8], &'a [u8]);

/// The header fields that are signed, name and value, and the body.
fn signed_fields(message: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let mut signed = Vec::with_capacity(SIGNED.len());
    let mut rest = message;
    loop {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return (signed, body);
        }
        let (field, after) = rest.split_at(field_end(rest));
        if let Some(colon) = memchr::memchr(b':', field) {
            let (name, value) = (&field[..colon], &field[colon + 1..]);
            if SIGNED.iter().any(|s| name.eq_ignore_ascii_case(s.as_bytes())) {
                signed.push((name, value));
            }
        }
        if after.is_empty() {
            return (signed, after);
        }
        rest = after;
    }
}

/// After the first line end that no blank follows.
fn field_end(octets: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', octets)
        .map(|at| at + 1)
        .find(|end| !matches!(octets.get(*end), Some(b' ' | b'\t')))
        .unwrap_or(octets.len())
}

/// Blanks in `b=` do not count (RFC 6376, 3.5).
fn fold_base64(text: &mut String, octets: &[u8]) {
    for (i, line) in octets.chunks(54).enumerate() {
        if i > 0 {
            text.push_str("\r\n\t");
        }
        STANDARD.encode_string(line, text);
    }
}
