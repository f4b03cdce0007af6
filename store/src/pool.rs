//! Connections to one server. One that failed once is not used again: an answer that
//! comes late must never be taken for the answer to the next question. And when one
//! fails, those that were opened before it are not used either: a server that went
//! away took all of them with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, Pool, RecycleError, RecycleResult, Timeouts};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Value};

use crate::arrival::Arrivals;
use crate::error::StoreError;
use crate::scripts;
use crate::url::Place;

/// A server that let a connection attempt time out is not tried again for this long, so
/// that one which swallows packets costs the others one wait and not one a call.
const FUSE: Duration = Duration::from_secs(1);
/// An attempt that failed faster was refused, which costs nothing and needs no fuse.
const REFUSED_WITHIN: Duration = Duration::from_millis(250);

/// How connections of one kind are opened: credentials, TLS, timeouts.
#[derive(Clone)]
pub(crate) struct Dial {
    pub(crate) settings: redis::RedisConnectionInfo,
    pub(crate) tls: Option<redis::TlsCertificates>,
    pub(crate) size: usize,
    pub(crate) answer_timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl Dial {
    pub(crate) fn client(&self, place: &Place) -> Result<Client, RedisError> {
        use redis::{ConnectionAddr, IntoConnectionInfo};
        let addr = match (place, &self.tls) {
            (Place::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
            (Place::Tcp(host, port), None) => ConnectionAddr::Tcp(host.clone(), *port),
            (Place::Tcp(host, port), Some(_)) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        let info = addr.into_connection_info()?.set_redis_settings(self.settings.clone());
        match (&self.tls, place) {
            (Some(tls), Place::Tcp(..)) => Client::build_with_tls(info, tls.clone()),
            _ => Client::open(info),
        }
    }

    pub(crate) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.answer_timeout))
    }
}

/// Connections for what must not wait behind other commands: the renewal of leases, and the
/// next one when the first has just failed.
const APART: usize = 2;

/// A server, and the connections to it.
pub(crate) struct Node {
    pub(crate) place: Place,
    health: Arc<Health>,
    pool: Pool<Manager>,
    apart: Pool<Manager>,
}

/// What the connections to one server know together.
pub(crate) struct Health {
    failures: AtomicU64,
    /// Said when something happened after which the topology may be another.
    stale: Arc<AtomicBool>,
    fuse: Mutex<Option<Instant>>,
    /// The hash slots that it serves; `None`: all.
    pub(crate) slots: RwLock<Option<Vec<(u16, u16)>>>,
}

impl Health {
    pub(crate) fn serves(&self, slot: u16) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.as_ref().is_none_or(|s| s.iter().any(|(from, to)| (*from..=*to).contains(&slot)))
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.stale.store(true, Ordering::Relaxed);
    }

    fn refuse_while_blown(&self) -> Result<(), RedisError> {
        let fuse = *self.fuse.lock().unwrap_or_else(PoisonError::into_inner);
        match fuse {
            Some(until) if Instant::now() < until => Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "it did not answer a moment ago",
            )
            .into()),
            _ => Ok(()),
        }
    }

    fn blow(&self) {
        let mut fuse = self.fuse.lock().unwrap_or_else(PoisonError::into_inner);
        *fuse = Some(Instant::now() + FUSE);
    }
}

pub(crate) struct Manager {
    client: Client,
    config: AsyncConnectionConfig,
    health: Arc<Health>,
    arrivals: Arc<Arrivals>,
}

/// A connection that remembers whether any failed since it was opened.
pub(crate) struct Link {
    inner: MultiplexedConnection,
    health: Arc<Health>,
    /// Failures when it was opened.
    before: u64,
}

impl managed::Manager for Manager {
    type Type = Link;
    type Error = RedisError;

    async fn create(&self) -> Result<Link, RedisError> {
        self.health.refuse_while_blown()?;
        let began = Instant::now();
        let link = self.open().await;
        if let Err(e) = &link {
            self.health.stale.store(true, Ordering::Relaxed);
            if e.is_io_error() && began.elapsed() > REFUSED_WITHIN {
                self.health.blow();
            }
        }
        link
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<RedisError> {
        if link.health.failures.load(Ordering::Relaxed) == link.before {
            Ok(())
        } else {
            Err(RecycleError::message("opened before a failure"))
        }
    }
}

impl Manager {
    async fn open(&self) -> Result<Link, RedisError> {
        let before = self.health.failures.load(Ordering::Relaxed);
        let inner = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut link = Link { inner, health: self.health.clone(), before };
        scripts::load_all(&mut link).await?;
        self.arrivals.arrive(&mut link, &self.health).await?;
        Ok(link)
    }
}

impl Node {
    pub(crate) fn new(
        place: Place,
        dial: &Dial,
        stale: Arc<AtomicBool>,
        arrivals: Arc<Arrivals>,
    ) -> Result<Self, StoreError> {
        let health = Arc::new(Health {
            failures: AtomicU64::new(0),
            stale,
            fuse: Mutex::new(None),
            slots: RwLock::new(None),
        });
        let client = dial.client(&place)?;
        let pool = |size: usize| {
            // Opening has limits of its own, which the manager must live to see.
            let timeouts =
                Timeouts { wait: Some(dial.answer_timeout), create: None, recycle: None };
            Pool::builder(Manager {
                client: client.clone(),
                config: dial.config(),
                health: health.clone(),
                arrivals: arrivals.clone(),
            })
            .max_size(size)
            .runtime(deadpool::Runtime::Tokio1)
            .timeouts(timeouts)
            .build()
            .map_err(|e| StoreError::Setting(format!("store.connections: {e}")))
        };
        let (pool, apart) = (pool(dial.size)?, pool(APART)?);
        Ok(Self { place, health, pool, apart })
    }

    pub(crate) async fn link(&self) -> Result<Object<Manager>, StoreError> {
        self.pool.get().await.map_err(StoreError::from_pool)
    }

    /// One for what must not wait until another command gives its own back.
    pub(crate) async fn link_apart(&self) -> Result<Object<Manager>, StoreError> {
        self.apart.get().await.map_err(StoreError::from_pool)
    }

    pub(crate) fn set_slots(&self, slots: Vec<(u16, u16)>) {
        *self.health.slots.write().unwrap_or_else(PoisonError::into_inner) = Some(slots);
    }

    pub(crate) fn forget_connections(&self) {
        self.health.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A question to it was given up: what is open to it is not used again.
    pub(crate) fn given_up(&self) {
        self.health.failed();
        self.health.blow();
    }
}

/// Whether an error is the connection's, or says that the server is not what it was.
fn is_failure(e: &RedisError) -> bool {
    e.is_io_error()
        || e.is_timeout()
        || e.is_connection_dropped()
        || e.is_unrecoverable_error()
        || e.code() == Some("READONLY")
}

/// Whether a server's word means that the map of slots is old.
fn is_map_old(code: Option<&str>) -> bool {
    matches!(code, Some("MOVED" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN"))
}

impl Link {
    fn note<T>(health: &Health, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        match &answer {
            Err(e) if is_failure(e) => health.failed(),
            Err(e) if is_map_old(e.code()) => {
                health.stale.store(true, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => {}
        }
        answer
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.inner.req_packed_command(cmd).await.and_then(Value::extract_error);
            Self::note(&self.health, answer)
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
            if let Ok(values) = &answer {
                let moved =
                    |v: &Value| matches!(v, Value::ServerError(e) if is_map_old(Some(e.code())));
                if values.iter().any(moved) {
                    // A replica since: what else is open to it is of no use either.
                    self.health.failed();
                }
            }
            Self::note(&self.health, answer)
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}
