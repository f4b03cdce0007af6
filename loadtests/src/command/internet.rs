//! `loadtests internet`: the pretend internet by hand, with a summary to look at.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::book::{Book, Live};
use crate::internet::{Internet, Listen};
use crate::scenario::Scenario;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A scenario file, or the name of one that comes along: demo, chaos, strict, throughput.
    #[arg(long, default_value = "demo")]
    scenario: PathBuf,
    /// Where the DNS server listens (the mail servers' addresses are the scenario's).
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// The DNS server's port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    dns_port: u16,
    /// The port of all mail servers; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    smtp_port: u16,
    /// Where reports, complaints and absence notices are sent: the bounce processor's
    /// address and port. Without it they wait.
    #[arg(long, value_name = "ADDRESS:PORT")]
    returns_to: Option<SocketAddr>,
    /// A TXT record to add to the DNS, such as a DKIM key; may be repeated.
    #[arg(long, value_name = "NAME=TEXT", value_parser = pair)]
    txt: Vec<(String, String)>,
    /// An MX record to add; may be repeated.
    #[arg(long, value_name = "DOMAIN=HOST", value_parser = pair)]
    mx: Vec<(String, String)>,
    /// An address record to add; may be repeated.
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = host)]
    a: Vec<(String, Ipv4Addr)>,
    /// Ends after this time instead of at Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Prints two lines of JSON: where it listens, and at the end the summary.
    #[arg(long)]
    json: bool,
}

/// How often the summary is printed.
const EVERY: Duration = Duration::from_secs(2);

/// Runs it.
///
/// # Errors
/// When the scenario is wrong or an address cannot be bound.
pub async fn run(arguments: Arguments) -> Result<()> {
    anyhow::ensure!(arguments.listen.is_loopback(), "{} is not loopback", arguments.listen);
    let scenario = load(&arguments.scenario)?;
    let listen = Listen {
        dns: SocketAddr::new(arguments.listen, arguments.dns_port),
        smtp_port: arguments.smtp_port,
    };
    let internet = Internet::start(scenario, listen).await?;
    furnish(&internet, &arguments);
    announce(&internet, arguments.json);
    watch(&internet.book(), arguments.seconds, arguments.json).await;
    let book = internet.book();
    internet.stop().await;
    if arguments.json {
        println!("{}", serde_json::to_string(&book.summary())?);
    } else {
        println!("{}", serde_json::to_string_pretty(&book.summary())?);
    }
    Ok(())
}

/// `NAME=VALUE`, cut at the first `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has no =, write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn host(text: &str) -> Result<(String, Ipv4Addr), String> {
    let (name, value) = pair(text)?;
    let address = value.parse().map_err(|_| format!("{value:?} is not an IPv4 address"))?;
    Ok((name, address))
}

fn furnish(internet: &Internet, arguments: &Arguments) {
    let zone = internet.zone();
    arguments.txt.iter().for_each(|(name, text)| zone.add_txt(name, text));
    arguments.mx.iter().for_each(|(domain, host)| zone.add_mx(domain, 10, host));
    arguments.a.iter().for_each(|(host, address)| zone.add_a(host, *address));
    if let Some(bounce_processor) = arguments.returns_to {
        internet.send_returns_to(bounce_processor);
    }
}

fn load(scenario: &Path) -> Result<Scenario> {
    match scenario.to_str() {
        Some(name) if scenario.extension().is_none() => Scenario::named(name),
        _ => Scenario::load(scenario),
    }
}

fn announce(internet: &Internet, json: bool) {
    let (dns, smtp) = (internet.dns_address(), internet.smtp_port());
    let providers = internet.providers();
    if json {
        let providers: BTreeMap<_, _> = providers.into_iter().collect();
        let line = serde_json::json!({ "dns": dns, "smtp_port": smtp, "providers": providers });
        println!("{line}");
        return;
    }
    println!("DNS on {dns} (UDP and TCP), mail servers on port {smtp}; Ctrl-C ends");
    for (name, address) in providers {
        println!("  {name:<18} {address}");
    }
}

async fn watch(book: &Book, seconds: Option<u64>, json: bool) {
    let show = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            if !json {
                print!("{}", table(book));
            }
        }
    };
    tokio::select! {
        () = end(seconds) => {}
        () = show => {}
    }
}

/// Ends after the time, at Ctrl-C, or when told to terminate.
async fn end(seconds: Option<u64>) {
    let time = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let told = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => {}
        () = told => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn table(book: &Book) -> String {
    let head = "provider           delivered   deferred    bounced  open  dot";
    let row = |(name, live): (String, Live)| {
        let Live { delivered, deferred, bounced, open, awaiting_reply, .. } = live;
        format!(
            "{name:<18} {delivered:>9} {deferred:>10} {bounced:>10} {open:>5} {awaiting_reply:>4}"
        )
    };
    let rows = book.live().into_iter().map(row).collect::<Vec<_>>().join("\n");
    format!("{head}\n{rows}\n\n")
}
