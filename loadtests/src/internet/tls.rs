//! The certificate of the pretend internet, made at the start: one for every mail exchanger's
//! name, given by an authority of its own, which the servers show too.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::world::World;

/// What all exchangers show.
pub(super) struct Certificates {
    pub(super) own: CertificateDer<'static>,
    pub(super) authority: CertificateDer<'static>,
}

/// The acceptor for STARTTLS and what it shows, for whoever wants to trust it.
pub(super) fn acceptor(world: &World) -> Result<(TlsAcceptor, Certificates)> {
    // One wildcard stands for the small hosters, whose names would fill the certificate.
    let mut names = vec!["*.pretend.test".to_owned()];
    let of_providers = world.hosts.iter().take(world.scenario.provider.len());
    names.extend(of_providers.flat_map(|host| host.mx.iter().map(|mx| mx.host.clone())));
    names.sort();
    names.dedup();
    let authority = authority().context("cannot make an authority")?;
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&key, &authority))
        .context("cannot make a certificate")?;
    let shown = Certificates { own: own.der().clone(), authority: authority.der().clone() };
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|reason| anyhow::anyhow!("cannot use the key just made: {reason}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![shown.own.clone(), shown.authority.clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), shown))
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "authority of the pretend internet");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}
