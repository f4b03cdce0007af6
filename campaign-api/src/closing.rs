//! Closing an upload: its recipients are taken in by a task of their own, whoever asked
//! and whoever hangs up. Whoever asks meanwhile waits for the same task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail::CampaignId;
use store::{Campaign, CampaignStatus, chain};
use tokio::sync::{Semaphore, watch};

use crate::intake::{self, Form, IntakeError, Order};
use crate::view::{self, Intake};
use crate::{App, lifecycle};

/// Campaigns taken in at a time: a large one does not hold up a small one, and the memory
/// is shared by so many.
const AT_A_TIME: usize = 2;
/// A closing that failed is tried again by itself after this.
const RETRY: Duration = Duration::from_secs(5);

/// How a closing ended; `None`: not yet.
pub(crate) type Ended = Option<Result<(), Arc<IntakeError>>>;

/// The closings of this process.
pub(crate) struct Closings {
    permits: Arc<Semaphore>,
    running: Mutex<HashMap<CampaignId, Closing>>,
}

struct Closing {
    ended: watch::Receiver<Ended>,
    begun: Instant,
}

impl Closings {
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_A_TIME)), running: Mutex::default() }
    }
}

/// Goes on with the closing of a campaign, or begins it; answers how to wait for its end.
pub(crate) fn ensure(app: &App, id: CampaignId, who: &str) -> watch::Receiver<Ended> {
    let mut running = app.closings.running.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(closing) = running.get(&id)
        && closing.ended.borrow().is_none()
        && closing.ended.has_changed().is_ok()
    {
        return closing.ended.clone();
    }
    let (sender, ended) = watch::channel(None);
    running.insert(id, Closing { ended: ended.clone(), begun: Instant::now() });
    let (task_app, who) = (Arc::clone(app), who.to_owned());
    app.tasks.spawn(async move {
        let result = close(&task_app, id, &who).await;
        if let Err(error) = &result {
            tracing::warn!(campaign = %id, error = %chain(error), "recipients are not accepted yet");
        }
        let _ = sender.send(Some(result.map_err(Arc::new)));
    });
    ended
}

/// Whether it is time to try a closing (again) that nobody asks for.
pub(crate) fn is_due(app: &App, id: CampaignId) -> bool {
    let running = app.closings.running.lock().unwrap_or_else(PoisonError::into_inner);
    match running.get(&id) {
        None => true,
        Some(closing) => {
            let is_over = closing.ended.borrow().is_some() || closing.ended.has_changed().is_err();
            is_over && closing.begun.elapsed() > RETRY
        }
    }
}

/// Forgets closings whose campaigns have gone on.
pub(crate) fn forget(app: &App, is_closing: impl Fn(CampaignId) -> bool) {
    let mut running = app.closings.running.lock().unwrap_or_else(PoisonError::into_inner);
    running.retain(|id, closing| closing.ended.borrow().is_none() || is_closing(*id));
}

async fn close(app: &App, id: CampaignId, who: &str) -> Result<(), IntakeError> {
    let permits = Arc::clone(&app.closings.permits);
    let _permit = permits.acquire_owned().await.map_err(|_| IntakeError::Stopped)?;
    let Some(campaign) = app.store.campaign(id).await? else { return Ok(()) };
    if campaign.status != CampaignStatus::Closing {
        return Ok(());
    }
    let begun = Instant::now();
    let totals = intake::take_in(&order(app, &campaign), &app.store, &app.stop).await?;
    let counters = app.store.campaign_counters(id).await?;
    let seconds = begun.elapsed().as_secs_f64();
    metrics::histogram!("malleposte_api_intake_seconds").record(seconds);
    metrics::counter!("malleposte_api_recipients_accepted_total").increment(counters.accepted);
    metrics::counter!("malleposte_api_recipients_suppressed_total").increment(counters.suppressed);
    tracing::info!(request = campaign.record.request, campaign = %id, accepted = counters.accepted, refused = totals.refused, seconds, "recipients accepted");
    let note = serde_json::to_string(&Intake::from(totals)).unwrap_or_default();
    app.store.note_campaign(id, view::INTAKE_NOTE, &note).await?;
    lifecycle::change(&app.store, &campaign, CampaignStatus::Ready, who).await?;
    app.staging.remove(id).await;
    Ok(())
}

fn order(app: &App, campaign: &Campaign) -> Order {
    let fields = campaign.record.template.fields.clone();
    let defaults = view::defaults(campaign);
    Order {
        campaign: campaign.id,
        tenant: campaign.record.tenant.clone(),
        priority: campaign.record.priority,
        form: Form {
            defaults: fields.iter().map(|field| defaults.get(field).cloned()).collect(),
            fields,
            zones: campaign.record.window.is_some(),
            files: !campaign.files.is_empty(),
            line_max: app.config.line_bytes_max,
            shards: app.store.shards(),
        },
        staged: app.staging.upload(campaign.id),
        workspace: app.staging.workspace(campaign.id),
        report: app.staging.report(campaign.id),
        report_lines_max: app.config.refused_report_max,
        memory: app.config.intake_memory_bytes / AT_A_TIME,
    }
}
