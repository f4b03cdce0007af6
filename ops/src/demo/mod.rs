//! The demo: a real campaign through the whole spine on this machine, against the
//! pretend internet, with one relay killed on the way, and both books compared at the
//! end. Nothing in it is special to the demo but the internet.

mod kill;
mod platform;
mod summary;
mod watch;

use std::time::{Duration, Instant};

use anyhow::bail;
use loadtests::client::Client;
use loadtests::{Audit, Generator, Scenario};
use mail::CampaignId;

pub use platform::{OPERATOR, Platform, RelayProcess, SENDER, Stage};
pub use summary::Summary;

use kill::Kill;
use watch::Watch;

/// What the demo is asked to do.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Recipients of the campaign.
    pub recipients: u64,
    /// The seed of recipients.
    pub seed: u64,
    /// Whether to draw progress for a person.
    pub is_watched: bool,
    /// The program to run relays with: this one.
    pub program: std::path::PathBuf,
    /// Whether to stay after the end until Ctrl-C, for whoever looks at the console.
    pub stays: bool,
    /// Where everything is kept; a temporary folder when it is not given.
    pub data_dir: Option<std::path::PathBuf>,
}

/// Octets of a message.
const MESSAGE_OCTETS: usize = 10_000;
/// The relay is killed when this part of the campaign is done.
const KILL_AT: f64 = 0.3;
/// A demo that takes longer has gone wrong: fixed part, and part per recipient.
const PATIENCE: Duration = Duration::from_secs(240);
const PATIENCE_PER_RECIPIENT: Duration = Duration::from_millis(15);
/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);
/// After the last recipient, returned mail has this long to come in.
const RETURNS_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo to its end.
///
/// # Errors
/// When it cannot be set up, or does not come to an end.
pub async fn run(wish: &Wish) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let mut platform = Platform::start(Stage {
        program: wish.program.clone(),
        data_dir: wish.data_dir.clone(),
        scenario: Scenario::named("demo")?,
        adjust: |_| {},
    })
    .await?;
    let told = tell(wish, &mut platform, began).await;
    if wish.stays && told.is_ok() {
        eprintln!("it stays until Ctrl-C; {}", platform.invitation());
        tokio::signal::ctrl_c().await?;
    }
    let ended = platform.stop().await;
    let summary = told?;
    ended?;
    Ok(summary)
}

async fn tell(wish: &Wish, platform: &mut Platform, began: Instant) -> anyhow::Result<Summary> {
    let recipients = Generator::new(wish.seed, wish.recipients);
    let campaign = submit(platform, &recipients).await?;
    let mut watch = Watch::new(wish, platform, campaign);
    watch.say(&platform.invitation());
    let deadline = began + PATIENCE + PATIENCE_PER_RECIPIENT * wish.recipients as u32;
    let mut kill: Option<Kill> = None;
    loop {
        let counters = platform.store.campaign_counters(campaign).await?;
        let done = 1.0 - counters.waiting as f64 / counters.accepted.max(1) as f64;
        if kill.is_none() && done >= KILL_AT {
            kill = Some(Kill::at_the_worst_moment(platform, &mut watch).await?);
        }
        watch.look(platform, &counters).await?;
        if counters.waiting == 0 {
            break;
        }
        platform.is_well()?;
        if Instant::now() > deadline {
            bail!("the campaign does not come to its end: {} still wait", counters.waiting);
        }
        tokio::time::sleep(LOOK).await;
    }
    await_returns(platform).await;
    watch.end();
    let audit = Audit::make(platform.books(), &[(campaign, recipients)]).await?;
    Summary::new(platform, campaign, &audit, kill.as_ref(), began.elapsed()).await
}

/// Submits a campaign over HTTP, as any customer would, and starts it.
///
/// # Errors
/// What the API refused.
pub async fn submit(platform: &Platform, recipients: &Generator) -> anyhow::Result<CampaignId> {
    let client = Client::new(platform.api_url(), platform.api_key.clone());
    Ok(client.submit(SENDER, recipients, MESSAGE_OCTETS).await?.parse()?)
}

/// Waits until reports, complaints and out-of-office replies, which come a little later,
/// are in.
pub async fn await_returns(platform: &Platform) {
    let start = Instant::now();
    while platform.internet.returns_waiting() > 0 && start.elapsed() < RETURNS_PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
}
