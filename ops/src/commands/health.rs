//! `malleposte health`: does the service of this configuration, on this machine, answer?
//! For container engines and load balancers; an image without curl has this instead.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::Global;
use crate::config::Config;

/// What answers later than this is not well. Below the usual time-outs of container engines.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Ask a service that runs here on the same configuration whether it is well
///
/// A relay and a ledger are well when their page of metrics answers; the API when it is
/// ready, which asks Redis; the bounce processor when it greets. Without a name only the
/// page of metrics is asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 well, 1 not.

Examples:
  malleposte health            does any service answer on `metrics.listen`?
  malleposte health api        is the API ready?")]
pub(super) struct Health {
    /// Which service
    service: Option<Service>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Service {
    Up,
    Relay,
    Bounces,
    Api,
    Ledger,
}

impl Health {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let (mut api, mut bounces) = (false, false);
        match self.service {
            Some(Service::Up) => (api, bounces) = (true, true),
            Some(Service::Api) => api = true,
            Some(Service::Bounces) => bounces = true,
            Some(Service::Relay | Service::Ledger) | None => {}
        }
        if api {
            get(config.api.listen, "/readyz").context("the API is not ready")?;
        }
        if bounces {
            greeting(config.bounces.listen).context("the bounce processor does not greet")?;
        }
        metrics_page(&config, api || bounces)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn metrics_page(config: &Config, is_asked_elsewhere: bool) -> anyhow::Result<()> {
    match config.metrics.listen.0 {
        Some(address) => get(address, "/metrics").context("the page of metrics does not answer"),
        None if is_asked_elsewhere => Ok(()),
        None => bail!("`metrics.listen` is \"off\": there is nothing to ask"),
    }
}

pub(super) fn get(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let url = format!("http://{}{path}", reachable(address));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(ANSWERS_WITHIN)).build().into();
    agent.get(&url).call().with_context(|| url)?;
    Ok(())
}

fn greeting(address: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(address);
    let stream = TcpStream::connect_timeout(&address, ANSWERS_WITHIN)
        .with_context(|| address.to_string())?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(|| address.to_string())?;
    if !line.starts_with("220") {
        bail!("{address} greets with {line:?}");
    }
    Ok(())
}

/// What listens on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}
