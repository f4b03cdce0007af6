//! A customer who does what docs/API.md tells: whoever gets no answer, or one that says
//! "later", asks again: with the same key, from the offset that arrived, until it is done.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Answer, Client, definition};
use crate::generator::{Generator, Template};

/// Before the next try, where the answer names no time or there was none.
const AGAIN: Duration = Duration::from_millis(200);
/// An API that is away for longer than this does not come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an upload that are sent at a time, with this pause between: a line that is not
/// the fastest, so that something can happen on the way.
const PIECE_OCTETS: usize = 8 * 1024;
const PIECE_PAUSE: Duration = Duration::from_millis(15);

/// A campaign to be brought to the queue whatever happens on the way.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) sender: String,
    pub(crate) recipients: Generator,
    pub(crate) octets: usize,
    /// Names the campaign to the API, so that it is made once.
    pub(crate) key: String,
}

/// What the errand came to.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    /// What the answer to `close` said: acknowledged.
    pub(crate) recipients: u64,
    /// Requests that were repeated.
    pub(crate) repeats: u32,
}

pub(crate) struct Customer {
    client: Client,
    deadline: Instant,
    repeats: u32,
}

impl Customer {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, deadline: Instant::now() + PATIENCE, repeats: 0 }
    }

    /// Creates, uploads, closes, starts.
    pub(crate) async fn run(mut self, errand: &Errand) -> Result<Accepted> {
        let id = self.create(errand).await.context("create the campaign")?;
        self.upload(&id, &errand.recipients).await.context("upload the recipients")?;
        let recipients = self.close(&id).await.context("close the recipients")?;
        let start = format!("/v1/campaigns/{id}/start");
        self.insist(&start, Vec::new(), "{}").await.context("start the campaign")?;
        Ok(Accepted { id, recipients, repeats: self.repeats })
    }

    async fn create(&mut self, errand: &Errand) -> Result<String> {
        let body = definition(&errand.sender, &Template::of_size(errand.octets)).to_string();
        let key = vec![("Idempotency-Key", errand.key.clone())];
        let answer = self.insist("/v1/campaigns", key, &body).await?;
        Ok(answer["id"].as_str().context("the answer names no campaign")?.to_owned())
    }

    async fn upload(&mut self, id: &str, recipients: &Generator) -> Result<()> {
        let mut lines = Vec::new();
        recipients.write_ndjson(&mut lines)?;
        let (mut at, path) = (0, format!("/v1/campaigns/{id}/recipients"));
        while at < lines.len() {
            let headers = vec![
                ("Content-Type", "application/x-ndjson".to_owned()),
                ("Upload-Offset", at.to_string()),
            ];
            let rest = Unhurried(std::io::Cursor::new(lines[at..].to_vec()));
            let told = self.client.ask(&path, headers, rest).await;
            let offset = match &told {
                Ok(answer) if answer.is_success() => answer.offset,
                _ => None,
            };
            at = match offset {
                Some(offset) => offset as usize,
                None => self.where_it_stands(id, told).await?,
            };
        }
        Ok(())
    }

    /// After a broken connection the API says how much arrived.
    async fn where_it_stands(&mut self, id: &str, mut told: Result<Answer>) -> Result<usize> {
        loop {
            self.wait_after(&told).await?;
            told = self.client.offset(id).await;
            if let Ok(answer) = &told
                && answer.is_success()
                && let Some(offset) = answer.offset
            {
                return Ok(offset as usize);
            }
        }
    }

    async fn close(&mut self, id: &str) -> Result<u64> {
        let path = format!("/v1/campaigns/{id}/recipients/close");
        loop {
            let answer = self.insist(&path, Vec::new(), "{}").await?;
            // Without it the answer is 202: the work goes on, ask again.
            if let Some(accepted) = answer["progress"]["accepted"].as_u64() {
                return Ok(accepted);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The same request until it is answered with a success.
    async fn insist(
        &mut self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: &str,
    ) -> Result<Value> {
        loop {
            let mut headers = headers.clone();
            headers.push(("Content-Type", "application/json".to_owned()));
            let body = std::io::Cursor::new(body.to_owned());
            let told = self.client.ask(path, headers, body).await;
            if let Ok(answer) = &told
                && answer.is_success()
            {
                return told.map(|answer| answer.body);
            }
            self.wait_after(&told).await?;
        }
    }

    /// Waits as long as the answer asks for; fails on a refusal that stays one.
    async fn wait_after(&mut self, told: &Result<Answer>) -> Result<()> {
        let pause = match told {
            Ok(Answer { status: 503 | 408 | 409, retry_after, .. }) => *retry_after,
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => bail!("the API answered {}: {}", answer.status, answer.body),
            Err(_) => None,
        };
        if Instant::now() > self.deadline {
            bail!("not done after {} tries within {PATIENCE:?}: {told:?}", self.repeats);
        }
        self.repeats += 1;
        tokio::time::sleep(pause.unwrap_or(AGAIN)).await;
        Ok(())
    }
}

/// An upload that takes its time. Read on a blocking thread.
struct Unhurried(std::io::Cursor<Vec<u8>>);

impl Read for Unhurried {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        std::thread::sleep(PIECE_PAUSE);
        let room = into.len().min(PIECE_OCTETS);
        self.0.read(&mut into[..room])
    }
}
