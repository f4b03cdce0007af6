//! What went wrong with TLS, for people who see only this line.

use rustls::Error;

/// Why a handshake failed, for people who see only this line.
pub(super) fn in_words(error: &mail_send::Error) -> String {
    let io = match error {
        mail_send::Error::Timeout => return "no answer in time".to_owned(),
        mail_send::Error::Tls(error) => return in_short(error),
        mail_send::Error::Io(io) => io,
        other => return other.to_string(),
    };
    match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => in_short(error),
        None if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection in the middle of it".to_owned()
        }
        None => io.to_string(),
    }
}

/// The words of rustls, where they are for people; ours where they are not.
pub(super) fn in_short(error: &Error) -> String {
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
