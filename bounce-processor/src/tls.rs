//! STARTTLS (RFC 3207): the certificate that the doors show, read anew when its files change, so
//! that whatever renews it need not restart anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mail::Timestamp;
use metrics::gauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag};

use crate::config::Tls as Config;
use crate::error::BounceError;

/// The files are looked at this often.
const LOOKED_AT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Tls {
    files: Config,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    acceptor: TlsAcceptor,
    changed_at: [Option<SystemTime>; 2],
    looked_at: Instant,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("changed_at", &self.changed_at).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key; `None` where none are named.
    ///
    /// # Errors
    /// When they do not read, or do not belong together.
    pub(crate) fn open(files: &Config) -> Result<Option<Self>, BounceError> {
        if files.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let loaded = Mutex::new(load(files)?);
        Ok(Some(Self { files: files.clone(), loaded }))
    }

    /// What takes the next connection. Files that do not read any more change nothing.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked_at.elapsed() >= LOOKED_AT {
            loaded.looked_at = Instant::now();
            if changed_at(&self.files) != loaded.changed_at {
                match load(&self.files) {
                    Ok(new) => *loaded = new,
                    Err(e) => tracing::warn!("the certificate before is shown on: {e}"),
                }
            }
        }
        loaded.acceptor.clone()
    }
}

fn changed_at(files: &Config) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| path.metadata().and_then(|m| m.modified()).ok())
}

fn load(files: &Config) -> Result<Loaded, BounceError> {
    let wrong = |key: &str, path: &Path, why: String| {
        BounceError::Setting(format!("bounces.tls.{key}: {path:?}: {why}"))
    };
    let (certificate, key): (&PathBuf, &PathBuf) = (&files.certificate, &files.key);
    let refuse = |why: String| wrong("certificate", certificate, why);
    let changed_at = changed_at(files);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|e| refuse(e.to_string()))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|e| refuse(e.to_string()))?;
    if chain.is_empty() {
        return Err(refuse("holds no certificate: a PEM file with the whole chain".into()));
    }
    let ends = ends_at(&chain[0]);
    gauge!("malleposte_bounces_certificate_expires_timestamp_seconds")
        .set(ends.map_or(0.0, |ends| (ends.0 / 1000) as f64));
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("key", key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refuse(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| refuse(e.to_string()))?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Ok(Loaded { acceptor, changed_at, looked_at: Instant::now() })
}

/// When the certificate that the doors show ends; `None` when there is none.
///
/// # Errors
/// When its file does not read.
pub fn certificate_ends(config: &crate::Config) -> Result<Option<Timestamp>, BounceError> {
    let file = &config.tls.certificate;
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let certificate = CertificateDer::from_pem_file(file);
    let wrong =
        |why: String| BounceError::Setting(format!("bounces.tls.certificate: {file:?}: {why}"));
    let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
    ends_at(&certificate).map(Some).ok_or_else(|| wrong("does not say when it ends".to_owned()))
}

/// `notAfter` of a certificate (RFC 5280, 4.1.2.5).
fn ends_at(certificate: &[u8]) -> Option<Timestamp> {
    let validity_end = |tbs: &mut BERReaderSeq<'_, '_>| -> ASN1Result<Vec<u8>> {
        tbs.read_optional(|version| {
            version.read_tagged(Tag::context(0), |number| number.read_der())
        })?;
        for _serial_algorithm_issuer in 0..3 {
            tbs.next().read_der()?;
        }
        let end = tbs.next().read_sequence(|validity| {
            validity.next().read_der()?;
            validity.next().read_der()
        })?;
        while tbs.read_optional(|rest| rest.read_der())?.is_some() {}
        Ok(end)
    };
    let end = yasna::parse_der(certificate, |certificate| {
        certificate.read_sequence(|parts| {
            let end = parts.next().read_sequence(validity_end)?;
            parts.next().read_der()?;
            parts.next().read_der()?;
            Ok(end)
        })
    });
    let read = |time: BERReader<'_, '_>| match time.lookahead_tag()? {
        TAG_UTCTIME => time.read_utctime().map(|time| time.datetime().unix_timestamp()),
        _ => time.read_generalized_time().map(|time| time.datetime().unix_timestamp()),
    };
    let seconds = yasna::parse_der(&end.ok()?, read).ok()?;
    Some(Timestamp(u64::try_from(seconds).ok()?.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_when_it_ends() {
        let key = rcgen::KeyPair::generate().unwrap();
        // Years from 2050 on are written in another form (RFC 5280, 4.1.2.5).
        for (year, ends) in [(2031, "2031-05-04T00:00:00.000Z"), (2077, "2077-05-04T00:00:00.000Z")]
        {
            let mut params = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 5, 4);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(ends_at(certificate.der()).map(|at| at.to_string()).as_deref(), Some(ends));
        }
        for hostile in [&b""[..], b"\x30\x84\xff\xff\xff\xff", &[0x30; 300]] {
            assert_eq!(ends_at(hostile), None);
        }
    }
}
