//! TLS as SMTP uses it: any certificate will do for encryption, and whether it is a
//! good one is written down (RFC 7435). Sessions are resumed.

use std::fmt;
use std::sync::Arc;

use mail::tlsrpt::ResultType;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::dane::{DaneWish, NoMatch, judge};
use super::words::Flaw;

/// Servers whose sessions are remembered.
const RESUMPTION_SERVERS_MAX: usize = 1024;

/// What a handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Whether the session before was taken up again.
    pub resumed: bool,
    /// Whether a known authority gave the certificate to the server's name, or why not.
    pub verified: Result<(), Flaw>,
    /// Whether the certificate is the one that the server's DNS names, or why not; none where
    /// that was not asked for.
    pub dane: Option<Result<(), Flaw>>,
}

impl TlsFacts {
    /// Whether the server is who it should be: by DANE where that was asked for, else by the
    /// authorities that are known here.
    pub(super) fn worth(&self) -> &Result<(), Flaw> {
        self.dane.as_ref().unwrap_or(&self.verified)
    }
}

/// As `Event::tls` has it.
impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verified = match (&self.dane, &self.verified) {
            (Some(Ok(())), _) => "dane",
            (Some(Err(_)), _) | (None, Err(_)) => "unverified",
            (None, Ok(())) => "verified",
        };
        write!(f, "{} {} {verified}", self.version, self.cipher)
    }
}

/// What all TLS sessions of a relay share.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) connector: TlsConnector,
    verifier: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    dane: Option<Arc<DaneWish>>,
}

impl TlsClient {
    /// With these authorities. None at all is no error: nothing is verified then.
    pub fn new(roots: RootCertStore) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = if roots.is_empty() {
            None
        } else {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .ok()
        };
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(RESUMPTION_SERVERS_MAX);
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, verifier, algorithms, dane: None })
    }

    /// The same, for a server whose certificate its DNS names: it is judged by that.
    #[must_use]
    pub fn with_dane(&self, wish: Arc<DaneWish>) -> Self {
        Self { dane: Some(wish), ..self.clone() }
    }

    pub(super) fn facts(&self, connection: &ClientConnection, host: &str) -> TlsFacts {
        let name = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        let version = connection.protocol_version().and_then(|v| v.as_str().map(str::to_owned));
        let suite = connection.negotiated_cipher_suite();
        let cipher = suite.and_then(|s| s.suite().as_str().map(str::to_owned));
        TlsFacts {
            version: name(version).replace('_', "."),
            cipher: name(cipher),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            verified: self.verify(connection, host),
            dane: self.dane.as_deref().map(|wish| self.judge(wish, connection)),
        }
    }

    fn judge(&self, wish: &DaneWish, connection: &ClientConnection) -> Result<(), Flaw> {
        let chain = connection.peer_certificates().unwrap_or_default();
        judge(wish, chain, UnixTime::now(), &self.algorithms).map_err(NoMatch::flaw)
    }

    fn verify(&self, connection: &ClientConnection, host: &str) -> Result<(), Flaw> {
        let untrusted =
            |why: &str| Flaw { result: ResultType::CertificateNotTrusted, why: why.to_owned() };
        let none = || untrusted("no authority is known here");
        let verifier = self.verifier.as_ref().ok_or_else(none)?;
        let chain = connection.peer_certificates().unwrap_or_default();
        let (leaf, others) = chain.split_first().ok_or_else(|| untrusted("no certificate"))?;
        let name = ServerName::try_from(host).map_err(|_| Flaw::other("not a host name"))?;
        verifier
            .verify_server_cert(leaf, others, &name, &[], UnixTime::now())
            .map(|_| ())
            .map_err(|error| Flaw::of(&error))
    }
}

/// Takes any certificate, yet checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
