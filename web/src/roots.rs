//! Whose word is taken for who a server is.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

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
