//! What an attentive server would hold against a message: its line ends, its dots, its
//! header fields, its signature. Only looks; the session refuses.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use mail_auth::dkim::Signature;
use mail_auth::hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimOutput, DkimResult, MessageAuthenticator};
use memchr::{memchr, memmem};

use crate::scenario::Strict;

/// RFC 5322, 2.1.1, without the CRLF.
const LINE_OCTETS_MAX: usize = 998;

/// Header fields that must be there once and be covered by the signature.
const SIGNED_ALWAYS: [&str; 4] = ["From", "Subject", "Date", "Message-ID"];

/// The same for bulk mail: RFC 8058, and what feedback loops go by.
const SIGNED_BULK: [&str; 3] = ["List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID"];

/// A rule that a message broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) case: String,
}

fn broken<T>(rule: &'static str, case: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { rule, case: case.into() })
}

/// What became of dots that begin a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dots {
    /// After DATA (RFC 5321, 4.5.2).
    Doubled,
    /// After BDAT, which has its length.
    AsTheyAre,
}

/// Checks messages as the scenario wants it.
pub(super) struct Inspector {
    strict: Strict,
    authenticator: Option<MessageAuthenticator>,
}

impl Inspector {
    /// `dns` is where DKIM keys are looked up.
    pub(super) fn new(strict: Strict, dns: SocketAddr) -> Result<Self> {
        let authenticator = strict.dkim.then(|| authenticator(dns)).transpose()?;
        Ok(Self { strict, authenticator })
    }

    /// Looks at a message as it came over the wire.
    pub(super) async fn inspect(&self, wire: &[u8], dots: Dots) -> Result<(), Broken> {
        if self.strict.lines {
            lines(wire, dots)?;
        }
        let message = match dots {
            Dots::Doubled => unstuffed(wire),
            Dots::AsTheyAre => Cow::Borrowed(wire),
        };
        if self.strict.bulk {
            fields(&message)?;
        }
        match &self.authenticator {
            Some(authenticator) => signature(authenticator, &message, self.strict.bulk).await,
            None => Ok(()),
        }
    }
}

/// A verifier that asks the pretend DNS, as the world would. It forgets quickly, because
/// keys appear while it runs.
fn authenticator(dns: SocketAddr) -> Result<MessageAuthenticator> {
    let mut server = NameServerConfig::udp_and_tcp(dns.ip());
    for connection in &mut server.connections {
        connection.port = dns.port();
    }
    let mut options = ResolverOpts::default();
    options.positive_max_ttl = Some(Duration::from_secs(10));
    options.negative_max_ttl = Some(Duration::ZERO);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    MessageAuthenticator::new(config, options).context("cannot make a DKIM verifier")
}

/// Checks line ends, lengths and dots.
fn lines(wire: &[u8], dots: Dots) -> Result<(), Broken> {
    let mut rest = wire;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let at = |what: &str| format!("{what} in line {number}");
        let Some(end) = memchr(b'\n', rest) else {
            return broken("unended-line", at("no end"));
        };
        let Some(line) = rest[..end].strip_suffix(b"\r") else {
            return broken("bare-lf", at("a LF without a CR"));
        };
        if line.contains(&b'\r') {
            return broken("bare-cr", at("a CR without a LF"));
        }
        if line.contains(&0) {
            return broken("nul", at("a NUL"));
        }
        let text = match dots {
            Dots::Doubled => line.strip_prefix(b".").unwrap_or(line),
            Dots::AsTheyAre => line,
        };
        if line.len() > text.len() && !text.starts_with(b".") {
            return broken("dot-stuffing", at("a lone leading dot"));
        }
        if text.len() > LINE_OCTETS_MAX {
            return broken("long-line", at(&format!("{} octets", text.len())));
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}

fn unstuffed(wire: &[u8]) -> Cow<'_, [u8]> {
    if !wire.starts_with(b".") && memmem::find(wire, b"\r\n.").is_none() {
        return Cow::Borrowed(wire);
    }
    let mut message = Vec::with_capacity(wire.len());
    for line in wire.split_inclusive(|octet| *octet == b'\n') {
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    Cow::Owned(message)
}

fn fields(message: &[u8]) -> Result<(), Broken> {
    let headers = header_block(message);
    for name in SIGNED_ALWAYS.into_iter().chain(SIGNED_BULK) {
        match values(headers, name).count() {
            1 => {}
            0 => return broken("missing-field", format!("no {name}")),
            n => return broken("repeated-field", format!("{n} times {name}")),
        }
    }
    let list = values(headers, "List-Unsubscribe").next().unwrap_or_default();
    if !list.contains("<https://") && !list.contains("<http://127.") {
        return broken("list-unsubscribe", "no https address for one click");
    }
    let post = values(headers, "List-Unsubscribe-Post").next().unwrap_or_default();
    if post != "List-Unsubscribe=One-Click" {
        return broken("list-unsubscribe-post", format!("{post:?}"));
    }
    Ok(())
}

async fn signature(
    authenticator: &MessageAuthenticator,
    message: &[u8],
    bulk: bool,
) -> Result<(), Broken> {
    let Some(parsed) = AuthenticatedMessage::parse(message) else {
        return broken("unparsable", "no header that can be read");
    };
    let outputs = verified(authenticator, &parsed).await;
    let from = parsed.from();
    let from = from.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
    let passing: Vec<&Signature> = outputs
        .iter()
        .filter(|output| *output.result() == DkimResult::Pass)
        .filter_map(DkimOutput::signature)
        .collect();
    let Some(good) = passing.iter().find(|s| aligned(&from, &s.d.to_ascii_lowercase())) else {
        let results: Vec<_> = outputs.iter().map(|o| format!("{:?}", o.result())).collect();
        let domains: Vec<_> = passing.iter().map(|s| s.d.as_str()).collect();
        return match passing.as_slice() {
            [] => broken("dkim", format!("no signature verifies: {}", results.join(", "))),
            _ => broken("alignment", format!("From {from:?}, signed by {}", domains.join(", "))),
        };
    };
    let extra: &[&str] = if bulk { &SIGNED_BULK } else { &[] };
    match SIGNED_ALWAYS
        .iter()
        .chain(extra)
        .find(|n| !good.h.iter().any(|h| h.eq_ignore_ascii_case(n)))
    {
        Some(name) => broken("unsigned-field", format!("{name} is not in h=")),
        None => Ok(()),
    }
}

/// An answer that did not come says nothing of the message: DNS is asked again.
async fn verified<'a>(
    authenticator: &MessageAuthenticator,
    message: &'a AuthenticatedMessage<'a>,
) -> Vec<DkimOutput<'a>> {
    const TRIES: usize = 4;
    const PAUSE: Duration = Duration::from_millis(50);
    let mut outputs = authenticator.verify_dkim(message).await;
    for _ in 1..TRIES {
        if !outputs.iter().any(|output| matches!(output.result(), DkimResult::TempError(_))) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        outputs = authenticator.verify_dkim(message).await;
    }
    outputs
}

/// Relaxed alignment (RFC 7489, 3.1.1), near enough for reserved domains.
fn aligned(from: &str, signer: &str) -> bool {
    let within = |child: &str, parent: &str| {
        child.strip_suffix(parent).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    !signer.is_empty() && (within(from, signer) || within(signer, from) && from.contains('.'))
}

/// The header fields of a message, with the CRLF of the last one.
pub(super) fn header_block(message: &[u8]) -> &[u8] {
    memmem::find(message, b"\r\n\r\n").map_or(message, |at| &message[..at + 2])
}

/// The first lines of all fields of a name, without the name.
fn values<'a>(headers: &'a [u8], name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    headers.split(|octet| *octet == b'\n').filter_map(move |line| {
        let (head, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        head.eq_ignore_ascii_case(name.as_bytes())
            .then(|| String::from_utf8_lossy(value.trim_ascii()))
    })
}

/// The Message-ID, or nothing.
pub(super) fn message_id(headers: &[u8]) -> Cow<'_, str> {
    field(headers, "Message-ID")
}

/// The domain of From, or nothing.
pub(super) fn sender_domain(headers: &[u8]) -> String {
    let from = field(headers, "From");
    let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain);
    domain.trim_end_matches(['>', ' ', '\r']).to_ascii_lowercase()
}

/// The first line of the first field of this name, or nothing.
pub(super) fn field<'a>(headers: &'a [u8], name: &'a str) -> Cow<'a, str> {
    values(headers, name).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_dots_and_lengths_are_judged() {
        let long = format!("{}\r\n", "x".repeat(999));
        let cases: [(&[u8], &str); 7] = [
            (b"a\nb\r\n", "bare-lf"),
            (b"a\rb\r\n", "bare-cr"),
            (b"a\0b\r\n", "nul"),
            (b"a\r\n.b\r\n", "dot-stuffing"),
            (b".\r\n", "dot-stuffing"),
            (b"a", "unended-line"),
            (long.as_bytes(), "long-line"),
        ];
        for (wire, rule) in cases {
            assert_eq!(lines(wire, Dots::Doubled).map_err(|b| b.rule), Err(rule));
        }
        assert!(lines(b"a\r\n..b\r\n", Dots::Doubled).is_ok());
        assert!(lines(b"a\r\n.b\r\n", Dots::AsTheyAre).is_ok());
        assert_eq!(&*unstuffed(b"a\r\n..b\r\n"), b"a\r\n.b\r\n");
        let fits = format!("..{}\r\n", "x".repeat(997));
        assert!(lines(fits.as_bytes(), Dots::Doubled).is_ok());
    }

    #[test]
    fn alignment_is_relaxed_but_not_loose() {
        assert!(aligned("news.shop.example", "shop.example"));
        assert!(aligned("shop.example", "news.shop.example"));
        assert!(!aligned("badshop.example", "shop.example"));
        assert!(!aligned("", "shop.example") && !aligned("shop.example", ""));
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let headers = b"Subject: a\r\nMESSAGE-id:  <x@y>\r\n";
        assert_eq!(message_id(headers), "<x@y>");
        assert_eq!(message_id(b"X-Message-ID: <x>\r\n"), "");
    }
}
