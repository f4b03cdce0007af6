//! Campaigns: the definition, written once; the status, changed by whoever may. Recipients
//! are in the shards, not here.

use std::collections::HashMap;

use mail::{CampaignId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, CampaignRecord, CampaignStatus};
use crate::error::StoreError;
use crate::files::{pack_files, unpack_files};
use crate::gates::{GATE, unpack_gate};
use crate::queue::{one, parse};
use crate::{Store, scripts};

/// What is read. A campaign that an older relay would send otherwise than is meant is written
/// with a version that it leaves alone: 2 demands verified TLS, 3 has files. All others are
/// written with 1.
const VERSION: u8 = 3;

pub(crate) fn version_of(record: &CampaignRecord, has_files: bool) -> u8 {
    match (has_files, record.require_tls) {
        (true, _) => 3,
        (false, true) => 2,
        (false, false) => 1,
    }
}

impl Store {
    pub(crate) fn campaign_key(&self, id: CampaignId) -> String {
        self.key(&format!("campaign:{id}"))
    }

    /// Writes a new campaign, as a draft.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn create_campaign(&self, record: &CampaignRecord) -> Result<CampaignId, StoreError> {
        let id = self.reserve_campaign().await?;
        self.create_campaign_as(id, record, &[]).await?;
        Ok(id)
    }

    /// Takes the number of a campaign that is about to be created.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reserve_campaign(&self) -> Result<CampaignId, StoreError> {
        let key = self.key("campaign-seq");
        let mut conn = self.conn_for(&key).await?;
        let id: u64 = redis::cmd("INCR").arg(&key).query_async(&mut conn).await?;
        Ok(CampaignId(id))
    }

    /// Writes a campaign under a reserved number, as a draft, with its first notes. The same
    /// again changes nothing, whatever its status has become: a creation that was cut off
    /// or not confirmed is simply repeated.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn create_campaign_as(
        &self,
        id: CampaignId,
        record: &CampaignRecord,
        notes: &[(&str, &str)],
    ) -> Result<(), StoreError> {
        let key = self.campaign_key(id);
        let at = record.created_at.0;
        let mut pipe = redis::pipe();
        pipe.cmd("HSETNX").arg(&key).arg("status").arg(CampaignStatus::Draft.as_str()).ignore();
        pipe.cmd("HSETNX").arg(&key).arg("changed_at").arg(at).ignore();
        for (name, value) in notes {
            pipe.cmd("HSETNX").arg(&key).arg(name).arg(value).ignore();
        }
        // The record last: without it the campaign does not exist.
        let packed = pack(version_of(record, false), record);
        pipe.cmd("HSETNX").arg(&key).arg("record").arg(packed).ignore();
        let mut conn = self.conn_for(&key).await?;
        let _: () = pipe.query_async(&mut conn).await?;
        let status: Option<String> =
            redis::cmd("HGET").arg(&key).arg("status").query_async(&mut conn).await?;
        self.confirm(&mut conn).await?;
        drop(conn);
        // The lists may lie on other servers; the record comes first, so that none of them
        // names a campaign that is not there.
        let is_over =
            status.and_then(|s| CampaignStatus::from_word(&s)).is_some_and(CampaignStatus::is_over);
        let mut lists = vec![self.key("campaigns")];
        if !is_over {
            lists.push(self.key("campaigns-active"));
        }
        let listed = self.spread_confirmed(&lists, |at| {
            let mut cmd = redis::cmd(if at == 0 { "ZADD" } else { "SADD" });
            cmd.arg(&lists[at]);
            if at == 0 {
                cmd.arg(id.0);
            }
            cmd.arg(id.to_string());
            cmd
        });
        listed.await.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    /// Campaigns that are not over, in no order; one that has just ended may still be among
    /// them. Two round trips, however many there are.
    ///
    /// # Errors
    /// When Redis does not answer, or a record does not read.
    pub async fn active_campaigns(&self) -> Result<Vec<(CampaignId, CampaignStatus)>, StoreError> {
        let key = self.key("campaigns-active");
        let mut conn = self.conn_for(&key).await?;
        let names: Vec<String> = redis::cmd("SMEMBERS").arg(&key).query_async(&mut conn).await?;
        drop(conn);
        let ids: Vec<CampaignId> = names
            .iter()
            .map(|name| name.parse().map_err(|e| StoreError::corrupt("the active campaigns", e)))
            .collect::<Result<_, StoreError>>()?;
        let keys: Vec<String> = ids.iter().map(|id| self.campaign_key(*id)).collect();
        let words = self.spread(&keys, |at| {
            let mut cmd = one("HGET", &keys[at]);
            cmd.arg("status");
            cmd
        });
        let words = words.await;
        let known = |(id, word): (CampaignId, Result<redis::Value, StoreError>)| {
            let word = parse::<Option<String>>(word?)?.unwrap_or_default();
            let status = CampaignStatus::from_word(&word).ok_or_else(|| {
                StoreError::corrupt(format!("campaign {id}"), format!("its status is {word:?}"))
            });
            status.map(|status| (id, status))
        };
        ids.into_iter().zip(words).map(known).collect()
    }

    /// Puts a campaign back into [`active_campaigns`](Self::active_campaigns); its files stay.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn activate_campaign(&self, id: CampaignId) -> Result<(), StoreError> {
        let campaign = self.campaign(id).await?;
        let gone = self.keep_files(id, &campaign.map(|c| c.files).unwrap_or_default()).await?;
        if !gone.is_empty() {
            tracing::warn!(campaign = %id, ?gone, "files are gone: its messages will be set aside");
        }
        let key = self.key("campaigns-active");
        let mut conn = self.conn_for(&key).await?;
        let _: () = redis::cmd("SADD").arg(&key).arg(id.to_string()).query_async(&mut conn).await?;
        self.confirm(&mut conn).await
    }

    /// Takes a campaign that is over out of [`active_campaigns`](Self::active_campaigns). Its files
    /// go after a while, unless some of its recipients are set aside and may need them yet.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn retire_campaign(&self, id: CampaignId) -> Result<(), StoreError> {
        let files = match self.campaign(id).await {
            Ok(campaign) => campaign.map(|c| c.files).unwrap_or_default(),
            Err(error) if error.is_passing() => return Err(error),
            // It is over all the same; its files stay.
            Err(_) => Vec::new(),
        };
        if !files.is_empty() && self.campaign_counters(id).await?.set_aside == 0 {
            self.expire_files(id, &files).await?;
        }
        let key = self.key("campaigns-active");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("SREM").arg(&key).arg(id.to_string()).query_async(&mut conn).await?)
    }

    /// A campaign; `None` when there is none of that number.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn campaign(&self, id: CampaignId) -> Result<Option<Campaign>, StoreError> {
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let mut fields: HashMap<String, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let Some(packed) = fields.remove("record") else { return Ok(None) };
        let record = unpack(VERSION, &format!("campaign {id}"), &packed)?;
        let files = unpack_files(id, &fields.remove("files").unwrap_or_default())?;
        // What it says is for people: not to read it keeps nobody from the campaign.
        let gate = fields.remove(GATE).and_then(|packed| unpack_gate(id, &packed).ok());
        let gate = gate.unwrap_or_default();
        let mut notes: HashMap<String, String> = fields
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect();
        let word = notes.remove("status").unwrap_or_default();
        let status = CampaignStatus::from_word(&word).ok_or_else(|| {
            StoreError::corrupt(format!("campaign {id}"), format!("its status is {word:?}"))
        })?;
        let changed = notes.remove("changed_at").and_then(|t| t.parse().ok()).unwrap_or(0);
        let changed_at = Timestamp(changed);
        Ok(Some(Campaign { id, record, files, status, changed_at, gate, notes }))
    }

    /// A campaign's status alone; `None` when there is none of that number.
    ///
    /// # Errors
    /// When Redis does not answer or the status is unknown.
    pub async fn campaign_status(
        &self,
        id: CampaignId,
    ) -> Result<Option<CampaignStatus>, StoreError> {
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let word: Option<String> =
            redis::cmd("HGET").arg(&key).arg("status").query_async(&mut conn).await?;
        word.map(|word| {
            CampaignStatus::from_word(&word).ok_or_else(|| {
                StoreError::corrupt(format!("campaign {id}"), format!("its status is {word:?}"))
            })
        })
        .transpose()
    }

    /// Campaigns by number, newest first, below `before`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn campaigns(
        &self,
        before: Option<CampaignId>,
        count: usize,
    ) -> Result<Vec<CampaignId>, StoreError> {
        let from = before.map_or_else(|| "+inf".to_owned(), |id| format!("({}", id.0));
        let key = self.key("campaigns");
        let mut conn = self.conn_for(&key).await?;
        let ids: Vec<String> = redis::cmd("ZRANGE")
            .arg(&key)
            .arg(from)
            .arg("-inf")
            .arg("BYSCORE")
            .arg("REV")
            .arg("LIMIT")
            .arg(0)
            .arg(count)
            .query_async(&mut conn)
            .await?;
        ids.iter()
            .map(|id| id.parse().map_err(|e| StoreError::corrupt("the list of campaigns", e)))
            .collect()
    }

    /// Changes a campaign's status if it is one of `from`; answers the status it has then.
    ///
    /// # Errors
    /// When Redis does not answer, or there is no such campaign.
    pub async fn change_status(
        &self,
        id: CampaignId,
        from: &[CampaignStatus],
        to: CampaignStatus,
        at: Timestamp,
    ) -> Result<CampaignStatus, StoreError> {
        self.status_script(id, from, to, at, &[]).await
    }

    /// Ends the uploads of a draft, if its files are still what was read with it; answers the
    /// status it has then.
    ///
    /// # Errors
    /// When Redis does not answer, or there is no such campaign.
    pub async fn close_draft(
        &self,
        campaign: &Campaign,
        at: Timestamp,
    ) -> Result<CampaignStatus, StoreError> {
        let (from, to) = ([CampaignStatus::Draft], CampaignStatus::Closing);
        let files = pack_files(&campaign.files);
        self.status_script(campaign.id, &from, to, at, &[&files]).await
    }

    async fn status_script(
        &self,
        id: CampaignId,
        from: &[CampaignStatus],
        to: CampaignStatus,
        at: Timestamp,
        files: &[&[u8]],
    ) -> Result<CampaignStatus, StoreError> {
        #[derive(Serialize)]
        struct Change {
            now: u64,
            from: Vec<&'static str>,
            to: &'static str,
            at: u64,
        }
        let change = Change {
            now: 1,
            from: from.iter().map(|s| s.as_str()).collect(),
            to: to.as_str(),
            at: at.0,
        };
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::STATUS.call(&mut conn, &key, &change, files).await?;
        self.confirm(&mut conn).await?;
        let word: String = parse(value)?;
        CampaignStatus::from_word(&word).ok_or_else(|| {
            StoreError::corrupt(format!("campaign {id}"), format!("its status is {word:?}"))
        })
    }

    /// Keeps a small fact with a campaign; the names `record`, `files`, `status`, `gate` and
    /// `changed_at` are taken.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn note_campaign(
        &self,
        id: CampaignId,
        name: &str,
        value: &str,
    ) -> Result<(), StoreError> {
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let _: () =
            redis::cmd("HSET").arg(&key).arg(name).arg(value).query_async(&mut conn).await?;
        self.confirm(&mut conn).await
    }

    /// Keeps a small fact with a campaign unless it is there already; answers what is there.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_note(
        &self,
        id: CampaignId,
        name: &str,
        value: &str,
    ) -> Result<String, StoreError> {
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let (kept,): (String,) = redis::pipe()
            .cmd("HSETNX")
            .arg(&key)
            .arg(name)
            .arg(value)
            .ignore()
            .cmd("HGET")
            .arg(&key)
            .arg(name)
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await?;
        Ok(kept)
    }
}

/// A versioned msgpack record. What a version has added is missing from those before it and has a
/// default, so all up to `version` are read.
pub(crate) fn unpack<T: for<'de> Deserialize<'de>>(
    version: u8,
    what: &str,
    packed: &[u8],
) -> Result<T, StoreError> {
    match packed.split_first() {
        Some((v, rest)) if (1..=version).contains(v) => {
            rmp_serde::from_slice(rest).map_err(|e| StoreError::corrupt(what, e))
        }
        Some((v, _)) if *v > version => {
            Err(StoreError::Newer { what: what.to_owned(), version: *v })
        }
        _ => Err(StoreError::corrupt(what, "it has no known version")),
    }
}

/// The inverse of [`unpack`].
pub(crate) fn pack(version: u8, record: &impl Serialize) -> Vec<u8> {
    let mut packed = vec![version];
    packed.extend(rmp_serde::to_vec_named(record).expect("a record is plain values"));
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{StartAt, TemplateRecord};

    fn record(require_tls: bool) -> CampaignRecord {
        let template = TemplateRecord {
            from_name: String::new(),
            from_address: "news@example.org".parse().expect("an address"),
            reply_to: None,
            subject: "x".into(),
            text: Some("x".into()),
            html: None,
            derive_text: false,
            headers: Vec::new(),
            fields: Vec::new(),
        };
        CampaignRecord {
            tenant: "t".into(),
            name: "c".into(),
            template,
            pool: "default".into(),
            priority: 1,
            weight: 1.0,
            start: StartAt::Now,
            lifetime_s: None,
            window: None,
            require_tls,
            gates: true,
            created_at: Timestamp(1),
            created_by: "k".into(),
            request: String::new(),
        }
    }

    #[test]
    fn a_relay_from_before_leaves_a_campaign_alone_that_demands_tls_and_reads_the_others() {
        let read = |version: u8, demands: bool| {
            let record = record(demands);
            let packed = pack(version_of(&record, false), &record);
            unpack::<CampaignRecord>(version, "a campaign", &packed)
        };
        for demands in [false, true] {
            assert_eq!(version_of(&record(demands), true), VERSION, "one with files is left alone");
        }
        assert!(matches!(read(1, true), Err(StoreError::Newer { version: 2, .. })));
        assert!(!read(1, false).expect("a record").require_tls);
        assert!(read(VERSION, true).expect("a record").require_tls);
        assert!(!read(VERSION, false).expect("a record").require_tls);
    }
}
