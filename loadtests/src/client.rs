//! A customer of the HTTP API: four requests make a campaign. And a reader of Prometheus pages.

use std::io::Read;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::generator::{Generator, MERGE_FIELDS, Template};

/// Octets of recipients made at a time.
const PIECE_OCTETS: usize = 64 * 1024;

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
        let template = Template::of_size(octets);
        let id = self.create(sender, &template).await.context("create the campaign")?;
        self.upload(&id, recipients.clone()).await.context("upload the recipients")?;
        let accepted = self.close(&id).await.context("close the recipients")?;
        if accepted != recipients.len() {
            bail!("{accepted} of {} recipients were accepted", recipients.len());
        }
        self.start(&id).await.context("start the campaign")?;
        Ok(id)
    }

    /// Creates a campaign; answers its name.
    pub(crate) async fn create(&self, sender: &str, template: &Template) -> Result<String> {
        self.create_urgent(sender, template, 1).await
    }

    /// Creates a campaign of a priority; 0 goes first.
    pub(crate) async fn create_urgent(
        &self,
        sender: &str,
        template: &Template,
        priority: u8,
    ) -> Result<String> {
        let body = json!({
            "priority": priority,
            "name": "a pretend campaign",
            "from": {"name": "Malleposte", "address": format!("news@{sender}")},
            "subject": template.subject,
            "text": template.text,
            "html": template.html,
            "fields": MERGE_FIELDS,
        });
        let answer = self.post("/v1/campaigns", body).await?;
        Ok(answer["id"].as_str().context("the answer names no campaign")?.to_owned())
    }

    /// Streams the recipients, made as they are read; answers their octets.
    pub(crate) async fn upload(&self, id: &str, recipients: Generator) -> Result<u64> {
        let path = format!("{}/v1/campaigns/{id}/recipients", self.url);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut lines = Lines { recipients, next: 0, piece: Vec::new(), at: 0, octets: 0 };
            let request = this.agent.post(&path);
            let answer = request
                .header("Authorization", format!("Bearer {}", this.key))
                .header("Content-Type", "application/x-ndjson")
                .header("Upload-Offset", "0")
                .send(ureq::SendBody::from_reader(&mut lines))?;
            judged(answer)?;
            Ok(lines.octets)
        })
        .await?
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
        let url = format!("{}{path}", self.url);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let request = this.agent.post(&url);
            let answer =
                request.header("Authorization", format!("Bearer {}", this.key)).send_json(body)?;
            judged(answer)
        })
        .await?
    }
}

fn judged(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string()?;
    if !status.is_success() {
        bail!("the API answered {status}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
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
    next: u64,
    piece: Vec<u8>,
    at: usize,
    octets: u64,
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() {
            self.piece.clear();
            self.at = 0;
            while self.next < self.recipients.len() && self.piece.len() < PIECE_OCTETS {
                self.recipients.write_line(self.next, &mut self.piece);
                self.next += 1;
            }
        }
        let n = into.len().min(self.piece.len() - self.at);
        into[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        self.octets += n as u64;
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
