//! Who may open the console: operators and their sessions, as the store has them.

use std::time::Duration;

use async_trait::async_trait;
use console::{Account, Answer, Doors, Session};
use mail::Timestamp;
use store::{Role, SessionRecord};

use super::{Wired, broken};

#[async_trait]
impl Doors for Wired {
    async fn account(&self, name: &str) -> Answer<Option<Account>> {
        let operator = self.store.operator(name).await.map_err(broken)?;
        Ok(operator.map(|operator| Account {
            password: operator.password,
            may_operate: operator.role == Role::Operate,
            changed_at: operator.changed_at.0,
        }))
    }

    async fn has_accounts(&self) -> Answer<bool> {
        Ok(!self.store.operators().await.map_err(broken)?.is_empty())
    }

    async fn begin(&self, token: &str, session: &Session, lasts: Duration) -> Answer<()> {
        let record = SessionRecord {
            name: session.name.clone(),
            form_token: session.form_token.clone(),
            began_at: Timestamp(session.began_at),
        };
        self.store.begin_session(token, &record, lasts).await.map_err(broken)
    }

    async fn session(&self, token: &str) -> Answer<Option<Session>> {
        let record = self.store.session(token).await.map_err(broken)?;
        Ok(record.map(|record| Session {
            name: record.name,
            form_token: record.form_token,
            began_at: record.began_at.0,
        }))
    }

    async fn end(&self, token: &str) -> Answer<()> {
        self.store.end_session(token).await.map_err(broken)
    }

    async fn tries(&self, name: &str) -> Answer<u64> {
        self.store.sign_ins(name).await.map_err(broken)
    }

    async fn count_try(&self, name: &str, within: Duration) -> Answer<u64> {
        self.store.count_sign_in(name, within).await.map_err(broken)
    }

    async fn forget_tries(&self, name: &str) -> Answer<()> {
        self.store.forget_sign_ins(name).await.map_err(broken)
    }
}
