//! Suppression lists: per tenant, and one for the whole platform. They lie in the
//! shard of the address's domain, beside the batches that they filter. What leads
//! to a suppression is decided in `mail::hygiene`; its history lies here as it came.

use mail::{Category, DeliveryId, Event, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::queue::parse;
use crate::{Frame, Store, scripts};

pub(crate) const VERSION: u8 = 1;

/// The list that holds for every tenant, in the place of a tenant's name.
pub const PLATFORM: &str = "*";

/// Octets of a tenant's name.
const TENANT_OCTETS_MAX: usize = 64;

/// Whether a text may be a tenant's name, which becomes a part of keys: 1 to 64 letters, digits, - _ .
#[must_use]
pub fn is_tenant(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=TENANT_OCTETS_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Why an address gets no mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionRecord {
    /// A word of [`mail::hygiene::Reason`], or `operator`.
    pub reason: String,
    /// What the bounce was.
    pub category: Option<Category>,
    /// When.
    pub at: Timestamp,
    /// What was said, or by whom.
    pub evidence: String,
    /// The delivery whose failure was enough.
    #[serde(default)]
    pub delivery: Option<DeliveryId>,
    /// When it ends by itself; `None`: never. Older programs know no such end.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl SuppressionRecord {
    /// Whether it goes on when the other has ended: then that one must not take its place.
    #[must_use]
    pub fn outlasts(&self, other: &Self) -> bool {
        match (self.expires_at, other.expires_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(other)) => own > other,
        }
    }

    /// Whether it holds at this moment.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// A suppressed address and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Folded to lower case.
    pub address: String,
    /// Why.
    pub record: SuppressionRecord,
}

/// A change to one address, made together.
pub struct AddressChange<'a> {
    /// Whose list; `None`: the platform's.
    pub tenant: Option<&'a str>,
    /// The address, folded.
    pub address: &'a str,
    /// The history as it was when the decision was made.
    pub history_before: &'a [u8],
    /// The history now; empty: none.
    pub history_after: &'a [u8],
    /// What stood in the list, packed, empty for nothing; `None`: whatever stands there.
    pub listing_before: Option<&'a [u8]>,
    /// `Some(Some(_))` suppresses, `Some(None)` lifts, `None` leaves it.
    pub suppression: Option<Option<&'a SuppressionRecord>>,
    /// What to tell.
    pub events: &'a [Event],
}

impl Store {
    pub(crate) fn list_key(&self, shard: ShardId, list: &str, tenant: &str) -> String {
        self.shard_key(shard, &format!("{list}:{tenant}"))
    }

    /// Which of these addresses of one shard are suppressed for a tenant now, in order.
    /// The addresses must be folded. A record that does not read suppresses.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn suppressed(
        &self,
        shard: ShardId,
        tenant: &str,
        addresses: &[String],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for list in [tenant, PLATFORM] {
            pipe.cmd("EXISTS").arg(self.list_key(shard, "sup", list));
        }
        let mut conn = self.conn_for(&self.list_key(shard, "sup", tenant)).await?;
        let exist: Vec<u8> = pipe.query_async(&mut conn).await?;
        let mut out = vec![false; addresses.len()];
        for (list, _) in [tenant, PLATFORM].into_iter().zip(exist).filter(|(_, e)| *e == 1) {
            let found: Vec<Option<Vec<u8>>> = redis::cmd("HMGET")
                .arg(self.list_key(shard, "sup", list))
                .arg(addresses)
                .query_async(&mut conn)
                .await?;
            let holds = |packed: Vec<u8>| {
                unpack::<SuppressionRecord>(VERSION, "a suppression", &packed)
                    .map_or(true, |record| record.holds(now))
            };
            out.iter_mut().zip(found).for_each(|(o, f)| *o |= f.is_some_and(holds));
        }
        Ok(out)
    }

    /// Why an address is suppressed for a tenant: by its own list or the platform's, whichever holds;
    /// one that has ended is told where none does.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn suppression(
        &self,
        tenant: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<Option<SuppressionRecord>, StoreError> {
        let own = self.listing(tenant, address).await?;
        if tenant == PLATFORM || own.as_ref().is_some_and(|own| own.holds(now)) {
            return Ok(own);
        }
        let all = self.listing(PLATFORM, address).await?;
        Ok(all.filter(|all| all.holds(now) || own.is_none()).or(own))
    }

    /// What stands about an address in one list, whether it holds or has ended.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn listing(
        &self,
        list: &str,
        address: &str,
    ) -> Result<Option<SuppressionRecord>, StoreError> {
        let key = self.list_key(self.shard_of_address(address), "sup", list);
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(address).query_async(&mut conn).await?;
        unpack_listing(packed.as_deref())
    }

    /// An address's history with a tenant, as it was put; empty when there is none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn address_history(
        &self,
        tenant: Option<&str>,
        address: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let shard = self.shard_of_address(address);
        let key = self.list_key(shard, "hist", tenant.unwrap_or(PLATFORM));
        let mut conn = self.conn_for(&key).await?;
        let history: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(address).query_async(&mut conn).await?;
        Ok(history.unwrap_or_default())
    }

    /// Changes history and suppression of an address together and tells about it.
    /// Answers `false`, having done nothing, when what it goes by changed meanwhile.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn change_address(&self, change: &AddressChange<'_>) -> Result<bool, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            tenant: &'a str,
            address: &'a str,
            count: usize,
            listing: bool,
        }
        let args = Args {
            now: 1,
            tenant: change.tenant.unwrap_or(PLATFORM),
            address: change.address,
            count: change.events.len(),
            listing: change.listing_before.is_some(),
        };
        let suppression = match change.suppression {
            None => Vec::new(),
            Some(None) => b"-".to_vec(),
            Some(Some(record)) => pack(VERSION, record),
        };
        let frame =
            if change.events.is_empty() { Vec::new() } else { Frame::encode(change.events) };
        let key = self.shard_key(self.shard_of_address(change.address), "meta");
        let listing_before = change.listing_before.unwrap_or_default();
        let blobs =
            [change.history_before, change.history_after, &suppression, &frame, listing_before];
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::SUPPRESS.call(&mut conn, &key, &args, &blobs).await?;
        self.confirm(&mut conn).await?;
        Ok(parse::<String>(value)? == "ok")
    }

    pub(crate) fn shard_of_address(&self, address: &str) -> ShardId {
        self.shard_of(address.rsplit_once('@').map_or(address, |(_, domain)| domain))
    }
}

pub(crate) fn unpack_listing(
    packed: Option<&[u8]>,
) -> Result<Option<SuppressionRecord>, StoreError> {
    packed.map(|packed| unpack(VERSION, "a suppression", packed)).transpose()
}
