//! What one source may send to one provider in any hour and any day, counted for all relays
//! together: one record for each, changed by one script. The model is `mail::quota`.

use mail::Timestamp;
use mail::quota::{Answer, Ask, Ceilings, Follows, Quota};
use mail::warmup::{Per, Progress, Turned};
use redis::Value;
use serde::Serialize;

use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

/// A record, for whoever looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaRecord {
    /// The source.
    pub source: String,
    /// The provider's name, or the site's where it is nobody's.
    pub group: String,
    /// Messages let go within the last hour.
    pub hour: u64,
    /// Messages let go within the last day.
    pub day: u64,
    /// How far it is with its warm-up plan.
    pub progress: Option<Progress>,
}

impl Store {
    fn quota_key(&self, source: &str, group: &str) -> String {
        let group = group.replace(['{', '}'], "");
        format!("{{{}:quota:{source}|{group}}}:caps", self.prefix)
    }

    /// Takes messages out of what a source may send to a provider.
    ///
    /// # Errors
    /// When Redis does not answer: then nothing more may go.
    pub async fn take_quota(
        &self,
        source: &str,
        group: &str,
        ask: &Ask<'_>,
    ) -> Result<Answer, StoreError> {
        self.take_quota_at(None, source, group, ask).await
    }

    /// `take_quota` by a clock that is handed in; for the comparison with the model.
    #[doc(hidden)]
    pub async fn take_quota_at(
        &self,
        now: Option<Timestamp>,
        source: &str,
        group: &str,
        ask: &Ask<'_>,
    ) -> Result<Answer, StoreError> {
        let key = self.quota_key(source, group);
        let mut conn = self.conn_for(&key).await?;
        let args = TakeArgs::new(now, ask);
        let value = scripts::QUOTA.call(&mut conn, &key, &args, &[]).await?;
        drop(conn);
        let (answer, is_new) = answer(parse(value)?)?;
        if is_new {
            let list = self.key("quotas");
            let mut conn = self.conn_for(&list).await?;
            let name = format!("{source}|{group}");
            let _: () = redis::cmd("SADD").arg(&list).arg(name).query_async(&mut conn).await?;
        }
        Ok(answer)
    }

    /// Every record there is, by source and provider. Those that ran out leave the list.
    ///
    /// # Errors
    /// When Redis does not answer, or a record does not read.
    pub async fn quotas(&self, now: Timestamp) -> Result<Vec<QuotaRecord>, StoreError> {
        let list = self.key("quotas");
        let mut conn = self.conn_for(&list).await?;
        let mut names: Vec<String> =
            redis::cmd("SMEMBERS").arg(&list).query_async(&mut conn).await?;
        drop(conn);
        names.sort_unstable();
        let (mut records, mut gone) = (Vec::new(), Vec::new());
        for name in &names {
            let Some((source, group)) = name.split_once('|') else { continue };
            match self.quota(source, group).await? {
                Some(quota) => {
                    let (hour, day) = quota.used(now);
                    let (source, group) = (source.to_owned(), group.to_owned());
                    let progress = quota.progress().cloned();
                    records.push(QuotaRecord { source, group, hour, day, progress });
                }
                None => gone.push(name),
            }
        }
        if !gone.is_empty() {
            let mut conn = self.conn_for(&list).await?;
            let _: () = redis::cmd("SREM").arg(&list).arg(&gone).query_async(&mut conn).await?;
        }
        Ok(records)
    }

    /// What a source sent to a provider, and how far it is with its plan there; `None` where nothing is
    /// counted.
    ///
    /// # Errors
    /// When Redis does not answer, or the record does not read.
    pub async fn quota(&self, source: &str, group: &str) -> Result<Option<Quota>, StoreError> {
        let key = self.quota_key(source, group);
        let mut conn = self.conn_for(&key).await?;
        let state: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg("state").query_async(&mut conn).await?;
        let read = |state: Vec<u8>| {
            rmp_serde::from_slice(&state)
                .map_err(|e| StoreError::corrupt("a quota's record", e.to_string()))
        };
        state.map(read).transpose()
    }

    /// A person says which day of its warm-up plan a source has come to at a provider, from 0; `false`
    /// when it follows none there.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn set_warmup_day(
        &self,
        source: &str,
        group: &str,
        day: u32,
    ) -> Result<bool, StoreError> {
        #[derive(Serialize)]
        struct Args {
            now: u64,
            day: u32,
        }
        let key = self.quota_key(source, group);
        let mut conn = self.conn_for(&key).await?;
        let args = Args { now: 0, day };
        let value = scripts::QUOTA_DAY.call(&mut conn, &key, &args, &[]).await?;
        self.confirm(&mut conn).await?;
        parse(value)
    }
}

#[derive(Serialize)]
struct TakeArgs<'a> {
    now: u64,
    wanted: u64,
    back: u64,
    bad: u64,
    /// -1: none.
    hour: i64,
    day: i64,
    plan: Option<PlanArgs<'a>>,
}

#[derive(Serialize)]
struct PlanArgs<'a> {
    name: &'a str,
    by_hour: bool,
    ceilings: &'a [u64],
}

impl<'a> TakeArgs<'a> {
    fn new(now: Option<Timestamp>, ask: &Ask<'a>) -> Self {
        let number = |most: Option<u64>| most.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
        let plan = |follows: &'a Follows| PlanArgs {
            name: &follows.name,
            by_hour: follows.plan.per == Per::Hour,
            ceilings: &follows.plan.ceilings,
        };
        Self {
            now: now.map_or(0, |t| t.0),
            wanted: ask.wanted,
            back: ask.back,
            bad: ask.bad,
            hour: number(ask.ceilings.hour),
            day: number(ask.ceilings.day),
            plan: ask.follows.map(plan),
        }
    }
}

/// The answer, and whether the record is new.
fn answer(answer: Vec<Value>) -> Result<(Answer, bool), StoreError> {
    let mut answer = answer.into_iter();
    let mut next = || answer.next().unwrap_or(Value::Nil);
    let granted = parse(next())?;
    let until: u64 = parse(next())?;
    let ceiling = |value| Ok::<_, StoreError>(u64::try_from(parse::<i64>(value)?).ok());
    let ceilings = Ceilings { hour: ceiling(next())?, day: ceiling(next())? };
    let day: u32 = parse(next())?;
    let turned: String = parse(next())?;
    let is_new = parse(next())?;
    let answer = Answer {
        granted,
        until: (until > 0).then_some(Timestamp(until)),
        ceilings,
        day: (day > 0).then_some(day),
        turned: Turned::from_word(&turned),
    };
    Ok((answer, is_new))
}
