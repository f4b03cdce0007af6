//! A customer of the HTTP API: four requests make a campaign. And a reader of Prometheus pages.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::generator::{Generator, MERGE_FIELDS, Template};

/// Octets of recipients made at a time.
const PIECE_OCTETS: usize = 64 * 1024;

/// The hours in which a campaign may go, and where its recipients live.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The campaign's `window`, as the API wants it told.
    pub window: Value,
    /// Time zones that recipients have by turns.
    pub zones: &'static [&'static str],
}

/// A customer with a key.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: String,
}

impl Client {
    /// A customer of the API at this address.
    #[must_use]
    pub fn new(url: String, key: String) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { agent, url, key }
    }

    /// Makes a campaign of these recipients, with messages of so many octets, and starts it;
    /// answers its name.
    ///
    /// # Errors
    /// What the API refused.
    pub async fn submit(
        &self,
        sender: &str,
        recipients: &Generator,
        octets: usize,
    ) -> Result<String> {
        self.submit_on(sender, recipients, octets, None).await
    }

    /// As [`submit`](Self::submit), with a send window where one is given.
    ///
    /// # Errors
    /// What the API refused.
    pub async fn submit_on(
        &self,
        sender: &str,
        recipients: &Generator,
        octets: usize,
        schedule: Option<Schedule>,
    ) -> Result<String> {
        let mut definition = definition(sender, &Template::of_size(octets));
        let mut zones: &'static [&'static str] = &[];
        if let Some(schedule) = schedule {
            definition["window"] = schedule.window;
            zones = schedule.zones;
        }
        let id = self.create_as(definition).await.context("create the campaign")?;
        let lines = Lines::new(recipients.clone(), zones);
        self.upload_lines(&id, lines).await.context("upload the recipients")?;
        let accepted = self.close(&id).await.context("close the recipients")?;
        if accepted != recipients.len() {
            bail!("{accepted} of {} recipients were accepted", recipients.len());
        }
        self.start(&id).await.context("start the campaign")?;
        Ok(id)
    }

    /// Creates a campaign; answers its name.
    pub(crate) async fn create(&self, sender: &str, template: &Template) -> Result<String> {
        self.create_as(definition(sender, template)).await
    }

    /// Creates a campaign of a priority; 0 goes first.
    pub(crate) async fn create_urgent(
        &self,
        sender: &str,
        template: &Template,
        priority: u8,
    ) -> Result<String> {
        let mut body = definition(sender, template);
        body["priority"] = json!(priority);
        self.create_as(body).await
    }

    async fn create_as(&self, definition: Value) -> Result<String> {
        let answer = self.post("/v1/campaigns", definition).await?;
        Ok(answer["id"].as_str().context("the answer names no campaign")?.to_owned())
    }

    /// Streams the recipients, made as they are read; answers their octets.
    pub(crate) async fn upload(&self, id: &str, recipients: Generator) -> Result<u64> {
        self.upload_lines(id, Lines::new(recipients, &[])).await
    }

    async fn upload_lines(&self, id: &str, lines: Lines) -> Result<u64> {
        let octets = lines.octets.clone();
        let headers = vec![
            ("Content-Type", "application/x-ndjson".to_owned()),
            ("Upload-Offset", "0".to_owned()),
        ];
        let path = format!("/v1/campaigns/{id}/recipients");
        self.ask(&path, headers, lines).await?.judged()?;
        Ok(octets.load(Ordering::Relaxed))
    }

    /// Closes the list; answers how many were accepted.
    pub(crate) async fn close(&self, id: &str) -> Result<u64> {
        let answer = self.post(&format!("/v1/campaigns/{id}/recipients/close"), json!({})).await?;
        answer["progress"]["accepted"].as_u64().context("the answer tells no number accepted")
    }

    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        self.post(&format!("/v1/campaigns/{id}/start"), json!({})).await.map(|_| ())
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let json = ("Content-Type", "application/json".to_owned());
        self.ask(path, vec![json], std::io::Cursor::new(body.to_string())).await?.judged()
    }

    /// One POST, whatever is answered; an error is a connection that gave no answer.
    pub(crate) async fn ask(
        &self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        mut body: impl Read + Send + 'static,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.url);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut request = this.agent.post(&url).header("Authorization", this.bearer());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            Answer::read(request.send(ureq::SendBody::from_reader(&mut body))?)
        })
        .await?
    }

    /// How much of an upload has arrived.
    pub(crate) async fn offset(&self, id: &str) -> Result<Answer> {
        let url = format!("{}/v1/campaigns/{id}/recipients", self.url);
        let this = self.clone();
        let head = move || {
            let request = this.agent.head(&url).header("Authorization", this.bearer());
            Answer::read(request.call()?)
        };
        tokio::task::spawn_blocking(head).await?
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

/// A campaign as the API wants it told.
pub(crate) fn definition(sender: &str, template: &Template) -> Value {
    json!({
        "name": "a pretend campaign",
        "from": {"name": "Malleposte", "address": format!("news@{sender}")},
        "subject": template.subject,
        "text": template.text,
        "html": template.html,
        "fields": MERGE_FIELDS,
    })
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Upload-Offset`, where it was told.
    pub(crate) offset: Option<u64>,
    /// `Retry-After`, where it was told.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Value,
}

impl Answer {
    fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Self> {
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        let (status, offset) = (answer.status().as_u16(), number("upload-offset"));
        let retry_after = number("retry-after").map(Duration::from_secs);
        let text = answer.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Self { status, offset, retry_after, body })
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn judged(self) -> Result<Value> {
        if !self.is_success() {
            bail!("the API answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// The text of a page.
pub(crate) async fn page(url: &str) -> Result<String> {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || Ok(ureq::get(&url).call()?.body_mut().read_to_string()?))
        .await?
}

/// The sum of a metric over all its labels; 0 when it is not on the page yet.
pub(crate) fn metric(page: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with('{') || rest.starts_with(' ');
        is_it.then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).flatten()
    };
    page.lines().filter_map(value).sum()
}

/// The generator's lines as a stream.
struct Lines {
    recipients: Generator,
    zones: &'static [&'static str],
    next: u64,
    piece: Vec<u8>,
    at: usize,
    octets: Arc<AtomicU64>,
}

impl Lines {
    fn new(recipients: Generator, zones: &'static [&'static str]) -> Self {
        Self { recipients, zones, next: 0, piece: Vec::new(), at: 0, octets: Arc::default() }
    }

    fn write_next(&mut self) {
        let begun = self.piece.len();
        self.recipients.write_line(self.next, &mut self.piece);
        if !self.zones.is_empty() {
            let zone = self.zones[self.next as usize % self.zones.len()];
            let field = format!("\"timezone\":\"{zone}\",");
            self.piece.splice(begun + 1..begun + 1, field.into_bytes());
        }
        self.next += 1;
    }
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() {
            self.piece.clear();
            self.at = 0;
            while self.next < self.recipients.len() && self.piece.len() < PIECE_OCTETS {
                self.write_next();
            }
        }
        let n = into.len().min(self.piece.len() - self.at);
        into[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        self.octets.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other() {
        let page = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2 3\"} 3\n\
                    a_total_more 9\nb 4\n";
        assert_eq!(metric(page, "a_total"), 5.0);
        assert_eq!(metric(page, "b"), 4.0);
        assert_eq!(metric(page, "c"), 0.0);
    }
}
