//! What the console sees and does, by the same looks and orders as the commands.

mod deeds;
mod doors;
mod lists;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use console::{
    AlarmsSeen, Answer, CampaignPage, CampaignSeen, Deed, Hand, Platform, SiteSeen,
    SuppressionPage, Trouble,
};
use ledger::{
    Cursor, Ledger, LedgerError, StatsAnswer, StatsQuestion, Story, TraceFilter, TracePage,
};
use mail::CampaignId;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::commands::now;
use crate::config::Config;
use crate::watch::Eyes;

/// A look serves all who ask within this.
const FRESH: Duration = Duration::from_secs(1);
/// Questions to history that are answered at the same time: each takes a processor.
const ASKED_TOGETHER: usize = 4;
/// Whoever waits longer for the others is told to come again.
const WAITS: Duration = Duration::from_secs(10);

/// The platform as this process has it.
pub(crate) struct Wired {
    store: Store,
    config: Config,
    eyes: Arc<Eyes>,
    questions: Arc<Semaphore>,
}

/// The console's pages, if they are wanted.
pub(crate) fn router(
    config: &Config,
    store: &Store,
    eyes: Arc<Eyes>,
    stop: CancellationToken,
) -> Option<axum::Router> {
    let wired = Arc::new(Wired {
        store: store.clone(),
        config: config.clone(),
        eyes,
        questions: Arc::new(Semaphore::new(ASKED_TOGETHER)),
    });
    let settings = &config.console;
    settings.enabled.then(|| console::router(settings, wired.clone(), wired, stop))
}

impl Wired {
    /// Asks history on a thread that may wait for a disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Answer<T> {
        let turn = tokio::time::timeout(WAITS, self.questions.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Trouble::Busy) };
        let config = self.config.ledger.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held for as long as it reads, even where nobody waits for it any more.
            let _turn = turn;
            Ledger::existing(&config)?.map(|ledger| question(&ledger)).transpose()
        });
        answer.await.map_err(broken)?.map_err(broken)?.ok_or(Trouble::Elsewhere)
    }
}

/// What went wrong here: for the log; whoever looks at the page hears that something did.
fn broken(error: impl Into<anyhow::Error>) -> Trouble {
    let error = error.into();
    tracing::warn!("the console cannot be served: {error:#}");
    Trouble::Broken("the platform does not answer; the log says why".to_owned())
}

/// An order that cannot be given: its reason is for whoever gave it.
fn refused(error: anyhow::Error) -> Trouble {
    match error.downcast_ref::<store::StoreError>() {
        Some(store::StoreError::Setting(_)) | None => Trouble::Refused(format!("{error:#}")),
        Some(_) => broken(error),
    }
}

#[async_trait]
impl Platform for Wired {
    async fn sights(&self) -> Answer<Arc<console::Sights>> {
        let sights = self.eyes.look(FRESH).await.map_err(broken)?;
        Ok(Arc::new(seen::sights(&sights)))
    }

    async fn site(&self, source: &str, site: &str) -> Answer<SiteSeen> {
        self.site_seen(source, site).await
    }

    async fn campaigns(&self, cursor: Option<&str>) -> Answer<CampaignPage> {
        self.campaign_page(cursor).await
    }

    async fn campaign(&self, id: CampaignId) -> Answer<CampaignSeen> {
        self.campaign_seen(id).await
    }

    async fn stats(&self, question: StatsQuestion) -> Answer<StatsAnswer> {
        self.ask(move |ledger| ledger.stats(&question)).await
    }

    async fn trace(
        &self,
        filter: TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Answer<TracePage> {
        self.ask(move |ledger| ledger.trace(&filter, limit, cursor)).await
    }

    async fn story(&self, address: &str) -> Answer<Story> {
        let address = address.to_owned();
        self.ask(move |ledger| ledger.story(&address)).await
    }

    async fn suppressions(
        &self,
        tenant: &str,
        address: Option<&str>,
        cursor: Option<&str>,
    ) -> Answer<SuppressionPage> {
        self.suppression_page(tenant, address, cursor).await
    }

    async fn alarms(&self) -> Answer<AlarmsSeen> {
        let at = now();
        let record = self.store.alarms().await.map_err(broken)?;
        let told = &self.config.alarms;
        Ok(AlarmsSeen {
            alarms: record.book.alarms().into_iter().cloned().collect(),
            silences: self.store.silences(at).await.map_err(broken)?,
            untold: record.untold.len() as u64,
            looked_at: record.looked_at,
            is_told: !told.mail_to.is_empty() || !told.webhook.is_empty(),
            at,
        })
    }

    async fn act(&self, hand: Hand, deed: Deed) -> Answer<()> {
        let done = self.done(&hand, deed).await;
        self.eyes.blink().await;
        done
    }
}
