//! A customer of the HTTP API: four requests make a campaign.

use std::io::Read;

use anyhow::{Context, bail};
use loadtests::Generator;
use loadtests::generator::{MERGE_FIELDS, Template};
use mail::CampaignId;
use serde_json::{Value, json};

use super::platform::SENDER;

/// Octets of a message.
const MESSAGE_OCTETS: usize = 10_000;

/// A customer with a key.
#[derive(Clone)]
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

    /// Makes a campaign of these recipients and starts it.
    ///
    /// # Errors
    /// What the API refused.
    pub async fn submit(&self, recipients: &Generator) -> anyhow::Result<CampaignId> {
        let template = Template::of_size(MESSAGE_OCTETS);
        let id = self.create(&template).await.context("create the campaign")?;
        self.upload(&id, recipients.clone()).await.context("upload the recipients")?;
        let accepted = self.close(&id).await.context("close the recipients")?;
        if accepted != recipients.len() {
            bail!("{accepted} of {} recipients were accepted", recipients.len());
        }
        self.start(&id).await.context("start the campaign")?;
        Ok(id.parse()?)
    }

    /// Creates a campaign; answers its name.
    async fn create(&self, template: &Template) -> anyhow::Result<String> {
        let body = json!({
            "name": "demo",
            "from": {"name": "Malleposte", "address": format!("news@{SENDER}")},
            "subject": template.subject,
            "text": template.text,
            "html": template.html,
            "fields": MERGE_FIELDS,
        });
        let answer = self.post("/v1/campaigns", body).await?;
        let id = answer["id"].as_str().context("the answer names no campaign")?;
        Ok(id.to_owned())
    }

    /// Streams the recipients, made as they are read.
    async fn upload(&self, id: &str, recipients: Generator) -> anyhow::Result<()> {
        let path = format!("{}/v1/campaigns/{id}/recipients", self.url);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut lines = Lines { recipients, next: 0, line: Vec::new(), at: 0 };
            let request = this.agent.post(&path);
            let answer = request
                .header("Authorization", format!("Bearer {}", this.key))
                .header("Content-Type", "application/x-ndjson")
                .header("Upload-Offset", "0")
                .send(ureq::SendBody::from_reader(&mut lines))?;
            judged(answer).map(|_| ())
        })
        .await?
    }

    /// Closes the list; answers how many were accepted.
    async fn close(&self, id: &str) -> anyhow::Result<u64> {
        let answer = self.post(&format!("/v1/campaigns/{id}/recipients/close"), json!({})).await?;
        answer["progress"]["accepted"].as_u64().context("the answer tells no number accepted")
    }

    async fn start(&self, id: &str) -> anyhow::Result<()> {
        self.post(&format!("/v1/campaigns/{id}/start"), json!({})).await.map(|_| ())
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
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

fn judged(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string()?;
    if !status.is_success() {
        bail!("the API answered {status}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The generator's lines as a stream.
struct Lines {
    recipients: Generator,
    next: u64,
    line: Vec<u8>,
    at: usize,
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.line.len() {
            self.line.clear();
            self.at = 0;
            while self.next < self.recipients.len() && self.line.len() < 64 * 1024 {
                self.recipients.write_line(self.next, &mut self.line);
                self.next += 1;
            }
        }
        let n = into.len().min(self.line.len() - self.at);
        into[..n].copy_from_slice(&self.line[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
