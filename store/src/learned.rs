//! Rules that people named: one text for all relays and bounce processors.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mail::provider::RuleBook;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;
const REPLACE: &str = include_str!("lua/replace.lua");
/// The field of the hash: one book at present.
const BOOK: &str = "rules";
/// The name of the book: what stands in front of its rules in events.
pub const LEARNED_BOOK: &str = "learned";

/// The rules, as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LearnedRules {
    /// `[[rule]]` after `[[rule]]`, in TOML.
    pub text: String,
}

/// How old what a service knows of them may be.
const LOOKED_AT: Duration = Duration::from_secs(10);

/// The rules that people named, as a service has them before it.
#[derive(Debug, Default)]
pub struct LearnedBook(RwLock<Arc<RuleBook>>);

impl LearnedBook {
    /// The rules now.
    #[must_use]
    pub fn now(&self) -> Arc<RuleBook> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the store for ever. What does not read, or cannot be read now, changes nothing.
    pub async fn follow(&self, store: &Store) {
        let mut read = LearnedRules::default();
        loop {
            match store.learned_rules().await {
                Ok(rules) if rules != read => {
                    self.take(&rules);
                    read = rules;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the learned rules stay as they were"),
            }
            tokio::time::sleep(LOOKED_AT).await;
        }
    }

    fn take(&self, rules: &LearnedRules) {
        match RuleBook::read(LEARNED_BOOK, &rules.text) {
            Ok(book) => {
                tracing::info!(rules = book.len(), "the learned rules were read anew");
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
            }
            Err(faults) => tracing::warn!("the learned rules stay as they were: {faults}"),
        }
    }
}

impl Store {
    /// The rules that people named; empty where there are none.
    ///
    /// # Errors
    /// When Redis does not answer, or a newer program wrote them.
    pub async fn learned_rules(&self) -> Result<LearnedRules, StoreError> {
        Ok(self.held_rules().await?.1)
    }

    /// Replaces the rules if they still are what they were. `false`: somebody else was faster.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn replace_learned_rules(
        &self,
        before: &LearnedRules,
        after: &LearnedRules,
    ) -> Result<bool, StoreError> {
        let (held, now) = self.held_rules().await?;
        if now != *before {
            return Ok(false);
        }
        let key = self.key("learned");
        let mut conn = self.conn_for(&key).await?;
        let written: i64 = redis::cmd("EVAL")
            .arg(REPLACE)
            .arg(1)
            .arg(&key)
            .arg(BOOK)
            .arg(held)
            .arg(pack(VERSION, after))
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await?;
        Ok(written == 1)
    }

    async fn held_rules(&self) -> Result<(Vec<u8>, LearnedRules), StoreError> {
        let key = self.key("learned");
        let mut conn = self.conn_for(&key).await?;
        let held: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(BOOK).query_async(&mut conn).await?;
        let rules =
            held.as_deref().map(|held| unpack(VERSION, "learned rules", held)).transpose()?;
        Ok((held.unwrap_or_default(), rules.unwrap_or_default()))
    }
}
