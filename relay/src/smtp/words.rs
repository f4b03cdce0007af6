//! What went wrong with TLS, for people who see only this line, and for reports.

use std::fmt;

use mail::tlsrpt::ResultType;
use rustls::Error;

/// What is wrong with a server's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Of which kind it is in reports (RFC 8460, 4.3).
    pub result: ResultType,
    /// In words.
    pub why: String,
}

impl Flaw {
    /// One that reports have no kind for.
    pub(super) fn other(why: impl Into<String>) -> Self {
        Self { result: ResultType::ValidationFailure, why: why.into() }
    }

    /// No STARTTLS.
    pub(super) fn not_offered() -> Self {
        Self { result: ResultType::StarttlsNotSupported, why: String::new() }
    }

    pub(super) fn of(error: &Error) -> Self {
        Self { result: kind(error), why: in_short(error) }
    }

    /// Why a handshake failed.
    pub(super) fn of_handshake(error: &mail_send::Error) -> Self {
        let io = match error {
            mail_send::Error::Timeout => return Self::other("no answer in time"),
            mail_send::Error::Tls(error) => return Self::of(error),
            mail_send::Error::Io(io) => io,
            other => return Self::other(other.to_string()),
        };
        match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of(error),
            None if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::other("the server closed the connection in the middle of it")
            }
            None => Self::other(io.to_string()),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn kind(error: &Error) -> ResultType {
    use rustls::CertificateError as C;
    match error {
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            ResultType::CertificateExpired
        }
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            ResultType::CertificateHostMismatch
        }
        Error::InvalidCertificate(_) => ResultType::CertificateNotTrusted,
        _ => ResultType::ValidationFailure,
    }
}

/// The words of rustls, where they are for people; ours where they are not.
fn in_short(error: &Error) -> String {
    use rustls::CertificateError as C;
    use rustls::InvalidMessage as M;
    match error {
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "its certificate is not valid yet".to_owned()
        }
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "its certificate is for another name".to_owned()
        }
        Error::InvalidCertificate(C::UnknownIssuer) => {
            "no authority that is known here gave it its certificate".to_owned()
        }
        Error::InvalidMessage(
            M::HandshakePayloadTooLarge | M::CertificatePayloadTooLarge | M::MessageTooLarge,
        ) => "it sends more certificates than anybody needs".to_owned(),
        Error::InvalidMessage(_) => format!("it does not speak TLS ({error})"),
        other => other.to_string(),
    }
}
