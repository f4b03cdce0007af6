//! What relays count of their TLS sessions, by day and domain, until the day's report has gone
//! (RFC 8460): counts that all relays add to, when each report is due, and what became of it. A
//! report belongs to whoever claims it; a claim that its relay does not live to end runs out.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyCounts};
use mail::{Domain, ShardId, Timestamp};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::queue::{one, parse};
use crate::scripts::{TLS_CLAIM, TLS_COUNT, TLS_REPORTED};

const VERSION: u8 = 1;
/// How long a day's counts are kept after its end: a report is tried for a day, and whoever looks
/// after a long weekend still finds what became of it.
pub const TLS_COUNTS_KEPT: Duration = Duration::from_secs(4 * 86_400);
/// Domains of one day in one shard. With the usual shards many times what asks for reports.
const DOMAINS_MAX: u64 = 10_000;
/// Names of counts of one domain and day. One relay has at most some thousand, most have ten.
const FIELDS_MAX: u64 = 2000;
/// The names of a count of sessions, and of one of failures, whose record follows.
const SUCCESSES: u8 = b's';
const FAILURES: u8 = b'f';
/// Octets of a policy's id.
const ID: usize = 8;

/// What was counted of one domain on one day.
#[derive(Debug, Clone)]
pub struct TlsCounted<'a> {
    /// When the sessions were.
    pub day: Day,
    /// Whose.
    pub domain: &'a Domain,
    /// How many.
    pub counts: &'a Counts,
    /// When the report goes, if this is the first that is counted.
    pub due: Timestamp,
}

/// What became of a report so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TlsReportState {
    /// How often it was tried.
    pub attempts: u16,
    /// When it was first tried.
    pub first_at: Option<Timestamp>,
    /// When it is tried again; none once it is at its end.
    pub next_at: Option<Timestamp>,
    /// Where it has arrived, as URIs.
    pub sent: BTreeMap<String, Timestamp>,
    /// Where it has not yet, as URIs, and why.
    pub failed: BTreeMap<String, String>,
    /// Where it is not wanted, as URIs, and why: nobody tries there again.
    pub refused: BTreeMap<String, String>,
    /// When nothing more was to be done.
    pub ended_at: Option<Timestamp>,
    /// Why, where it did not simply arrive everywhere.
    pub note: String,
}

/// A day's counts of one domain, with what became of its report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsDay {
    /// What was counted.
    pub counts: Counts,
    /// What became of the report.
    pub state: TlsReportState,
}

#[derive(Serialize)]
struct CountArgs<'a> {
    now: u64,
    day: String,
    domain: &'a str,
    due: u64,
    expires: u64,
    domains_max: u64,
    fields_max: u64,
}

#[derive(Serialize)]
struct ClaimArgs {
    now: u64,
    at: u64,
    till: u64,
}

#[derive(Serialize)]
struct ReportedArgs<'a> {
    now: u64,
    day: String,
    domain: &'a str,
    due: u64,
}

impl Store {
    fn tls_meta(&self, domain: &Domain) -> String {
        self.shard_key(self.shard_of(domain.as_str()), "meta")
    }

    fn tls_index(&self, shard: ShardId, day: Day) -> String {
        self.shard_key(shard, &format!("tlsrpt:{day}"))
    }

    /// Adds what was counted, one round trip a server, whatever the number of domains; each with
    /// its own answer: whether it was taken, or its shard has too many domains that day. What was
    /// not answered may have been added. Nothing waits for replicas: what is lost is a count.
    pub async fn count_tls(&self, all: &[TlsCounted<'_>]) -> Vec<Result<bool, StoreError>> {
        let keys: Vec<String> = all.iter().map(|counted| self.tls_meta(counted.domain)).collect();
        let command = |at: usize| {
            let counted = &all[at];
            let args = CountArgs {
                now: 1,
                day: counted.day.to_string(),
                domain: counted.domain.as_str(),
                due: counted.due.0,
                expires: (counted.day.end() + TLS_COUNTS_KEPT).0,
                domains_max: DOMAINS_MAX,
                fields_max: FIELDS_MAX,
            };
            let blobs = blobs(counted.counts);
            let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
            TLS_COUNT.command(&keys[at], &args, &blobs)
        };
        let answers = self.spread(&keys, command).await;
        let is_taken = |value: Value| Ok(parse::<String>(value)? == "counted");
        answers.into_iter().map(|answer| answer.and_then(is_taken)).collect()
    }

    /// One report of each of these shards that is due, if there is one. It is the caller's for so
    /// long; then, unless [`tls_reported`](Self::tls_reported) said otherwise, it is due again.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn claim_tls_reports(
        &self,
        shards: &[ShardId],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<(Day, Domain)>, StoreError> {
        let keys: Vec<String> = shards.iter().map(|shard| self.shard_key(*shard, "meta")).collect();
        let args = ClaimArgs { now: 1, at: now.0, till: (now + lease).0 };
        let answers = self.spread(&keys, |at| TLS_CLAIM.command(&keys[at], &args, &[])).await;
        let (mut claimed, mut trouble) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(value) => {
                    claimed.extend(parse::<Option<String>>(value)?.as_deref().and_then(named))
                }
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if claimed.is_empty() => Err(error),
            _ => Ok(claimed),
        }
    }

    /// What became of a report: it is due again when its state says so, and else never.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tls_reported(
        &self,
        day: Day,
        domain: &Domain,
        state: &TlsReportState,
    ) -> Result<(), StoreError> {
        let key = self.tls_meta(domain);
        let due = state.next_at.map_or(0, |at| at.0);
        let args = ReportedArgs { now: 1, day: day.to_string(), domain: domain.as_str(), due };
        let mut conn = self.conn_for(&key).await?;
        TLS_REPORTED.call(&mut conn, &key, &args, &[&pack(VERSION, state)]).await?;
        // A state that a failover forgets is a report that is sent twice.
        self.confirm(&mut conn).await
    }

    /// The domains of a day, with what became of their reports.
    ///
    /// # Errors
    /// When Redis does not answer, or a record is of a newer program.
    pub async fn tls_domains(&self, day: Day) -> Result<Vec<(Domain, TlsReportState)>, StoreError> {
        let keys: Vec<String> = self.all_shards().map(|shard| self.tls_index(shard, day)).collect();
        let mut domains = Vec::new();
        for answer in self.spread(&keys, |at| one("HGETALL", &keys[at])).await {
            let rows: Vec<(String, Vec<u8>)> = parse(answer?)?;
            for (name, packed) in rows {
                let domain: Domain =
                    name.parse().map_err(|e| StoreError::corrupt("domains with TLS counts", e))?;
                domains.push((domain, state(&packed)?));
            }
        }
        domains.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(domains)
    }

    /// What was counted of these domains on a day, in their order, one round trip a server.
    ///
    /// # Errors
    /// When Redis does not answer, or a record is of a newer program.
    pub async fn tls_counts(&self, day: Day, of: &[Domain]) -> Result<Vec<Counts>, StoreError> {
        let key = |domain: &Domain| {
            let index = self.tls_index(self.shard_of(domain.as_str()), day);
            format!("{index}:{domain}")
        };
        let keys: Vec<String> = of.iter().map(key).collect();
        let answers = self.spread(&keys, |at| one("HGETALL", &keys[at])).await;
        answers.into_iter().map(|answer| counts(parse(answer?)?)).collect()
    }

    /// A day's counts of one domain, with what became of its report; none if nothing was counted,
    /// or it is too long ago.
    ///
    /// # Errors
    /// When Redis does not answer, or a record is of a newer program.
    pub async fn tls_day(&self, day: Day, domain: &Domain) -> Result<Option<TlsDay>, StoreError> {
        let key = self.tls_index(self.shard_of(domain.as_str()), day);
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(domain.as_str()).query_async(&mut conn).await?;
        drop(conn);
        let Some(packed) = packed else { return Ok(None) };
        let counts = self.tls_counts(day, std::slice::from_ref(domain)).await?.pop();
        Ok(Some(TlsDay { counts: counts.unwrap_or_default(), state: state(&packed)? }))
    }
}

fn named(name: &str) -> Option<(Day, Domain)> {
    let (day, domain) = name.split_once(' ')?;
    Some((day.parse().ok()?, domain.parse().ok()?))
}

/// A report that was never tried has no state.
fn state(packed: &[u8]) -> Result<TlsReportState, StoreError> {
    match packed {
        [] => Ok(TlsReportState::default()),
        packed => unpack(VERSION, "the state of a TLS report", packed),
    }
}

/// As the script wants them.
fn blobs(counts: &Counts) -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    for (policy, counted) in counts.policies() {
        let bare = pack(VERSION, &Policy::bare(policy.kind));
        let own = pack(VERSION, policy);
        let mut names: Vec<[Vec<u8>; 3]> = Vec::new();
        let number = |count: u64| count.min(i64::MAX as u64).to_string().into_bytes();
        if counted.successes > 0 {
            let name = vec![SUCCESSES];
            names.push([name.clone(), name, number(counted.successes)]);
        }
        for (failure, count) in &counted.failures {
            let named = |failure: &Failure| [vec![FAILURES], pack(VERSION, failure)].concat();
            let of_many = named(&Failure::bare(failure.result));
            names.push([named(failure), of_many, number(*count)]);
        }
        blobs.extend([id(&own), own, id(&bare), bare, names.len().to_string().into_bytes()]);
        blobs.extend(names.into_iter().flatten());
    }
    blobs
}

/// A policy is told once, and named with each count: it may have thousands of octets.
fn id(packed: &[u8]) -> Vec<u8> {
    digest(&SHA256, packed).as_ref()[..ID].to_vec()
}

fn counts(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Counts, StoreError> {
    const WHAT: &str = "TLS counts";
    let wrong = |why: &str| StoreError::corrupt(WHAT, why);
    let mut policies: BTreeMap<Vec<u8>, Policy> = BTreeMap::new();
    let mut counted: Vec<(Vec<u8>, PolicyCounts)> = Vec::new();
    for (field, value) in fields {
        let (kind, rest) = field.split_first().ok_or_else(|| wrong("a name is empty"))?;
        if *kind == b'p' {
            policies.insert(rest.to_vec(), unpack(VERSION, WHAT, &value)?);
            continue;
        }
        let (id, name) = rest.split_at_checked(ID).ok_or_else(|| wrong("a name is short"))?;
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        let count = number.ok_or_else(|| wrong("a count is no number"))?;
        let mut one = PolicyCounts::default();
        match name.split_first() {
            Some((&SUCCESSES, [])) => one.successes = count,
            Some((&FAILURES, packed)) => {
                one.failures.insert(unpack(VERSION, WHAT, packed)?, count);
            }
            _ => return Err(wrong("a name is not known")),
        }
        counted.push((id.to_vec(), one));
    }
    let named = |(id, one): (Vec<u8>, PolicyCounts)| {
        let policy = policies.get(&id).ok_or_else(|| wrong("a policy is missing"))?;
        Ok((policy.clone(), one))
    };
    counted.into_iter().map(named).collect()
}
