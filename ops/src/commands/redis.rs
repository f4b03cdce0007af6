//! `malleposte redis`: the private Redis of a data folder and nothing else, to look at
//! its queues or mend them while no service runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Global, runtime};
use crate::redis_child::RedisChild;
use crate::run::services::Services;
use crate::run::signals::Signals;
use crate::run::{logging, metrics};

/// Longer than the child's own patience, so that it is the one who tells.
const REDIS_GRACE: Duration = Duration::from_secs(15);

/// Run only the private Redis of the data folder, until a signal
///
/// Prints its URL when it is ready.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Redis {}

impl Redis {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        logging::init(&config.log)?;
        runtime()?.block_on(async {
            let signals = Signals::listen()?;
            let page = metrics::start(&config.metrics, "redis")?;
            let redis = tokio::select! {
                started = RedisChild::start(&config.redis, &config.data_dir) => started?,
                () = signals.wait() => return Ok(ExitCode::SUCCESS),
            };
            println!("{}", redis.url());
            let mut services = Services::new();
            services.start("redis", REDIS_GRACE, |stop| redis.supervise(stop));
            if let Some(page) = page {
                services.start("metrics", Duration::ZERO, |stop| async move {
                    stop.run_until_cancelled(page).await.unwrap_or(Ok(()))
                });
            }
            services.run(signals.asked()).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
