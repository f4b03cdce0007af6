//! What signs for a sender domain: its active keys, opened.

use mail::Domain;
use message::{Key, KeyError, Signer};
use store::{SealKeys, Store, StoreError};

/// Why there is no signer although there is a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignerError {
    #[error("{0}")]
    Record(#[from] StoreError),
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Signs with all active keys of a domain; none where nobody gave it a key.
pub(crate) async fn signer(
    store: &Store,
    seal: &SealKeys,
    domain: &Domain,
) -> Result<Option<Signer>, SignerError> {
    let Some(record) = store.sender(domain).await? else { return Ok(None) };
    let mut keys = Vec::new();
    for selector in record.active() {
        let key = selector.open(seal, domain)?;
        keys.push(Key::read(key.algorithm.parse()?, &key.pkcs8, &key.selector)?);
    }
    if keys.is_empty() {
        return Ok(None);
    }
    Ok(Some(Signer::new(domain, keys)?))
}
