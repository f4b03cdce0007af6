//! The scripts: the prelude in front of each, their hashes, how they are called.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Script, Value};
use serde::Serialize;

pub(crate) struct QueueScript {
    name: &'static str,
    body: &'static str,
    script: LazyLock<Script>,
}

const PRELUDE: &str = include_str!("lua/prelude.lua");

macro_rules! scripts {
    ($($ident:ident = $file:literal,)*) => {
        $(pub(crate) static $ident: QueueScript = QueueScript {
            name: $file,
            body: include_str!(concat!("lua/", $file, ".lua")),
            script: LazyLock::new(|| Script::new(&format!(
                "{PRELUDE}\n{}", include_str!(concat!("lua/", $file, ".lua"))
            ))),
        };)*

        static ALL: &[&QueueScript] = &[$(&$ident),*];
    };
}

scripts! {
    ENQUEUE = "enqueue",
    CAMPAIGN = "campaign",
    RENEW = "renew",
    LEASE = "lease",
    SETTLE = "settle",
    RECONCILE = "reconcile",
    EXPEDITE = "expedite",
    COUNTERS = "counters",
    AUDIT = "audit",
    ASIDES = "asides",
    RESTORE = "restore",
    SPARSE = "sparse",
    SHRINK = "shrink",
    TRIM = "trim",
    EMIT = "emit",
    RETURNED = "returned",
    SUPPRESS = "suppress",
    PACE_SLICE = "pace_slice",
    PACE_PUT = "pace_put",
    QUOTA = "quota",
    QUOTA_DAY = "quota_day",
    STATUS = "status",
    GATE = "gate",
    HOLD_PUT = "hold_put",
    FILES = "files",
    ARRIVE = "arrive",
    RESUME = "resume",
    HOLD = "hold",
    DUMP = "dump",
    TLS_COUNT = "tls_count",
    TLS_CLAIM = "tls_claim",
    TLS_REPORTED = "tls_reported",
}

/// Teaches the server all scripts, in one round trip: each new connection does, so
/// that a restarted server knows them before the first call.
pub(crate) async fn load_all(conn: &mut impl ConnectionLike) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for script in ALL {
        pipe.cmd("SCRIPT").arg("LOAD").arg(format!("{PRELUDE}\n{}", script.body)).ignore();
    }
    pipe.query_async(conn).await
}

impl QueueScript {
    /// The call as a command; `key` is the shard's `meta`, or the record's own key.
    pub(crate) fn command(&self, key: &str, args: &impl Serialize, blobs: &[&[u8]]) -> Cmd {
        let packed = rmp_serde::to_vec_named(args).expect("arguments are plain values");
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(self.script.get_hash()).arg(1).arg(key).arg(packed);
        for blob in blobs {
            cmd.arg(*blob);
        }
        cmd
    }

    /// Calls it; a server that forgot the scripts (SCRIPT FLUSH) is taught again.
    pub(crate) async fn call(
        &self,
        conn: &mut impl ConnectionLike,
        key: &str,
        args: &impl Serialize,
        blobs: &[&[u8]],
    ) -> Result<Value, RedisError> {
        let cmd = self.command(key, args, blobs);
        match conn.req_packed_command(&cmd).await.and_then(Value::extract_error) {
            Err(e) if e.code() == Some("NOSCRIPT") => {
                tracing::debug!(script = self.name, "redis forgot the scripts; loading them again");
                load_all(conn).await?;
                conn.req_packed_command(&cmd).await.and_then(Value::extract_error)
            }
            answer => answer,
        }
    }
}
