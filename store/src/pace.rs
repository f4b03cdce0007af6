//! The pace of each (egress source, site): one record that all relays share. The
//! controller's state is opaque here; the script knows only its rate and its
//! connections, and hands out slices of them, to each flow its share (`mail::share`).

use std::time::Duration;

use mail::share::{Demand, Weight};
use mail::{CampaignId, Site, Timestamp};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::queue::{one, parse};
use crate::{Store, scripts};

/// A record that nobody has touched for this long starts anew: one that tells what the site
/// objected to, and one that tells only that it has not objected yet.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
const KEEP_UNTAUGHT: Duration = Duration::from_secs(86_400);

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
    /// What it could send within the slice, by flow.
    pub flows: &'a [Demand],
    /// Connections that it has open.
    pub in_use: u32,
    /// How long a slice is.
    pub slice: Duration,
    /// How long its claim on a share lives without another request.
    pub expiry: Duration,
    /// Messages a second, and connections, while there is no record.
    pub start: (f64, u32),
    /// The same where an operator has fixed them: instead of the record's, but for a block.
    pub fixed: (Option<f64>, Option<u32>),
}

/// What a relay was granted.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceSlice {
    /// Messages that it may send, by flow.
    pub granted: Vec<(CampaignId, u32)>,
    /// Connections that it may have open.
    pub connections: u32,
    /// The rate of all relays together, messages a second.
    pub rate: f64,
    /// The version of the record; 0: there is none yet.
    pub version: u64,
    /// Relays that share.
    pub sharing: u32,
    /// How long until more can be granted.
    pub wait: Duration,
}

impl PaceSlice {
    /// Messages of all flows together.
    #[must_use]
    pub fn sum(&self) -> u32 {
        self.granted.iter().map(|(_, n)| n).sum()
    }
}

/// A controller's new state, and what of it the script must know.
#[derive(Debug, Clone, Copy)]
pub struct NewPace<'a> {
    /// The controller's own state.
    pub state: &'a [u8],
    /// Messages a second.
    pub rate: f64,
    /// Connections.
    pub connections: u32,
    /// Whether the site has ever objected: worth remembering.
    pub is_taught: bool,
    /// Whether the site blocks the source: then no operator's number stands above these.
    pub is_held: bool,
}

impl Store {
    pub(crate) fn pace_key(&self, source: &str, site: &Site) -> String {
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
        new: NewPace<'_>,
    ) -> Result<Option<u64>, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            version: u64,
            rate: String,
            connections: u32,
            held: bool,
            source: &'a str,
            site: &'a str,
            keep_ms: u64,
        }
        let keep = if new.is_taught { KEEP } else { KEEP_UNTAUGHT };
        let args = Args {
            now: 1,
            version,
            rate: format!("{:.4}", new.rate),
            connections: new.connections,
            held: new.is_held,
            source,
            site: site.as_str(),
            keep_ms: keep.as_millis() as u64,
        };
        let key = self.pace_key(source, site);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::PACE_PUT.call(&mut conn, &key, &args, &[new.state]).await?;
        let now: i64 = parse(value)?;
        drop(conn);
        if version == 0 && now > 0 {
            self.list_pace(source, site).await?;
        }
        Ok(u64::try_from(now).ok())
    }

    /// Lists a new record among the paces, and forgets a few whose records are gone: each
    /// that comes looks at two that were there, so that the list follows the records.
    async fn list_pace(&self, source: &str, site: &Site) -> Result<(), StoreError> {
        let list = self.key("paces");
        let mut conn = self.conn_for(&list).await?;
        let (_, some): (u64, Vec<String>) = redis::pipe()
            .cmd("SADD")
            .arg(&list)
            .arg(format!("{source}|{site}"))
            .cmd("SRANDMEMBER")
            .arg(&list)
            .arg(2)
            .query_async(&mut conn)
            .await?;
        // Whoever holds a connection must not wait for another: all could do the same.
        drop(conn);
        let there = some.iter().filter_map(|name| {
            let (source, site) = name.split_once('|')?;
            Some((name, self.pace_key(source, &Site::from_name(site))))
        });
        let (names, keys): (Vec<&String>, Vec<String>) = there.unzip();
        let answers = self.spread(&keys, |at| one("EXISTS", &keys[at])).await;
        let mut gone = Vec::new();
        for (name, answer) in names.into_iter().zip(answers) {
            if !parse::<bool>(answer?)? {
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            let mut conn = self.conn_for(&list).await?;
            let _: () = redis::cmd("SREM").arg(&list).arg(&gone).query_async(&mut conn).await?;
        }
        Ok(())
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
        self.pace_slice_at(None, source, site, request).await
    }

    /// `pace_slice` by a clock that is handed in; for the comparison with the model.
    #[doc(hidden)]
    pub async fn pace_slice_at(
        &self,
        now: Option<Timestamp>,
        source: &str,
        site: &Site,
        request: SliceRequest<'_>,
    ) -> Result<PaceSlice, StoreError> {
        let args = SliceArgs::new(now, &request);
        let key = self.pace_key(source, site);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::PACE_SLICE.call(&mut conn, &key, &args, &[]).await?;
        slice(parse(value)?)
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

#[derive(Serialize)]
struct SliceArgs<'a> {
    now: u64,
    relay: &'a str,
    /// Campaign, tenant, the tenant's weight, class, recipients, the campaign's weight, which
    /// relays from before do not send.
    flows: Vec<(u64, u32, f64, u8, u32, f64)>,
    in_use: u32,
    slice_ms: u64,
    expiry_ms: u64,
    rate_start: f64,
    connections_start: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_fixed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_fixed: Option<u32>,
}

impl<'a> SliceArgs<'a> {
    fn new(now: Option<Timestamp>, request: &SliceRequest<'a>) -> Self {
        let flow = |f: &Demand| {
            let Weight { tenant, of_tenant, of_campaign } = f.weight;
            (f.campaign.0, tenant.0, of_tenant, f.priority, f.waiting, of_campaign)
        };
        Self {
            now: now.map_or(0, |t| t.0),
            relay: request.relay,
            flows: request.flows.iter().map(flow).collect(),
            in_use: request.in_use,
            slice_ms: request.slice.as_millis() as u64,
            expiry_ms: request.expiry.as_millis() as u64,
            rate_start: request.start.0,
            connections_start: request.start.1,
            rate_fixed: request.fixed.0,
            connections_fixed: request.fixed.1,
        }
    }
}

fn slice(answer: Vec<Value>) -> Result<PaceSlice, StoreError> {
    let mut answer = answer.into_iter();
    let mut next = || answer.next().unwrap_or(Value::Nil);
    let connections = parse(next())?;
    let rate: String = parse(next())?;
    let (version, sharing, wait) = (parse(next())?, parse(next())?, parse(next())?);
    let numbers: Vec<u64> = answer.map(parse).collect::<Result<_, _>>()?;
    let granted = numbers.chunks_exact(2).map(|pair| (CampaignId(pair[0]), pair[1] as u32));
    Ok(PaceSlice {
        granted: granted.collect(),
        connections,
        rate: rate.parse().map_err(|_| StoreError::corrupt("a pace's rate", rate))?,
        version,
        sharing,
        wait: Duration::from_millis(wait),
    })
}
