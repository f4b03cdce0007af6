//! What is said to servers: over one connection to whoever holds a key, or to all of
//! them at once, one round trip a server. What a server refused unread because another
//! holds the key now is said once more there; what may have been read never is.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Object;
use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::durability::Confirm;
use crate::error::StoreError;
use crate::pool::{Manager, Node};
use crate::scripts;
use crate::topology::Topology;

/// How long one of several servers may keep the answers of the others waiting: with the
/// second between two heartbeats it must stay well under a lease.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A connection to the server that holds a slot. When it answers that another does, the
/// command goes there, and so does all that follows.
pub(crate) struct Conn {
    node: Arc<Node>,
    link: Object<Manager>,
    topology: Arc<Topology>,
    slot: u16,
}

impl Conn {
    pub(crate) async fn open(topology: &Arc<Topology>, key: &str) -> Result<Self, StoreError> {
        let slot = topology.slot(key);
        let mut node = topology.node(slot).await?;
        let link = match node.link().await {
            Ok(link) => link,
            // Nothing was said yet: whoever holds the slot by now may be asked.
            Err(e) if e.is_passing() => {
                topology.refresh().await?;
                let now = topology.node(slot).await?;
                if Arc::ptr_eq(&now, &node) {
                    return Err(e);
                }
                node = now;
                node.link().await?
            }
            Err(e) => return Err(e),
        };
        Ok(Self { node, link, topology: topology.clone(), slot })
    }

    /// Goes to whoever holds the slot now; `false` when that cannot be had.
    async fn follow(&mut self) -> bool {
        match self.go_on().await {
            Ok(()) => true,
            Err(e) => {
                tracing::debug!("the key's new place does not answer: {e}");
                false
            }
        }
    }

    async fn go_on(&mut self) -> Result<(), StoreError> {
        self.topology.refresh().await?;
        let now = self.topology.node(self.slot).await?;
        // The same one again is asked over the connection in hand: whoever holds one and waits
        // for another of the same pool may wait for himself.
        if !Arc::ptr_eq(&now, &self.node) {
            self.link = now.link().await?;
            self.node = now;
        }
        Ok(())
    }
}

/// Whether the server did nothing, because the key is another's.
fn is_elsewhere(code: Option<&str>) -> bool {
    matches!(code, Some("MOVED" | "READONLY"))
}

/// Whether a command of a pipeline was refused unread, and why that can be mended.
fn is_unread(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if is_elsewhere(Some(e.code())) || e.code() == "NOSCRIPT")
}

impl ConnectionLike for Conn {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            match self.link.req_packed_command(cmd).await {
                Err(e) if is_elsewhere(e.code()) && self.follow().await => {
                    self.link.req_packed_command(cmd).await
                }
                answer => answer,
            }
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answer = self.link.req_packed_commands(pipeline, offset, count).await?;
            // Only where none of them was done: half a pipeline here and half there would
            // be confirmed by one server alone.
            let all_unread = !answer.is_empty() && answer.iter().all(is_unread);
            if !all_unread {
                return Ok(answer);
            }
            let forgot =
                answer.iter().any(|v| matches!(v, Value::ServerError(e) if e.code() == "NOSCRIPT"));
            if forgot {
                scripts::load_all(&mut *self.link).await?;
            } else if !self.follow().await {
                return Ok(answer);
            }
            self.link.req_packed_commands(pipeline, offset, count).await
        })
    }

    fn get_db(&self) -> i64 {
        self.link.get_db()
    }
}

/// Commands for many keys, and how to make them: made again when one has to be repeated.
pub(crate) struct Spread<'a> {
    pub(crate) keys: &'a [String],
    pub(crate) command: &'a (dyn Fn(usize) -> Cmd + Sync),
    /// Whether the answer has to wait for the level of durability.
    pub(crate) confirm: Option<&'a Confirm>,
    /// Whether it must not wait for a connection behind other commands.
    pub(crate) apart: bool,
}

impl Spread<'_> {
    /// Says all of them, one round trip a server, each with its own answer. A server that
    /// is away costs only the answers of its own keys.
    pub(crate) async fn send(self, topology: &Topology) -> Vec<Result<Value, StoreError>> {
        let mut answers: Vec<Option<Result<Value, StoreError>>> =
            self.keys.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..self.keys.len()).collect();
        for last_round in [false, true] {
            let groups = self.by_node(topology, &pending, &mut answers).await;
            let alone = groups.len() < 2;
            let told = join_all(groups.iter().map(|(node, group)| self.tell(node, group, alone)));
            let mut again = Vec::new();
            for ((_, group), told) in groups.iter().zip(told.await) {
                for (at, value) in group.iter().zip(each(group.len(), told)) {
                    let unread = matches!(&value, Ok(value) if is_unread(value));
                    if unread && !last_round {
                        again.push(*at);
                    }
                    answers[*at] = Some(value.and_then(|v| Ok(v.extract_error()?)));
                }
            }
            if again.is_empty() {
                break;
            }
            // A map that cannot be had is the servers' to refute.
            let _ = topology.refresh().await;
            again.sort_unstable();
            pending = again;
        }
        let none = || Err(StoreError::Refuses("no server was asked".into()));
        answers.into_iter().map(|a| a.unwrap_or_else(none)).collect()
    }

    async fn by_node(
        &self,
        topology: &Topology,
        pending: &[usize],
        answers: &mut [Option<Result<Value, StoreError>>],
    ) -> Vec<(Arc<Node>, Vec<usize>)> {
        let mut groups: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for at in pending {
            match topology.node(topology.slot(&self.keys[*at])).await {
                Ok(node) => match groups.iter_mut().find(|(n, _)| Arc::ptr_eq(n, &node)) {
                    Some((_, group)) => group.push(*at),
                    None => groups.push((node, vec![*at])),
                },
                Err(e) => answers[*at] = Some(Err(e)),
            }
        }
        groups
    }

    async fn tell(
        &self,
        node: &Node,
        group: &[usize],
        alone: bool,
    ) -> Result<Vec<Value>, StoreError> {
        if alone {
            return self.tell_now(node, group).await;
        }
        let patience = PATIENCE + self.confirm.map_or(Duration::ZERO, Confirm::patience);
        match tokio::time::timeout(patience, self.tell_now(node, group)).await {
            Ok(told) => told,
            Err(_) => {
                node.given_up();
                Err(StoreError::Refuses(format!("{} did not answer in time", node.place)))
            }
        }
    }

    async fn tell_now(&self, node: &Node, group: &[usize]) -> Result<Vec<Value>, StoreError> {
        let mut link = if self.apart { node.link_apart().await? } else { node.link().await? };
        let mut pipe = Pipeline::with_capacity(group.len());
        for at in group {
            pipe.add_command((self.command)(*at));
        }
        let values = link.req_packed_commands(&pipe, 0, group.len()).await?;
        if values.len() != group.len() {
            return Err(StoreError::corrupt("the answers of a pipeline", values.len()));
        }
        let forgot = |v: &Value| matches!(v, Value::ServerError(e) if e.code() == "NOSCRIPT");
        if values.iter().any(forgot) {
            scripts::load_all(&mut *link).await?;
        }
        if let Some(confirm) = self.confirm
            && values.iter().any(|v| !matches!(v, Value::ServerError(_)))
        {
            confirm.wait(&mut *link).await?;
        }
        Ok(values)
    }
}

/// A server's answers, or its one failure for each of them.
fn each(count: usize, told: Result<Vec<Value>, StoreError>) -> Vec<Result<Value, StoreError>> {
    match told {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(e) => (0..count).map(|_| Err(e.again())).collect(),
    }
}
