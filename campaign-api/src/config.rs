//! The API's settings and what each of them protects.

use std::net::SocketAddr;
use std::time::Duration;

use mail::gate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// To what servers for mail take; relays keep room for the largest campaign.
const ATTACHMENTS: std::ops::RangeInclusive<u64> = 1 << 10..=50 << 20;

/// Where campaigns come in, and how much of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Loopback by default, because the API speaks plain HTTP:
    /// put a proxy with TLS in front before anybody else may reach it.
    pub listen: SocketAddr,
    /// What stands in front of the path of an unsubscribe link, as recipients reach it: scheme and
    /// host, `https://mail.example.org`. Mail providers honour one click only with https (RFC 8058).
    pub public_url: String,
    /// Connections at a time; the next ones wait. Protects file descriptors and memory.
    pub connections_max: usize,
    /// Largest JSON body, in octets; protects memory. A template larger than its own limit is
    /// refused in any case.
    pub body_bytes_max: usize,
    /// Largest text and HTML of a campaign together, in octets. Mailboxes clip or refuse more long
    /// before, and every message carries it.
    pub template_bytes_max: usize,
    /// Largest attachments and inline images of a campaign together, in octets, up to 50 MiB. Each
    /// message carries them, a third larger; many servers take 10 to 25 MB, hardly one more than 50.
    pub attachments_bytes_max: u64,
    /// Longest recipient line, in octets; protects memory from an endless one. The line is
    /// refused, the others go on.
    pub line_bytes_max: usize,
    /// Largest upload of recipients per campaign, in octets; protects the staging disk.
    pub upload_bytes_max: u64,
    /// An upload that is silent for so many seconds is broken off; what it sent stays. Protects
    /// connections from clients that are gone.
    pub upload_idle_s: u64,
    /// Memory for sorting recipients, in octets, over all campaigns that are closed at a time.
    /// Less is slower, not smaller: the rest lies on the staging disk.
    pub intake_memory_bytes: usize,
    /// Refused lines that a report keeps; all are counted. Protects the staging disk from a file
    /// that is no list of recipients.
    pub refused_report_max: usize,
    /// Seconds that an answer to `close` may take; after that it says that the work goes on.
    /// Proxies in front give up after a minute or so.
    pub close_wait_s: u64,
    /// Hours after which the DNS record of a sender domain is looked up again.
    pub proof_hours: u64,
    /// When a campaign is warned of and paused because of its list. The same on all instances.
    pub gates: gate::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8025)),
            public_url: "http://127.0.0.1:8025".into(),
            connections_max: 512,
            body_bytes_max: 8 << 20,
            template_bytes_max: 2 << 20,
            attachments_bytes_max: 10 << 20,
            line_bytes_max: 64 << 10,
            upload_bytes_max: 4 << 30,
            upload_idle_s: 60,
            intake_memory_bytes: 64 << 20,
            refused_report_max: 100_000,
            close_wait_s: 50,
            proof_hours: 24,
            gates: gate::Config::default(),
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// The first one that does not, by its name.
    pub fn check(&self) -> Result<(), String> {
        let host = ["http://", "https://"].iter().find_map(|s| self.public_url.strip_prefix(s));
        if host.is_none_or(|h| h.is_empty() || h.ends_with('/') || h.contains(char::is_whitespace))
        {
            return Err(format!(
                "public_url {:?} is not http:// or https:// and a host, without a final slash",
                self.public_url
            ));
        }
        let ranges = [
            ("connections_max", self.connections_max, 1, 65_536),
            ("body_bytes_max", self.body_bytes_max, 1 << 10, 64 << 20),
            ("template_bytes_max", self.template_bytes_max, 1 << 10, 8 << 20),
            // A batch holds at least one row, and its text must fit the store's limit.
            ("line_bytes_max", self.line_bytes_max, 1 << 10, 1 << 20),
            ("intake_memory_bytes", self.intake_memory_bytes, 16 << 20, 8 << 30),
            ("refused_report_max", self.refused_report_max, 1, 1_000_000),
        ];
        for (name, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(format!("{name} is {value}: it must be {min} to {max}"));
            }
        }
        if !ATTACHMENTS.contains(&self.attachments_bytes_max) {
            let (min, max) = (ATTACHMENTS.start(), ATTACHMENTS.end());
            let value = self.attachments_bytes_max;
            return Err(format!("attachments_bytes_max is {value}: it must be {min} to {max}"));
        }
        let seconds = [("upload_idle_s", self.upload_idle_s), ("close_wait_s", self.close_wait_s)];
        for (name, value) in seconds {
            if !(1..=3600).contains(&value) {
                return Err(format!("{name} is {value}: it must be 1 to 3600"));
            }
        }
        gate::Gates::new(&self.gates).map(|_| ()).map_err(|why| format!("gates: {why}"))
    }

    pub(crate) fn upload_idle(&self) -> Duration {
        Duration::from_secs(self.upload_idle_s)
    }

    pub(crate) fn close_wait(&self) -> Duration {
        Duration::from_secs(self.close_wait_s)
    }

    pub(crate) fn proof_lasts(&self) -> Duration {
        Duration::from_secs(self.proof_hours.saturating_mul(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_nonsense_is_refused_by_name() {
        assert_eq!(Config::default().check(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert!(refused(|c| c.public_url = "https://x.example/".into()).starts_with("public_url"));
        assert!(refused(|c| c.public_url = "ftp://x.example".into()).starts_with("public_url"));
        assert!(refused(|c| c.line_bytes_max = 0).starts_with("line_bytes_max"));
        assert!(refused(|c| c.attachments_bytes_max = 51 << 20).contains("1024 to 52428800"));
        assert!(refused(|c| c.close_wait_s = 0).starts_with("close_wait_s"));
        assert!(refused(|c| c.gates.bounces_pause = 10.0).starts_with("gates: bounces_warn 0.05"));
    }
}
