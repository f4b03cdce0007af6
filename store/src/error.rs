//! What can go wrong with the store. A queue that says no is not an error.

/// Our own trouble with Redis or with what lies in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer, or no connection.
    #[error("redis does not answer")]
    Unavailable(#[source] redis::RedisError),
    /// It answered that it cannot: full, read-only, loading.
    #[error("redis refuses: {0}")]
    Refuses(String),
    /// All connections are busy for longer than the timeout.
    #[error("no redis connection became free in time; raise `store.connections`")]
    Busy,
    /// The configuration's address cannot be used.
    #[error("store.url {url:?} is not a redis address: {why}")]
    BadUrl {
        /// The address, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// This Redis must not be used as a queue.
    #[error("redis is unfit as a queue: {0}")]
    Unfit(String),
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// Done, but too few replicas say that they have it.
    #[error("not confirmed: {got} of {wanted} replicas answered; repeat with the same key")]
    Unconfirmed {
        /// Replicas that should have it.
        wanted: u64,
        /// Replicas that said so in time.
        got: u64,
    },
    /// A record does not read.
    #[error("{what} cannot be read: {why}")]
    Corrupt {
        /// Which record.
        what: String,
        /// Why not.
        why: String,
    },
    /// A record of a program newer than this one.
    #[error("{what} is of version {version}, newer than this program: upgrade it")]
    Newer {
        /// Which record.
        what: String,
        /// Its version.
        version: u8,
    },
    /// A sealed secret does not open with the platform keys at hand.
    #[error("{0} is sealed with a platform key that is not configured here")]
    Sealed(String),
}

impl StoreError {
    pub(crate) fn corrupt(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), why: why.to_string() }
    }

    /// The same error once more, for another command of the same pipeline.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Unavailable(e) => Self::Unavailable(e.clone()),
            Self::Busy => Self::Busy,
            Self::Unconfirmed { wanted, got } => Self::Unconfirmed { wanted: *wanted, got: *got },
            other => Self::Refuses(other.to_string()),
        }
    }

    pub(crate) fn from_pool(error: deadpool::managed::PoolError<redis::RedisError>) -> Self {
        match error {
            deadpool::managed::PoolError::Backend(e) => e.into(),
            _ => Self::Busy,
        }
    }

    /// Whether waiting and trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Refuses(_) | Self::Busy | Self::Unconfirmed { .. } => true,
            Self::BadUrl { .. }
            | Self::Unfit(_)
            | Self::Setting(_)
            | Self::Corrupt { .. }
            | Self::Newer { .. }
            | Self::Sealed(_) => false,
        }
    }
}

impl From<redis::RedisError> for StoreError {
    fn from(error: redis::RedisError) -> Self {
        const REFUSALS: [&str; 12] = [
            "OOM",
            "MISCONF",
            "READONLY",
            "LOADING",
            "NOREPLICAS",
            "BUSY",
            "MOVED",
            "ASK",
            "TRYAGAIN",
            "CLUSTERDOWN",
            "MASTERDOWN",
            "NOPERM",
        ];
        // A pipeline's error holds those of its commands: only its text names them.
        let text = error.to_string();
        // The library spells some of them its own way there.
        const SPELT: [&str; 7] =
            ["BusyLoading", "ReadOnly", "ClusterDown", "MasterDown", "TryAgain", "Moved", "NoPerm"];
        let refuses = |word: &str| text.split(|c: char| !c.is_ascii_uppercase()).any(|w| w == word);
        let is_refused =
            REFUSALS.into_iter().any(refuses) || SPELT.into_iter().any(|word| text.contains(word));
        if !error.is_io_error() && is_refused {
            Self::Refuses(text)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// An error and everything that caused it, on one line; what the text ends with is not said again.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
