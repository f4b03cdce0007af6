//! The certificate of the pretend internet: self-signed, made at the start, for every
//! mail exchanger's name.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::world::World;

/// The acceptor for STARTTLS and the certificate itself, for whoever wants to pin it.
pub(super) fn acceptor(world: &World) -> Result<(TlsAcceptor, CertificateDer<'static>)> {
    // One wildcard stands for the small hosters, whose names would fill the certificate.
    let mut names = vec!["*.pretend.test".to_owned()];
    let of_providers = world.hosts.iter().take(world.scenario.provider.len());
    names.extend(of_providers.flat_map(|host| host.mx.iter().map(|mx| mx.host.clone())));
    names.sort();
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|reason| anyhow::anyhow!("cannot use the key just made: {reason}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}
