//! What people answer: kept in a folder of the mailbox, and from there sent on by mail and told by a
//! web request, until both have taken it. The folder is the queue: an answer waits, whether somebody
//! has read it or not, until it has gone every way and is marked as passed on (`P`, in `cur`). A kill
//! between the two sends it once more, under the same name.

mod config;
mod ticket;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::ByMail;
pub use config::Replies;
pub(crate) use config::Ways;
use store::chain;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use web::{Hook, Https};

use crate::clock::now;

/// The folder is looked at this often, for what was put off and what others put there.
const LOOKED_AT: Duration = Duration::from_secs(30);
/// The first pause of an answer that a way does not take, and the longest; each is twice the one
/// before.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(900)];

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
    /// Which ways it has gone.
    is_told: bool,
    is_sent: bool,
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
            let passed = self.pass(&stop).await;
            let next = self.waiting.values().map(|waiting| waiting.again_at).min();
            let mut pause =
                next.map_or(LOOKED_AT, |at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = passed {
                tracing::warn!(folder = %self.folder.display(), "answers cannot be read: {error}");
                pause = LOOKED_AT;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = arrived.notified() => {}
                () = tokio::time::sleep(pause.min(LOOKED_AT)) => {}
            }
        }
    }

    /// Every answer that is due, the oldest first, until one does not go: the next would not either,
    /// and their turn comes when that one rests.
    async fn pass(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let answers = answers(&self.folder)?;
        self.waiting.retain(|id, _| answers.iter().any(|answer| answer.id == *id));
        metrics::gauge!("malleposte_bounces_replies_waiting").set(answers.len() as f64);
        for answer in answers {
            let is_due = self
                .waiting
                .get(&answer.id)
                .is_none_or(|waiting| waiting.again_at <= Instant::now());
            if stop.is_cancelled() || !is_due {
                continue;
            }
            match self.send_on(&answer).await {
                Ok(()) => {
                    self.waiting.remove(&answer.id);
                }
                Err(why) => {
                    self.put_off(&answer.id, &why);
                    break;
                }
            }
        }
        Ok(())
    }

    fn waiting(&mut self, id: &str) -> &mut Waiting {
        let fresh =
            || Waiting { is_told: false, is_sent: false, tries: 0, again_at: Instant::now() };
        self.waiting.entry(id.to_owned()).or_insert_with(fresh)
    }

    fn put_off(&mut self, id: &str, why: &str) {
        let waiting = self.waiting(id);
        let [first, longest] = PAUSES;
        let pause = first.saturating_mul(1 << waiting.tries.min(10)).min(longest);
        waiting.tries += 1;
        waiting.again_at = Instant::now() + pause;
        let tries = waiting.tries;
        metrics::counter!("malleposte_bounces_replies_put_off_total").increment(1);
        tracing::warn!(
            answer = id,
            tries,
            again_s = pause.as_secs(),
            "an answer did not go: {why}"
        );
    }

    async fn send_on(&mut self, answer: &Answer) -> Result<(), Undone> {
        let kept = match tokio::fs::read(&answer.place).await {
            Ok(kept) => kept,
            // Somebody read it, or took it away: it is looked for again.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("it cannot be read: {e}")),
        };
        let known = self.waiting.get(&answer.id);
        let (is_told, is_sent) = known.map_or((false, false), |w| (w.is_told, w.is_sent));
        if let (Some(hook), Some(https), false) = (&self.ways.hook, &self.https, is_told) {
            tell(hook, https, &answer.id, &kept).await?;
            passed("webhook");
            self.waiting(&answer.id).is_told = true;
        }
        if let (Some(way), false) = (&self.ways.mail, is_sent) {
            send(way, &self.name, &kept).await?;
            passed("mail");
            self.waiting(&answer.id).is_sent = true;
        }
        let marked = tokio::fs::rename(&answer.place, answer.passed(&self.folder)).await;
        marked.map_err(|e| format!("it went, and cannot be marked so: {e}"))
    }
}

/// An answer that has not gone every way.
#[derive(Debug)]
struct Answer {
    /// Its name without what mail programs write behind it.
    id: String,
    flags: String,
    place: PathBuf,
    came: SystemTime,
}

impl Answer {
    /// Its place when it has.
    fn passed(&self, folder: &Path) -> PathBuf {
        // Flags stand in the order of their letters (Maildir).
        let mut flags: Vec<char> = self.flags.chars().chain(['P']).collect();
        flags.sort_unstable();
        let flags: String = flags.into_iter().collect();
        folder.join("cur").join(format!("{}:2,{flags}", self.id))
    }
}

/// The answers of a folder that wait, in the order in which they came, read or not.
fn answers(folder: &Path) -> io::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for part in ["new", "cur"] {
        for entry in std::fs::read_dir(folder.join(part))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (id, flags) = name.split_once(":2,").unwrap_or((&name, ""));
            if flags.contains('P') {
                continue;
            }
            let (id, flags) = (id.to_owned(), flags.to_owned());
            // It may be taken away while we look.
            let came = entry.metadata().and_then(|about| about.modified());
            let came = came.unwrap_or(SystemTime::UNIX_EPOCH);
            answers.push(Answer { id, flags, place: entry.path(), came });
        }
    }
    answers.sort_by(|a, b| (a.came, &a.id).cmp(&(b.came, &b.id)));
    Ok(answers)
}

fn passed(way: &'static str) {
    metrics::counter!("malleposte_bounces_replies_passed_total", "way" => way).increment(1);
}

async fn tell(hook: &Hook, https: &Https, name: &str, kept: &[u8]) -> Result<(), Undone> {
    let body = ticket::of(name, kept, now());
    hook.post(https, name, now().secs(), body.into()).await.map_err(|e| chain(&e))
}

/// To the next hop, as it came but for its return path, which the next hop writes anew.
async fn send(way: &ByMail, name: &str, kept: &[u8]) -> Result<(), Undone> {
    let ByMail { to, from, hop } = way;
    hop.send(name, from.as_str(), to.as_str(), ticket::without_return_path(kept)).await
}
