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
    Cursor, Questions, StatsAnswer, StatsQuestion, Story, TraceFilter, TracePage, Unanswered,
};
use mail::CampaignId;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::commands::now;
use crate::config::Config;
use crate::watch::Eyes;

/// A look serves all who ask within this.
const FRESH: Duration = Duration::from_secs(1);

/// The platform as this process has it.
pub(crate) struct Wired {
    store: Store,
    config: Config,
    eyes: Arc<Eyes>,
    history: Questions,
}

/// The console's pages, if they are wanted.
pub(crate) fn router(
    config: &Config,
    store: &Store,
    eyes: Arc<Eyes>,
    history: Questions,
    stop: CancellationToken,
) -> Option<axum::Router> {
    let wired = Arc::new(Wired { store: store.clone(), config: config.clone(), eyes, history });
    let settings = &config.console;
    settings.enabled.then(|| console::router(settings, wired.clone(), wired, stop))
}

/// Why history has no answer, as pages say it.
fn unanswered(why: Unanswered) -> Trouble {
    match why {
        Unanswered::Busy => Trouble::Busy,
        Unanswered::Elsewhere => Trouble::Elsewhere,
        Unanswered::History(error) => broken(error),
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
        self.history.ask(move |ledger| ledger.stats(&question)).await.map_err(unanswered)
    }

    async fn trace(
        &self,
        filter: TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Answer<TracePage> {
        self.history
            .ask(move |ledger| ledger.trace(&filter, limit, cursor))
            .await
            .map_err(unanswered)
    }

    async fn story(&self, address: &str) -> Answer<Story> {
        let address = address.to_owned();
        self.history.ask(move |ledger| ledger.story(&address)).await.map_err(unanswered)
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
