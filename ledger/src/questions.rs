//! Questions of many to one history: so many at a time, each on a thread that may wait for a disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::Ledger;
use crate::config::Config;
use crate::error::LedgerError;

/// Questions that are answered at the same time: each reads a disk and takes a processor.
const ASKED_TOGETHER: usize = 4;
/// Whoever waits longer for the others is told to come again.
const WAITS: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Others are asking; later there is an answer.
    #[error("history answers others at the moment")]
    Busy,
    /// There is no history on this host.
    #[error("history is kept on another host")]
    Elsewhere,
    /// The history does not read.
    #[error(transparent)]
    History(#[from] LedgerError),
}

/// One history, for all in this process who ask it.
#[derive(Debug, Clone)]
pub struct Questions {
    config: Config,
    turns: Arc<Semaphore>,
}

impl Questions {
    /// Of the history that this configuration names; whether there is one is seen when it is asked.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, turns: Arc::new(Semaphore::new(ASKED_TOGETHER)) }
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no history here, it does not read, or others ask for long.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let turn = tokio::time::timeout(WAITS, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Unanswered::Busy) };
        let config = self.config.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held for as long as it reads, even where nobody waits for it any more.
            let _turn = turn;
            Ledger::existing(&config)?.map(|ledger| question(&ledger)).transpose()
        });
        let answer = answer.await.unwrap_or_else(|e| Err(LedgerError::Defect(e.to_string())));
        answer?.ok_or(Unanswered::Elsewhere)
    }
}
