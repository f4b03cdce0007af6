//! Whose word is taken for who a server is.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The authorities that this machine trusts, and those of a file of certificates (PEM), if one is
/// named.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn trusted_roots(authorities: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if authorities.is_empty() {
        return Ok(roots);
    }
    let wrong = |why: String| format!("{authorities:?}: {why}");
    let found = CertificateDer::pem_file_iter(authorities).map_err(|e| wrong(e.to_string()))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(e.to_string()))?;
    if found.is_empty() {
        return Err(wrong("no certificate is in it".to_owned()));
    }
    for certificate in found {
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(roots)
}

/// TLS towards servers whose certificates these authorities stand for.
///
/// # Errors
/// When there is none to be had with them.
pub fn tls_client(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
