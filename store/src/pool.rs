//! Connections to Redis. One that failed once is not used again: an answer that
//! comes late must never be taken for the answer to the next question. And when one
//! fails, those that were opened before it are not used either: a server that went
//! away took all of them with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Pool, RecycleError, RecycleResult, Timeouts};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, RedisError, RedisFuture,
    Value,
};

use crate::config::Config;
use crate::error::StoreError;
use crate::scripts;

pub(crate) struct Manager {
    client: Client,
    config: AsyncConnectionConfig,
    failures: Arc<AtomicU64>,
}

/// A connection that remembers whether any failed since it was opened.
pub(crate) struct Conn {
    inner: MultiplexedConnection,
    failures: Arc<AtomicU64>,
    /// Failures when it was opened.
    before: u64,
}

impl managed::Manager for Manager {
    type Type = Conn;
    type Error = RedisError;

    async fn create(&self) -> Result<Conn, RedisError> {
        let before = self.failures.load(Ordering::Relaxed);
        let inner = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut conn = Conn { inner, failures: self.failures.clone(), before };
        scripts::load_all(&mut conn).await?;
        Ok(conn)
    }

    async fn recycle(&self, conn: &mut Conn, _: &Metrics) -> RecycleResult<RedisError> {
        if conn.failures.load(Ordering::Relaxed) == conn.before {
            Ok(())
        } else {
            Err(RecycleError::message("opened before a failure"))
        }
    }
}

impl Conn {
    fn note<T>(failures: &AtomicU64, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        if answer.as_ref().is_err_and(is_failure) {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

/// Whether an error is the connection's, not the command's.
fn is_failure(e: &RedisError) -> bool {
    e.is_io_error()
        || e.is_timeout()
        || e.is_connection_dropped()
        || e.is_unrecoverable_error()
        || e.code() == Some("READONLY")
}

impl ConnectionLike for Conn {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.inner.req_packed_command(cmd).await;
            Self::note(&self.failures, answer)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answer = self.inner.req_packed_commands(pipeline, offset, count).await;
            Self::note(&self.failures, answer)
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

pub(crate) fn build(config: &Config) -> Result<Pool<Manager>, StoreError> {
    let bad = |why: &dyn std::fmt::Display| StoreError::BadUrl {
        url: without_password(&config.url),
        why: why.to_string(),
    };
    let mut info = config.url.as_str().into_connection_info().map_err(|e| bad(&e))?;
    let mut settings = info.redis_settings().clone();
    if !config.username.is_empty() {
        settings = settings.set_username(&config.username);
    }
    if let Some(password) = password(config)? {
        settings = settings.set_password(password);
    }
    info = info.set_redis_settings(settings);
    let client = Client::open(info).map_err(|e| bad(&e))?;
    let timeout = Duration::from_millis(config.answer_timeout_ms);
    let conn_config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(timeout));
    Pool::builder(Manager { client, config: conn_config, failures: Arc::default() })
        .max_size(config.connections)
        .runtime(deadpool::Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(timeout), create: Some(timeout), recycle: None })
        .build()
        .map_err(|e| StoreError::Setting(format!("store.connections: {e}")))
}

fn password(config: &Config) -> Result<Option<String>, StoreError> {
    if !config.password.is_empty() {
        return Ok(Some(config.password.clone()));
    }
    if config.password_file.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&config.password_file).map_err(|e| {
        StoreError::Setting(format!("store.password_file {:?}: {e}", config.password_file))
    })?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}
