//! STARTTLS (RFC 3207): the certificate that the doors show, read anew when its files change, so
//! that whatever renews it need not restart anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

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
