//! The Prometheus page of a process. What is counted is each service's business; what it means is
//! told in the catalogue.

pub(crate) mod catalogue;
pub(crate) mod vitals;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::services::Services;

/// Upper bounds for everything that ends in `_seconds`: from a Redis round trip to a
/// recipient's last retry after days.
const SECONDS_BUCKETS: [f64; 20] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 3_600.0, 21_600.0, 86_400.0,
];

/// Numbers for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the page for Prometheus is served, as address:port, or "off". Each process
    /// on a machine needs a port of its own.
    pub listen: Listen,
}

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(#[schemars(with = "String")] pub Option<SocketAddr>);

impl Default for Listen {
    fn default() -> Self {
        Self(Some(SocketAddr::from(([127, 0, 0, 1], 9464))))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let wrong = |_| "is not address:port, such as 127.0.0.1:9464, nor \"off\"".to_owned();
        text.parse().map(|address| Self(Some(address))).map_err(wrong)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl Config {
    pub(crate) fn warning(&self) -> Option<String> {
        let address = self.listen.0.filter(|address| !address.ip().is_loopback())?;
        Some(format!("`metrics.listen`: {address} shows the page to everyone who can reach it"))
    }
}

/// Serves the metrics of this process as one of its services, the last to stop when it is
/// the first to start. The port is bound when this returns. `process` becomes the label
/// `service` of every metric.
///
/// # Errors
/// The address cannot be bound, or a recorder was installed before.
pub fn serve(
    config: &Config,
    (data_dir, history): (&Path, &Path),
    process: &'static str,
    services: &mut Services,
) -> anyhow::Result<()> {
    let Some(address) = config.listen.0 else { return Ok(()) };
    let (recorder, exporter) = PrometheusBuilder::new()
        .with_http_listener(address)
        .add_global_label("service", process)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::build)
        .with_context(|| {
            format!("`metrics.listen`: cannot serve {address}; choose another port or \"off\"")
        })?;
    metrics::set_global_recorder(recorder)
        .map_err(|_| anyhow::anyhow!("metrics are recorded already in this process"))?;
    catalogue::describe();
    let (data_dir, history) = (data_dir.to_owned(), history.to_owned());
    services.start("vitals", Duration::from_secs(1), |stop| vitals::tell(data_dir, history, stop));
    services.start("metrics", Duration::from_secs(1), |stop| async move {
        match stop.run_until_cancelled(exporter).await {
            Some(Err(e)) => anyhow::bail!("the page at {address} failed: {e:?}"),
            Some(Ok(())) | None => Ok(()),
        }
    });
    Ok(())
}
