//! What people answer: kept in a folder of the mailbox, and from there sent on by mail and told by a
//! web request, until both have taken it. The folder is the queue: an answer lies in `new` until it
//! has gone every way, and then in `cur`, marked as passed on (`P`). A kill between the two sends it
//! once more, under the same name.

mod config;
mod ticket;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::ByMail;
pub(crate) use config::Ways;
pub use config::{NextHop, NextHopTls, Replies};
use mail_send::SmtpClientBuilder;
use mail_send::smtp::message::Message;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use web::{Hook, Https};

use crate::clock::now;
use crate::error::chain;

/// The folder is looked at this often, for what was put off and what others put there.
const LOOKED_AT: Duration = Duration::from_secs(30);
/// The first pause of an answer that a way does not take, and the longest; each is twice the one
/// before.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(900)];
/// What the next hop may take for one answer.
const WITHIN: Duration = Duration::from_secs(120);

/// Sends answers on.
#[derive(Debug)]
pub(crate) struct Forwarder {
    folder: PathBuf,
    ways: Ways,
    https: Option<Arc<Https>>,
    /// Our name.
    name: String,
    /// Answers that did not go yet, by the name of their file.
    waiting: HashMap<String, Waiting>,
}

/// An answer that did not go.
#[derive(Debug)]
struct Waiting {
    is_told: bool,
    tries: u32,
    again_at: Instant,
}

/// Why an answer did not go: what is told of it.
type Undone = String;

impl Forwarder {
    /// For answers in this folder; `None` when they are to stay there.
    pub(crate) fn new(
        folder: PathBuf,
        ways: Ways,
        https: Option<Arc<Https>>,
        name: &str,
    ) -> Option<Self> {
        let has_any = ways.mail.is_some() || ways.hook.is_some();
        let (name, waiting) = (name.to_owned(), HashMap::new());
        has_any.then_some(Self { folder, ways, https, name, waiting })
    }

    /// Sends on whatever comes, until `stop`.
    pub(crate) async fn run(mut self, arrived: Arc<Notify>, stop: CancellationToken) {
        loop {
            if let Err(error) = self.pass(&stop).await {
                tracing::warn!(folder = %self.folder.display(), "answers cannot be read: {error}");
            }
            let next = self.waiting.values().map(|waiting| waiting.again_at).min();
            let pause = next.map_or(LOOKED_AT, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = arrived.notified() => {}
                () = tokio::time::sleep(pause.min(LOOKED_AT)) => {}
            }
        }
    }

    /// Every answer that is due, the oldest first.
    async fn pass(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let names = names(&self.folder.join("new"))?;
        self.waiting.retain(|name, _| names.binary_search(name).is_ok());
        metrics::gauge!("malleposte_bounces_replies_waiting").set(names.len() as f64);
        for name in names {
            let is_due =
                self.waiting.get(&name).is_none_or(|waiting| waiting.again_at <= Instant::now());
            if stop.is_cancelled() || !is_due {
                continue;
            }
            match self.send_on(&name).await {
                Ok(()) => {
                    self.waiting.remove(&name);
                }
                Err(why) => self.put_off(&name, &why),
            }
        }
        Ok(())
    }

    fn put_off(&mut self, name: &str, why: &str) {
        let fresh = || Waiting { is_told: false, tries: 0, again_at: Instant::now() };
        let waiting = self.waiting.entry(name.to_owned()).or_insert_with(fresh);
        let [first, longest] = PAUSES;
        let pause = first.saturating_mul(1 << waiting.tries.min(10)).min(longest);
        waiting.tries += 1;
        waiting.again_at = Instant::now() + pause;
        metrics::counter!("malleposte_bounces_replies_put_off_total").increment(1);
        tracing::warn!(
            answer = name,
            tries = waiting.tries,
            again_s = pause.as_secs(),
            "an answer was not taken: {why}"
        );
    }

    async fn send_on(&mut self, name: &str) -> Result<(), Undone> {
        let place = self.folder.join("new").join(name);
        let kept = match tokio::fs::read(&place).await {
            Ok(kept) => kept,
            // Somebody read it, or took it away: then it is his.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("it cannot be read: {e}")),
        };
        let is_told = self.waiting.get(name).is_some_and(|waiting| waiting.is_told);
        if let (Some(hook), Some(https), false) = (&self.ways.hook, &self.https, is_told) {
            tell(hook, https, name, &kept).await?;
            passed("webhook");
            if self.ways.mail.is_some() {
                let told = Waiting { is_told: true, tries: 0, again_at: Instant::now() };
                let waiting = self.waiting.entry(name.to_owned()).or_insert(told);
                waiting.is_told = true;
            }
        }
        if let Some(way) = &self.ways.mail {
            let sent = tokio::time::timeout(WITHIN, send(way, &self.name, &kept)).await;
            sent.map_err(|_| "the next hop does not answer in time".to_owned())??;
            passed("mail");
        }
        let passed = self.folder.join("cur").join(format!("{name}:2,P"));
        tokio::fs::rename(&place, passed)
            .await
            .map_err(|e| format!("it went, and cannot be marked so: {e}"))
    }
}

/// What is shown to nobody but the server that it is for.
#[derive(Clone, Default)]
pub(crate) struct Password(pub(crate) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What a file holds that holds a secret, without the end of its line.
pub(crate) fn secret(path: &Path) -> Result<Password, String> {
    let read = std::fs::read_to_string(path);
    read.map(|text| Password(text.trim().to_owned())).map_err(|e| e.to_string())
}

fn passed(way: &'static str) {
    metrics::counter!("malleposte_bounces_replies_passed_total", "way" => way).increment(1);
}

/// The files of a folder, in the order in which they came.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

async fn tell(hook: &Hook, https: &Https, name: &str, kept: &[u8]) -> Result<(), Undone> {
    let body = ticket::of(name, kept, now());
    hook.post(https, name, now().secs(), body.into()).await.map_err(|e| chain(&e))
}

/// To the next hop, as it came but for its return path, which the next hop writes anew.
async fn send(way: &ByMail, name: &str, kept: &[u8]) -> Result<(), Undone> {
    let said = |error: mail_send::Error| format!("the next hop: {error}");
    let ByMail { to, from, hop, password } = way;
    let mut builder = SmtpClientBuilder::new(hop.host.clone(), hop.port)
        .map_err(|why| format!("TLS for the next hop: {why}"))?
        .implicit_tls(hop.tls == NextHopTls::Implicit)
        .helo_host(name)
        .timeout(WITHIN);
    if !hop.user.is_empty() {
        builder = builder.credentials((hop.user.clone(), password.0.clone()));
    }
    // The client ends the last line itself.
    let octets = ticket::without_return_path(kept);
    let octets = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    let message = Message::new(from.to_string(), [to.to_string()], octets);
    match hop.tls {
        NextHopTls::None => {
            let mut client = builder.connect_plain().await.map_err(said)?;
            client.send(message).await.map_err(said)?;
            // It has taken the answer: whether it says goodbye is all the same.
            let _ = client.quit().await;
        }
        NextHopTls::StartTls | NextHopTls::Implicit => {
            let mut client = builder.connect().await.map_err(said)?;
            client.send(message).await.map_err(said)?;
            let _ = client.quit().await;
        }
    }
    Ok(())
}
