//! Asking the server itself, past the store.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use super::support::Redis;

pub(crate) async fn ask<T: redis::FromRedisValue>(redis: &Redis, command: &redis::Cmd) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut conn).await.unwrap()
}
