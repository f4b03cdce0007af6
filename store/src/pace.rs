//! The pace of each (egress source, site): one record that all relays share. The
//! controller's state is opaque here; the script knows only its rate and its
//! connections, and hands out slices of them.

use std::time::Duration;

use mail::Site;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

/// A record that nobody has touched for this long starts anew.
const KEEP: Duration = Duration::from_secs(30 * 86_400);

/// A controller's state as it is shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaceRecord {
    /// Counts changes; 0 before the first.
    pub version: u64,
    /// The controller's own state.
    pub state: Vec<u8>,
}

/// What a relay asks for.
#[derive(Debug, Clone, Copy)]
pub struct SliceRequest<'a> {
    /// Who asks.
    pub relay: &'a str,
    /// Messages that it could send within the slice.
    pub demand: u32,
    /// Connections that it has open.
    pub in_use: u32,
    /// How long a slice is.
    pub slice: Duration,
    /// How long its claim on a share lives without another request.
    pub expiry: Duration,
}

/// What a relay was granted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceSlice {
    /// Messages that it may send.
    pub granted: u32,
    /// Connections that it may have open.
    pub connections: u32,
    /// The rate of all relays together, messages a second.
    pub rate: f64,
    /// The version of the record; 0: there is none yet, nothing was granted.
    pub version: u64,
    /// Relays that share.
    pub sharing: u32,
    /// How long until more can be granted.
    pub wait: Duration,
}

impl Store {
    fn pace_key(&self, source: &str, site: &Site) -> String {
        let site = site.as_str().replace(['{', '}'], "");
        format!("{{{}:pace:{source}|{site}}}:pace", self.prefix)
    }

    /// The record; version 0 and no state when there is none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn pace(&self, source: &str, site: &Site) -> Result<PaceRecord, StoreError> {
        let key = self.pace_key(source, site);
        let mut conn = self.conn_for(&key).await?;
        let (version, state): (Option<u64>, Option<Vec<u8>>) = redis::cmd("HMGET")
            .arg(&key)
            .arg("version")
            .arg("state")
            .query_async(&mut conn)
            .await?;
        Ok(PaceRecord { version: version.unwrap_or(0), state: state.unwrap_or_default() })
    }

    /// Stores a new state if the record is still of `version`. Answers the version now
    /// stored, or `None` when another relay was faster: read, decide and put again.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_pace(
        &self,
        source: &str,
        site: &Site,
        version: u64,
        state: &[u8],
        rate: f64,
        connections: u32,
    ) -> Result<Option<u64>, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            version: u64,
            rate: String,
            connections: u32,
            source: &'a str,
            site: &'a str,
            keep_ms: u64,
        }
        let args = Args {
            now: 1,
            version,
            rate: format!("{rate:.4}"),
            connections,
            source,
            site: site.as_str(),
            keep_ms: KEEP.as_millis() as u64,
        };
        let key = self.pace_key(source, site);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::PACE_PUT.call(&mut conn, &key, &args, &[state]).await?;
        let now: i64 = parse(value)?;
        if version == 0 && now > 0 {
            let paces = self.key("paces");
            let _: () = redis::cmd("SADD")
                .arg(&paces)
                .arg(format!("{source}|{site}"))
                .query_async(&mut self.conn_for(&paces).await?)
                .await?;
        }
        Ok(u64::try_from(now).ok())
    }

    /// Asks for a slice.
    ///
    /// # Errors
    /// When Redis does not answer: then the relay keeps the share that it had.
    pub async fn pace_slice(
        &self,
        source: &str,
        site: &Site,
        request: SliceRequest<'_>,
    ) -> Result<PaceSlice, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            relay: &'a str,
            demand: u32,
            in_use: u32,
            slice_ms: u64,
            expiry_ms: u64,
        }
        let args = Args {
            now: 0,
            relay: request.relay,
            demand: request.demand,
            in_use: request.in_use,
            slice_ms: request.slice.as_millis() as u64,
            expiry_ms: request.expiry.as_millis() as u64,
        };
        let key = self.pace_key(source, site);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::PACE_SLICE.call(&mut conn, &key, &args, &[]).await?;
        let (granted, connections, rate, version, sharing, wait): (
            u32,
            u32,
            String,
            u64,
            u32,
            u64,
        ) = parse(value)?;
        Ok(PaceSlice {
            granted,
            connections,
            rate: rate.parse().unwrap_or(0.0),
            version,
            sharing,
            wait: Duration::from_millis(wait),
        })
    }

    /// Every (source, site) that has a record.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn paces(&self) -> Result<Vec<(String, Site)>, StoreError> {
        let key = self.key("paces");
        let mut conn = self.conn_for(&key).await?;
        let mut all: Vec<String> = redis::cmd("SMEMBERS").arg(&key).query_async(&mut conn).await?;
        all.sort_unstable();
        let pair = |p: &String| p.split_once('|').map(|(s, t)| (s.to_owned(), Site::from_name(t)));
        Ok(all.iter().filter_map(pair).collect())
    }
}
