//! SIGTERM and Ctrl-C: the first one asks for an orderly end, the second one ends now.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// What a shell reports for a process ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

/// Listens for as long as it lives.
#[derive(Debug)]
pub struct Signals {
    asked: CancellationToken,
    _listener: AbortOnDropHandle<()>,
}

impl Signals {
    /// From here on SIGTERM and SIGINT no longer end the process by themselves.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = CancellationToken::new();
        let token = asked.clone();
        let listener = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if token.is_cancelled() {
                    tracing::warn!("second signal: leaving at once; leases run out by themselves");
                    std::process::exit(EXIT_INTERRUPTED);
                }
                tracing::info!("stopping; a second signal ends at once");
                token.cancel();
            }
        });
        Ok(Self { asked, _listener: AbortOnDropHandle::new(listener) })
    }

    /// Cancelled by the first signal.
    #[must_use]
    pub fn asked(&self) -> CancellationToken {
        self.asked.clone()
    }
}
