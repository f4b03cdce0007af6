//! The life of a command that serves: logs, signals, metrics, its services, and the way
//! out. What the services are is the command's business.

use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::services::Services;
use super::signals::Signals;
use super::{logging, metrics, notify};
use crate::config::Config;

/// Work on blocking threads (SQLite, files) that is not done by then is left behind.
pub const BLOCKING_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// What a command starts its services with.
#[derive(Debug)]
pub struct Frame {
    /// The settings, checked.
    pub config: Config,
    /// To be started in order: what others stand on first.
    pub services: Services,
    /// Cancelled when the process is asked to end.
    pub asked: CancellationToken,
}

/// Runs the services that `start` starts until a signal comes or one of them fails. A
/// signal or an error while starting stops those that run already, in order.
///
/// # Errors
/// `start`'s error, or the first failure of a service.
pub fn serve(
    config: Config,
    process: &'static str,
    start: impl AsyncFnOnce(&mut Frame) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    logging::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let asked = signals.asked();
        let mut frame = Frame { config, services: Services::new(), asked: asked.clone() };
        let data_dir = frame.config.data_dir.clone();
        metrics::serve(
            &frame.config.metrics,
            (&data_dir, &frame.config.ledger.folder),
            process,
            &mut frame.services,
        )?;
        let _fed = notify::watchdog();
        let started = asked.run_until_cancelled(start(&mut frame)).await.unwrap_or(Ok(()));
        if started.is_err() {
            asked.cancel();
        } else {
            notify::ready();
        }
        let ended = frame.services.run(asked).await;
        started.and(ended)
    });
    runtime.shutdown_timeout(BLOCKING_ENDS_WITHIN);
    result.map(|()| ExitCode::SUCCESS)
}
