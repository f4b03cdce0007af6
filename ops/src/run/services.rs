//! Owns the tasks of a process: starts them in one order, stops them in the reverse one,
//! and tells which of them failed first. What a service does is not known here.

use std::time::Duration;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::notify;

/// Services in the order of their start. What others stand on is started first and so
/// stopped last: Redis, ledger, bounces, relay, API.
#[derive(Debug, Default)]
pub struct Services {
    started: Vec<Service>,
    tasks: JoinSet<anyhow::Result<()>>,
}

#[derive(Debug)]
struct Service {
    name: &'static str,
    task: Id,
    stop: CancellationToken,
    grace: Duration,
    running: bool,
}

impl Services {
    /// No service yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a service. When its token is cancelled it ends in its own good order: a
    /// relay stops leasing, finishes what is past DATA and hands back the rest. After
    /// `grace` it is dropped where it stands.
    pub fn start<F, T>(&mut self, name: &'static str, grace: Duration, service: F)
    where
        F: FnOnce(CancellationToken) -> T,
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = self.tasks.spawn(service(stop.clone())).id();
        self.started.push(Service { name, task, stop, grace, running: true });
    }

    /// Runs until `asked` is cancelled or a service ends, then stops all, last started
    /// first.
    ///
    /// # Errors
    /// The first failure. A service that ends unasked has failed, whatever it says.
    pub async fn run(mut self, asked: CancellationToken) -> anyhow::Result<()> {
        let mut first_failure = None;
        tokio::select! {
            () = asked.cancelled() => {}
            Some(ended) = self.tasks.join_next_with_id() => {
                let (name, result) = self.note(ended);
                first_failure = Some(match result {
                    Ok(()) => anyhow!("{name} ended without being asked to"),
                    Err(error) => error.context(format!("{name} failed")),
                });
            }
        }
        if let Some(failure) = &first_failure {
            tracing::error!("{failure:#}; stopping the others");
        }
        notify::stopping();
        for at in (0..self.started.len()).rev() {
            let failure = self.stop(at).await.err();
            first_failure = first_failure.or(failure);
        }
        first_failure.map_or(Ok(()), Err)
    }

    async fn stop(&mut self, at: usize) -> anyhow::Result<()> {
        let Service { name, grace, ref stop, .. } = self.started[at];
        stop.cancel();
        let deadline = tokio::time::Instant::now() + grace;
        let mut first_failure = None;
        while self.started[at].running {
            let Ok(ended) = tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await
            else {
                self.started[at].running = false;
                let late = anyhow!("{name} had not stopped after {} s", grace.as_secs_f64());
                return Err(first_failure.unwrap_or(late));
            };
            let Some(ended) = ended else { break };
            // Another one may end first, for instance because this one has gone.
            let (who, result) = self.note(ended);
            if let Err(error) = result {
                let failure = error.context(format!("{who} failed while stopping"));
                tracing::error!("{failure:#}");
                first_failure.get_or_insert(failure);
            }
        }
        tracing::debug!(service = name, "stopped");
        first_failure.map_or(Ok(()), Err)
    }

    fn note(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, anyhow::Result<()>) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(e) => (e.id(), Err(anyhow!("a defect in the program: {e}"))),
        };
        let service = self.started.iter_mut().find(|service| service.task == task);
        let name = service.map_or("a service", |service| {
            service.running = false;
            service.name
        });
        (name, result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    type Diary = Arc<Mutex<Vec<&'static str>>>;

    fn obedient(services: &mut Services, name: &'static str, diary: &Diary) {
        let diary = Arc::clone(diary);
        services.start(name, GRACE, |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            diary.lock().expect("not poisoned").push(name);
            Ok(())
        });
    }

    #[tokio::test]
    async fn what_was_started_first_stops_last_and_not_before_the_others_are_done() {
        let (mut services, diary) = (Services::new(), Diary::default());
        for name in ["redis", "ledger", "relay"] {
            obedient(&mut services, name, &diary);
        }
        let asked = CancellationToken::new();
        asked.cancel();
        services.run(asked).await.expect("an orderly end");
        assert_eq!(*diary.lock().expect("not poisoned"), ["relay", "ledger", "redis"]);
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_others_and_is_the_one_reported() {
        let (mut services, diary) = (Services::new(), Diary::default());
        obedient(&mut services, "redis", &diary);
        services.start("relay", GRACE, |_| async { Err(anyhow!("no source address")) });
        let error = services.run(CancellationToken::new()).await.expect_err("a failure");
        assert_eq!(format!("{error:#}"), "relay failed: no source address");
        assert_eq!(*diary.lock().expect("not poisoned"), ["redis"]);
    }

    #[tokio::test]
    async fn ending_unasked_and_panicking_are_failures() {
        let mut services = Services::new();
        services.start("ledger", GRACE, |_| async { Ok(()) });
        let error = services.run(CancellationToken::new()).await.expect_err("a failure");
        assert_eq!(error.to_string(), "ledger ended without being asked to");

        let mut services = Services::new();
        services.start("api", GRACE, |_| async { panic!("index out of bounds") });
        let error = services.run(CancellationToken::new()).await.expect_err("a failure");
        assert!(format!("{error:#}").starts_with("api failed: a defect"), "{error:#}");
    }

    #[tokio::test]
    async fn one_that_does_not_stop_is_left_after_its_grace_and_the_rest_still_stop_in_order() {
        let (mut services, diary) = (Services::new(), Diary::default());
        obedient(&mut services, "redis", &diary);
        services.start("relay", Duration::from_millis(100), |_| std::future::pending());
        let asked = CancellationToken::new();
        asked.cancel();
        let error = services.run(asked).await.expect_err("a late one");
        assert_eq!(error.to_string(), "relay had not stopped after 0.1 s");
        assert_eq!(*diary.lock().expect("not poisoned"), ["redis"]);
    }
}
