//! Who may open the console, and who has it open. Neither a password nor the token of a session lies
//! here: a slow hash of the one, SHA-256 of the other, which is 256 random bits.

use std::collections::HashMap;
use std::time::Duration;

use mail::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::credentials::fingerprint;
use crate::error::StoreError;

const VERSION: u8 = 1;

mail::words! {
    /// What a person may do in the console.
    Role {
        /// Look, and give orders.
        Operate = "operate",
        /// Look.
        Look = "look",
    }
}

/// A person who may open the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The password's Argon2id hash, as a PHC string.
    pub password: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its password was last set: sessions from before it are over.
    pub changed_at: Timestamp,
}

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The operator.
    pub name: String,
    /// What each form must bring along, so that no other site can send one.
    pub form_token: String,
    /// Since when.
    pub began_at: Timestamp,
}

impl Store {
    /// Lets a person in, or changes how.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_operator(&self, name: &str, operator: &Operator) -> Result<(), StoreError> {
        let key = self.key("operators");
        let mut conn = self.conn_for(&key).await?;
        let _: () = redis::cmd("HSET")
            .arg(&key)
            .arg(name)
            .arg(pack(VERSION, operator))
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await
    }

    /// Takes a person's way in. Answers whether there was one.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn remove_operator(&self, name: &str) -> Result<bool, StoreError> {
        let key = self.key("operators");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HDEL").arg(&key).arg(name).query_async(&mut conn).await?)
    }

    /// One of them.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn operator(&self, name: &str) -> Result<Option<Operator>, StoreError> {
        let key = self.key("operators");
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(name).query_async(&mut conn).await?;
        packed.map(|p| unpack(VERSION, &format!("operator {name:?}"), &p)).transpose()
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When Redis does not answer or a record does not read.
    pub async fn operators(&self) -> Result<Vec<(String, Operator)>, StoreError> {
        let key = self.key("operators");
        let mut conn = self.conn_for(&key).await?;
        let all: HashMap<String, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let read = |(name, packed): (String, Vec<u8>)| {
            let operator = unpack(VERSION, &format!("operator {name:?}"), &packed)?;
            Ok::<_, StoreError>((name, operator))
        };
        let mut operators = all.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        operators.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(operators)
    }

    /// Remembers who has signed in, for so long.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin_session(
        &self,
        token: &str,
        session: &SessionRecord,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let key = self.session_key(token);
        let mut conn = self.conn_for(&key).await?;
        let seconds = lasts.as_secs().max(1);
        let packed = pack(VERSION, session);
        let mut set = redis::cmd("SET");
        Ok(set.arg(&key).arg(packed).arg("EX").arg(seconds).query_async(&mut conn).await?)
    }

    /// Who has this token.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn session(&self, token: &str) -> Result<Option<SessionRecord>, StoreError> {
        let key = self.session_key(token);
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(&mut conn).await?;
        packed.map(|p| unpack(VERSION, "a session", &p)).transpose()
    }

    /// Signs out.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn end_session(&self, token: &str) -> Result<(), StoreError> {
        let key = self.session_key(token);
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("DEL").arg(&key).query_async(&mut conn).await?)
    }

    /// Counts a try to sign in, and answers how many there were since the first of them; they are
    /// forgotten so long after it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn count_sign_in(&self, name: &str, within: Duration) -> Result<u64, StoreError> {
        let key = self.tries_key(name);
        let mut conn = self.conn_for(&key).await?;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("SET").arg(&key).arg(0).arg("EX").arg(within.as_secs().max(1)).arg("NX");
        pipe.ignore().cmd("INCR").arg(&key);
        let (tries,): (u64,) = pipe.query_async(&mut conn).await?;
        Ok(tries)
    }

    /// How many tries to sign in there were lately.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn sign_ins(&self, name: &str) -> Result<u64, StoreError> {
        let key = self.tries_key(name);
        let mut conn = self.conn_for(&key).await?;
        let tries: Option<u64> = redis::cmd("GET").arg(&key).query_async(&mut conn).await?;
        Ok(tries.unwrap_or(0))
    }

    /// Forgets the tries: somebody has signed in.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget_sign_ins(&self, name: &str) -> Result<(), StoreError> {
        let key = self.tries_key(name);
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("DEL").arg(&key).query_async(&mut conn).await?)
    }

    fn session_key(&self, token: &str) -> String {
        self.key(&format!("session:{}", fingerprint(token)))
    }

    /// Whatever was typed as a name: it becomes no part of a key as it is.
    fn tries_key(&self, name: &str) -> String {
        self.key(&format!("sign-ins:{}", fingerprint(name)))
    }
}
