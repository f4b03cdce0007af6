//! The same messages through Postfix, to the same sink, on the same machine and disk: Postfix
//! takes over SMTP what our relay has just delivered, octet by octet, and relays it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::throughput::{Run, Wish, throughput_keeping};
use crate::internet::{Internet, Kept, Listen};
use crate::postfix::Postfix;
use crate::program::{Program, free_port};
use crate::scenario::Scenario;

/// Postfix has gone wrong when it is slower than this many messages a second.
const RATE_MIN: f64 = 20.0;
const LOOK: Duration = Duration::from_millis(20);

/// What each cost.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Processor time that Postfix's processes took for a message, from its submission over SMTP
    /// to the sink's answer, in microseconds.
    pub postfix_cpu_us: f64,
    /// Ours: relay, Redis, ledger and API, from the upload to the place in history.
    pub ours_cpu_us: f64,
    /// How many times ours Postfix's is.
    pub ratio: f64,
    /// Postfix's side.
    pub postfix: Other,
    /// Our side.
    pub ours: Run,
}

/// What came of another relay.
#[derive(Debug, Clone, Serialize)]
pub struct Other {
    /// Messages delivered.
    pub messages: u64,
    /// Octets of a message, on average.
    pub wire_bytes: u64,
    /// From the first command to the last delivery, in seconds.
    pub seconds: f64,
    /// Messages a second in that time.
    pub messages_per_s: f64,
    /// When it says that it has a message.
    pub durability: &'static str,
}

/// Measures ours, then Postfix with the first so many of the same messages.
///
/// # Errors
/// When Postfix is not installed, this is not root, or either does not deliver each message once.
pub async fn compare(program: &Program, wish: &Wish, others: usize) -> Result<Comparison> {
    ensure!(Postfix::is_installed(), "postfix is not installed: apt-get install postfix");
    let (ours, kept) = throughput_keeping(program, wish, others).await?;
    ensure!(kept.len() == others, "{} of {others} messages were kept", kept.len());
    let (postfix, cpu) = postfix(program, kept, wish.connections).await?;
    let postfix_cpu_us = round(cpu.as_secs_f64() * 1e6 / postfix.messages as f64);
    let ours_cpu_us = ours.cpu_us.total;
    let ratio = round(postfix_cpu_us / ours_cpu_us);
    Ok(Comparison { postfix_cpu_us, ours_cpu_us, ratio, postfix, ours })
}

fn round(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

async fn postfix(
    program: &Program,
    messages: Vec<Kept>,
    connections: u32,
) -> Result<(Other, Duration)> {
    let internet = Internet::start(Scenario::named("throughput")?, Listen::default()).await?;
    let (_, sink) = internet.providers().into_iter().next().context("no sink")?;
    let folder = program.folder_for("mp-postfix-")?;
    let at = free_port(Ipv4Addr::LOCALHOST)?;
    let postfix = Postfix::start(folder, at, &settings(sink, connections)).await?;
    let count = messages.len() as u64;
    let octets: usize = messages.iter().map(|m| m.wire.len()).sum();
    let before = postfix.cpu()?;
    let began = Instant::now();
    submit(at, Arc::new(messages), connections).await?;
    let seconds = await_all(&internet, count, began).await?;
    let cpu = postfix.cpu()?.saturating_sub(before);
    let book = internet.book().summary();
    ensure!(
        book.delivered == count && book.duplicates == 0,
        "postfix delivered {} of {count}, {} of them twice",
        book.delivered,
        book.duplicates
    );
    postfix.stop().await?;
    internet.stop().await;
    let other = Other {
        messages: count,
        wire_bytes: octets as u64 / count.max(1),
        seconds,
        messages_per_s: (count as f64 / seconds).round(),
        durability: "fsync of the queue file before the answer",
    };
    Ok((other, cpu))
}

/// As its users set it for bulk mail: as many connections as ours to the one destination, from
/// the beginning, used again, and nobody held up at the door.
fn settings(sink: SocketAddr, connections: u32) -> String {
    format!(
        "relayhost = [{}]:{}\n\
         smtp_tls_security_level = none\n\
         smtp_host_lookup = native\n\
         smtp_connection_cache_destinations = [{}]:{}\n\
         initial_destination_concurrency = {connections}\n\
         smtp_initial_destination_concurrency = {connections}\n\
         smtp_destination_concurrency_limit = {connections}\n\
         default_process_limit = {}\n\
         in_flow_delay = 0\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_tls_security_level = none",
        sink.ip(),
        sink.port(),
        sink.ip(),
        sink.port(),
        connections * 2 + 20,
    )
}

/// Hands them over, spread over as many connections.
async fn submit(at: SocketAddr, messages: Arc<Vec<Kept>>, connections: u32) -> Result<()> {
    let connections = connections.max(1) as usize;
    let mut clients = JoinSet::new();
    for n in 0..connections {
        let messages = messages.clone();
        clients.spawn(async move {
            let mut client = Client::hello(at).await?;
            for message in messages.iter().skip(n).step_by(connections) {
                client.send(message).await?;
            }
            client.ask(b"QUIT\r\n", 221).await
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

async fn await_all(internet: &Internet, wanted: u64, began: Instant) -> Result<f64> {
    let patience = Duration::from_secs_f64(20.0 + wanted as f64 / RATE_MIN);
    loop {
        let taken = internet.book().delivered();
        if taken >= wanted {
            return Ok(began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < patience, "postfix has delivered only {taken} of {wanted}");
        tokio::time::sleep(LOOK).await;
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn hello(at: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let mut client = Self(BufReader::new(stream));
        client.expect(220).await?;
        client.ask(b"EHLO client.malleposte.test\r\n", 250).await?;
        Ok(client)
    }

    async fn send(&mut self, message: &Kept) -> Result<()> {
        let Kept { from, to, wire, .. } = message;
        let envelope = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.0.get_mut().write_all(envelope.as_bytes()).await?;
        for code in [250, 250, 354] {
            self.expect(code).await?;
        }
        self.ask(&[wire, b".\r\n".as_slice()].concat(), 250).await
    }

    async fn ask(&mut self, octets: &[u8], code: u16) -> Result<()> {
        self.0.get_mut().write_all(octets).await?;
        self.expect(code).await
    }

    async fn expect(&mut self, code: u16) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).await?;
            ensure!(line.starts_with(&code.to_string()), "{line:?} is not {code}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
