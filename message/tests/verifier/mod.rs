//! mail-auth as whoever receives a signed message, with the records that a test publishes.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::ResolverConfig;
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

/// The records at `selector._domainkey.example.org`; everything else is not there.
pub(crate) struct Published(pub(crate) Vec<(String, String)>);

impl ResolverCache<Box<str>, Txt> for Published {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.iter().find_map(|(selector, record)| {
            let ours: Box<str> = format!("{selector}._domainkey.example.org.").into();
            let key = DomainKey::parse(record.as_bytes()).unwrap();
            (ours.borrow() == name).then(|| Txt::DomainKey(Arc::new(key)))
        })
    }
    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }
}

/// Whether each signature of a message passes, from the top.
pub(crate) async fn passes(mail: &[u8], keys: &Published) -> Vec<bool> {
    let resolver = TokioResolver::builder_with_config(
        ResolverConfig::default(),
        TokioRuntimeProvider::default(),
    );
    let authenticator = MessageAuthenticator(resolver.build().unwrap());
    let parsed = AuthenticatedMessage::parse(mail).unwrap();
    let parameters = Parameters::new(&parsed).with_txt_cache(keys);
    let results = authenticator.verify_dkim(parameters).await;
    results.iter().map(|r| matches!(r.result(), DkimResult::Pass)).collect()
}
