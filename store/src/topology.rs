//! Which server holds a key: the one there is, the primary that the sentinels name, or
//! the owner of the key's slot. Learned at start, and anew when a server is away, says
//! that a key moved or that it is a replica now. Connections, and what is said over them,
//! are `pool.rs` and `nodes.rs`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::Value;

use crate::arrival::Arrivals;
use crate::error::StoreError;
use crate::pool::{Dial, Node};
use crate::slot::{SLOTS, slot_of};
use crate::url::{Layout, Place};

/// Two callers in trouble need not ask twice.
const REFRESH_PAUSE: Duration = Duration::from_millis(50);
/// A map is asked for again after this long even though nothing failed: a primary that
/// was cut off from its sentinels still answers, and loses what it takes.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// A sentinel or a node that is asked for the map has so long to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Topology {
    layout: Layout,
    dial: Dial,
    /// How sentinels are dialled: they have users and passwords of their own.
    sentinel_dial: Dial,
    map: RwLock<Map>,
    stale: Arc<AtomicBool>,
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    due: RwLock<Instant>,
    arrivals: Arc<Arrivals>,
    /// Whom to ask first: another one each time, so that one with an old map is not
    /// believed for ever.
    turn: AtomicUsize,
}

#[derive(Default)]
struct Map {
    nodes: HashMap<Place, Arc<Node>>,
    /// Ascending and without overlaps; one entry for all slots without a cluster.
    ranges: Vec<(u16, u16, Arc<Node>)>,
    /// Those that would take over.
    replicas: Vec<Place>,
}

/// A map as the servers told it.
struct Told {
    ranges: Vec<(u16, u16, Place)>,
    replicas: Vec<Place>,
}

impl Topology {
    pub(crate) fn new(
        layout: Layout,
        dial: Dial,
        sentinel_dial: Dial,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        Self {
            layout,
            dial,
            sentinel_dial,
            map: RwLock::default(),
            stale: Arc::new(AtomicBool::new(true)),
            refreshed: tokio::sync::Mutex::default(),
            due: RwLock::new(Instant::now()),
            arrivals,
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.layout, Layout::Cluster(_))
    }

    /// The slot of a key; where there is no cluster all keys lie together.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        if self.is_cluster() { slot_of(key) } else { 0 }
    }

    /// The server that holds a slot, by the newest map that could be had.
    pub(crate) async fn node(&self, slot: u16) -> Result<Arc<Node>, StoreError> {
        self.refresh_if_stale().await?;
        self.known(slot).ok_or_else(|| self.nobody(slot))
    }

    /// Every server that is written to.
    pub(crate) async fn primaries(&self) -> Result<Vec<Arc<Node>>, StoreError> {
        self.refresh_if_stale().await?;
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<Arc<Node>> = map.nodes.values().cloned().collect();
        nodes.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(nodes)
    }

    /// Servers that would take over, as the map names them.
    pub(crate) fn replicas(&self) -> Vec<Place> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).replicas.clone()
    }

    /// What was opened so far is not used again: it had no shards to greet.
    pub(crate) fn forget_connections(&self) {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.nodes.values().for_each(|node| node.forget_connections());
    }

    /// How this store's servers are dialled.
    pub(crate) fn dial(&self) -> &Dial {
        &self.dial
    }

    fn known(&self, slot: u16) -> Option<Arc<Node>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let at = map.ranges.partition_point(|(_, to, _)| *to < slot);
        map.ranges.get(at).filter(|(from, ..)| *from <= slot).map(|(.., node)| node.clone())
    }

    fn nobody(&self, slot: u16) -> StoreError {
        match &self.layout {
            Layout::Single(_) => StoreError::Refuses("there is no server".into()),
            Layout::Sentinel { service, .. } => {
                StoreError::Refuses(format!("the sentinels know no primary of {service:?}"))
            }
            Layout::Cluster(_) => {
                StoreError::Refuses(format!("no node of the cluster holds slot {slot}"))
            }
        }
    }

    async fn refresh_if_stale(&self) -> Result<(), StoreError> {
        let due = *self.due.read().unwrap_or_else(PoisonError::into_inner);
        if !self.stale.load(Ordering::Relaxed) && Instant::now() < due {
            return Ok(());
        }
        self.refresh().await
    }

    /// Learns the map anew. An error only where there is none yet: an old one is better
    /// than none, and whoever goes by it hears the truth from the servers.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let mut last = self.refreshed.lock().await;
        if last.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
            return Ok(());
        }
        self.stale.store(false, Ordering::Relaxed);
        let told = match &self.layout {
            Layout::Single(place) => {
                Ok(Told { ranges: vec![(0, SLOTS - 1, place.clone())], replicas: Vec::new() })
            }
            Layout::Sentinel { sentinels, service } => self.ask_sentinels(sentinels, service).await,
            Layout::Cluster(seeds) => self.ask_cluster(seeds).await,
        };
        *last = Some(Instant::now());
        *self.due.write().unwrap_or_else(PoisonError::into_inner) = Instant::now() + REFRESH_EVERY;
        let adopted = told.and_then(|told| self.adopt(told));
        if let Err(e) = adopted {
            self.stale.store(true, Ordering::Relaxed);
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            if map.ranges.is_empty() {
                return Err(e);
            }
            tracing::debug!("the topology could not be learned anew: {e}");
        }
        Ok(())
    }

    fn adopt(&self, told: Told) -> Result<(), StoreError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: HashMap<Place, Arc<Node>> = HashMap::new();
        let mut ranges = Vec::with_capacity(told.ranges.len());
        for (from, to, place) in told.ranges {
            let node = match nodes.get(&place).or_else(|| map.nodes.get(&place)) {
                Some(node) => node.clone(),
                None => {
                    let node = Node::new(
                        place.clone(),
                        &self.dial,
                        self.stale.clone(),
                        self.arrivals.clone(),
                    )?;
                    if !map.nodes.is_empty() {
                        tracing::warn!(server = %place, "redis has another primary now");
                    }
                    Arc::new(node)
                }
            };
            nodes.insert(place, node.clone());
            ranges.push((from, to, node));
        }
        ranges.sort_by_key(|(from, ..)| *from);
        if self.is_cluster() {
            for node in nodes.values() {
                let own = ranges.iter().filter(|(.., n)| Arc::ptr_eq(n, node));
                node.set_slots(own.map(|(from, to, _)| (*from, *to)).collect());
            }
        }
        *map = Map { nodes, ranges, replicas: told.replicas };
        Ok(())
    }

    async fn ask_sentinels(&self, sentinels: &[Place], service: &str) -> Result<Told, StoreError> {
        let mut trouble = None;
        for sentinel in self.in_turn(sentinels) {
            match self.primary_by(sentinel, service).await {
                Ok(told) => return Ok(told),
                Err(e) => {
                    // The next to be asked shall not be the one that failed.
                    self.turn.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%sentinel, "no primary by this sentinel: {e}");
                    trouble = Some(e);
                }
            }
        }
        Err(trouble.unwrap_or_else(|| self.nobody(0)))
    }

    /// The primary that a sentinel names, if it says so itself.
    async fn primary_by(&self, sentinel: &Place, service: &str) -> Result<Told, StoreError> {
        let named: Option<(String, u16)> =
            ask(&self.sentinel_dial, sentinel, &["SENTINEL", "get-master-addr-by-name", service])
                .await?;
        let Some((host, port)) = named else {
            return Err(StoreError::Refuses(format!(
                "sentinel {sentinel} watches no service {service:?}; see `store.url`"
            )));
        };
        let place = Place::Tcp(host, port);
        let role: Vec<Value> = ask(&self.dial, &place, &["ROLE"]).await?;
        match role.first() {
            Some(Value::BulkString(word)) if word == b"master" => {}
            _ => {
                return Err(StoreError::Refuses(format!(
                    "{place}, the primary by sentinel {sentinel}, says that it is none"
                )));
            }
        }
        let replicas = match role.get(2) {
            Some(Value::Array(rows)) => rows.iter().filter_map(replica_place).collect(),
            _ => Vec::new(),
        };
        Ok(Told { ranges: vec![(0, SLOTS - 1, place)], replicas })
    }

    async fn ask_cluster(&self, seeds: &[Place]) -> Result<Told, StoreError> {
        let mut places: Vec<Place> = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            map.nodes.keys().cloned().chain(map.replicas.iter().cloned()).collect()
        };
        places.sort_unstable();
        places.extend(seeds.iter().filter(|s| !places.contains(s)).cloned().collect::<Vec<_>>());
        let mut trouble = None;
        self.turn.fetch_add(1, Ordering::Relaxed);
        for place in self.in_turn(&places) {
            let answer = ask::<Vec<Vec<Value>>>(&self.dial, place, &["CLUSTER", "SLOTS"]).await;
            match answer.and_then(|rows| slots_told(place, &rows)) {
                Ok(told) if !told.ranges.is_empty() => return Ok(told),
                Ok(_) => trouble = Some(StoreError::Refuses(format!("{place} knows no slots yet"))),
                Err(e) => trouble = Some(e),
            }
        }
        Err(trouble.unwrap_or_else(|| self.nobody(0)))
    }

    fn in_turn<'p>(&self, places: &'p [Place]) -> impl Iterator<Item = &'p Place> {
        let first = self.turn.load(Ordering::Relaxed) % places.len().max(1);
        places[first..].iter().chain(&places[..first])
    }
}

/// One question over a connection of its own.
pub(crate) async fn ask<T: redis::FromRedisValue>(
    dial: &Dial,
    place: &Place,
    words: &[&str],
) -> Result<T, StoreError> {
    let mut cmd = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        cmd.arg(*word);
    });
    let answer = async {
        let client = dial.client(place)?;
        let mut conn = client.get_multiplexed_async_connection_with_config(&dial.config()).await?;
        cmd.query_async(&mut conn).await
    };
    match tokio::time::timeout(ASK_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Refuses(format!("{place} did not answer in time"))),
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A row of ROLE: host, port, offset, all as text.
fn replica_place(row: &Value) -> Option<Place> {
    let Value::Array(row) = row else { return None };
    Some(Place::Tcp(text(row.first())?.to_owned(), text(row.get(1))?.parse().ok()?))
}

/// The rows of CLUSTER SLOTS: from, to, the owner, its replicas; each as host, port, id.
fn slots_told(asked: &Place, rows: &[Vec<Value>]) -> Result<Told, StoreError> {
    let odd = || StoreError::corrupt("the answer to CLUSTER SLOTS", format!("{rows:?}"));
    let mut told = Told { ranges: Vec::new(), replicas: Vec::new() };
    for row in rows {
        let [Value::Int(from), Value::Int(to), owner, replicas @ ..] = row.as_slice() else {
            return Err(odd());
        };
        let slot = |n: i64| u16::try_from(n).ok().filter(|s| *s < SLOTS).ok_or_else(odd);
        let owner = member(asked, owner).ok_or_else(odd)?;
        told.ranges.push((slot(*from)?, slot(*to)?, owner));
        told.replicas.extend(replicas.iter().filter_map(|r| member(asked, r)));
    }
    told.replicas.sort_unstable();
    told.replicas.dedup();
    Ok(told)
}

/// A node of CLUSTER SLOTS; without a host it is the one that was asked.
fn member(asked: &Place, node: &Value) -> Option<Place> {
    let Value::Array(parts) = node else { return None };
    let Some(Value::Int(port)) = parts.get(1) else { return None };
    let host = match (text(parts.first()), asked) {
        (Some(host), _) if !host.is_empty() && host != "?" => host.to_owned(),
        (_, Place::Tcp(host, _)) => host.clone(),
        (_, Place::Unix(_)) => return None,
    };
    Some(Place::Tcp(host, u16::try_from(*port).ok()?))
}
