//! Operators' orders: one small hash, read whole by every relay each second. An order
//! and the event that tells of it are written one after the other; a crash between the
//! two leaves an order that holds and is listed, and repeating the command tells it again.
//!
//! What fixes a pace lies in a hash of its own: a relay that does not read an order leases nothing,
//! and one from before there were fixes shall go on without them.

use std::collections::HashMap;

use mail::event::EventKind;
use mail::orders::{ORDERS_MAX, Order, Orders, Scope, Verb};
use mail::throttle::Fixed;
use mail::{Event, ShardId, Timestamp};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;

/// An order to be given.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub scope: Scope,
    /// The pool of a reroute.
    pub pool: String,
    /// What a fix fixes.
    pub fixed: Fixed,
    /// The one source that a fix is about; empty: all of them.
    pub source: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// It ends by itself then.
    pub until: Option<Timestamp>,
}

impl NewOrder {
    /// An order that lasts until it is undone.
    #[must_use]
    pub fn new(verb: Verb, scope: Scope, by: String, reason: String) -> Self {
        let (pool, fixed, source) = (String::new(), Fixed::default(), String::new());
        Self { verb, scope, pool, fixed, source, reason, by, until: None }
    }
}

fn hash_of(verb: Verb) -> &'static str {
    match verb {
        Verb::Fix => "fixes",
        Verb::Suspend | Verb::Bounce | Verb::Reroute | Verb::Retry | Verb::Drain => "orders",
    }
}

impl Store {
    /// The orders that hold, as relays weigh recipients against them.
    ///
    /// # Errors
    /// When Redis does not answer or an order does not read: an order that is not
    /// understood must not be passed over.
    pub async fn orders(&self, now: Timestamp) -> Result<Orders, StoreError> {
        Ok(Orders::new(self.every_order().await?, now))
    }

    /// Those whose time is over, too.
    async fn every_order(&self) -> Result<Vec<Order>, StoreError> {
        let mut all = Vec::new();
        for (id, packed) in self.packed_orders("orders").await? {
            all.push(unpack(VERSION, &format!("order {id}"), &packed)?);
        }
        for (id, packed) in self.packed_orders("fixes").await? {
            // A fix of a newer program is passed over: without it the pace is found as ever.
            match unpack(VERSION, &format!("order {id}"), &packed) {
                Ok(fix) => all.push(fix),
                Err(error) => tracing::debug!(%error, "a fix does not read"),
            }
        }
        Ok(all)
    }

    async fn packed_orders(&self, name: &str) -> Result<HashMap<u64, Vec<u8>>, StoreError> {
        let key = self.key(name);
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?)
    }

    /// Gives an order, tells of it, and answers it. Orders whose time is over make room.
    ///
    /// # Errors
    /// When Redis does not answer, or too many orders hold already.
    pub async fn give_order(&self, new: NewOrder, now: Timestamp) -> Result<Order, StoreError> {
        let every = self.every_order().await?;
        let ended: Vec<u64> = (every.iter())
            .filter(|order| order.until.is_some_and(|until| until <= now))
            .map(|order| order.id)
            .collect();
        if every.len() - ended.len() >= ORDERS_MAX {
            return Err(StoreError::Setting(format!(
                "{ORDERS_MAX} orders hold already: undo some, `malleposte queue orders` lists them"
            )));
        }
        let id = self.order_number().await?;
        let NewOrder { verb, scope, pool, fixed, source, reason, by, until } = new;
        let order = Order { id, verb, scope, pool, fixed, source, reason, by, at: now, until };
        let key = self.key(hash_of(verb));
        let mut conn = self.conn_for(&key).await?;
        let mut pipe = redis::pipe();
        pipe.cmd("HSET").arg(&key).arg(id).arg(pack(VERSION, &order)).ignore();
        for id in ended {
            // Those that lie in the other hash are dropped with the next of their kind.
            pipe.cmd("HDEL").arg(&key).arg(id).ignore();
        }
        let _: () = pipe.query_async(&mut conn).await?;
        // Given means kept: an order that a failover forgets would be no order.
        self.confirm(&mut conn).await?;
        drop(conn);
        self.tell_order(
            &order,
            &format!("order {id}: {order} by {}: {}", order.by, order.reason),
            now,
        )
        .await?;
        Ok(order)
    }

    /// A number that no order and no hold has.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn order_number(&self) -> Result<u64, StoreError> {
        let counter = self.key("order-seq");
        let mut conn = self.conn_for(&counter).await?;
        Ok(redis::cmd("INCR").arg(&counter).query_async(&mut conn).await?)
    }

    /// Ends an order and tells of it; `None` when it does not hold (any more).
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn undo_order(
        &self,
        id: u64,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Order>, StoreError> {
        let held = self.orders(now).await?;
        let Some(order) = held.all().iter().find(|order| order.id == id) else { return Ok(None) };
        let key = self.key(hash_of(order.verb));
        let mut conn = self.conn_for(&key).await?;
        let removed: u64 = redis::cmd("HDEL").arg(&key).arg(id).query_async(&mut conn).await?;
        self.confirm(&mut conn).await?;
        drop(conn);
        if removed == 0 {
            return Ok(None);
        }
        let note = format!("order {id} undone: {order} by {by}: {reason}");
        self.tell_order(order, &note, now).await?;
        Ok(Some(order.clone()))
    }

    /// Tells what an operator did that is no lasting order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tell_ordered(&self, event: Event) -> Result<(), StoreError> {
        let shard = event.campaign.map_or(0, |id| id.0 % u64::from(self.shards()));
        self.emit(ShardId(shard as u16), &[event]).await
    }

    async fn tell_order(
        &self,
        order: &Order,
        note: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        use mail::orders::ScopeKind as K;
        let mut event = Event { note: note.to_owned(), ..Event::new(EventKind::Ordered, now) };
        match order.scope.kind {
            K::Campaign => event.campaign = order.scope.name.parse().ok(),
            K::Site => {
                event.site.clone_from(&order.scope.name);
                event.source.clone_from(&order.source);
            }
            K::Source => event.source.clone_from(&order.scope.name),
            K::Relay => event.service.clone_from(&order.scope.name),
            K::All | K::Tenant | K::Domain => {}
        }
        self.tell_ordered(event).await
    }
}
