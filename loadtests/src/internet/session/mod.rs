//! One SMTP conversation, from the banner to the end, with whatever the host's manner
//! has in store: limits, delays, refusals, cut connections, held replies.

mod cut;
mod dot;
mod refusal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::Phase;
use tokio::net::TcpStream;

use super::Shared;
use super::strict::Dots;
use super::wire::{Body, Line, Wire};
use super::wording::{Said, Style};
use super::world::{Host, HostId};
use crate::book::counters::count;
use crate::book::{Counters, Peer};
use crate::scenario::Tls;
use cut::Cut;

/// Recipients of one message; RFC 5321, 4.5.3.1.8 asks for at least 100.
const RECIPIENTS_MAX: usize = 1_000;

pub(super) struct Session {
    shared: Arc<Shared>,
    host: HostId,
    serial: u64,
    peer: SocketAddr,
    local: SocketAddr,
    wire: Wire,
    encrypted: bool,
    greeted: bool,
    errors: u32,
    messages: u32,
    from: Option<String>,
    /// What MAIL said besides.
    parameters: String,
    to: Vec<(String, u16)>,
}

/// What follows a command.
#[derive(PartialEq, Eq)]
enum Next {
    /// The next command.
    Go,
    /// A last reply has been given: the client gets to read it.
    Close,
    /// The line goes dead.
    Cut,
}

/// Speaks with one client until either side has enough.
pub(super) async fn converse(shared: Arc<Shared>, host: HostId, stream: TcpStream, serial: u64) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let _small_replies_at_once = stream.set_nodelay(true).is_ok();
    let counters = shared.counters_of(host);
    count(&counters.connections);
    let meter = &shared.meters[host];
    let idle = Duration::from_millis(shared.world.scenario.idle_ms);
    let mut session = Session {
        wire: Wire::new(stream, idle),
        host,
        serial,
        peer,
        local,
        encrypted: false,
        greeted: false,
        errors: 0,
        messages: 0,
        from: None,
        parameters: String::new(),
        to: Vec::new(),
        shared: Arc::clone(&shared),
    };
    let admitted = meter.open(peer.ip());
    let _open = Counters::during(&counters.open);
    let ended = if admitted { session.talk().await } else { session.turn_away().await };
    if admitted {
        meter.close(peer.ip());
    }
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Session {
    async fn turn_away(&mut self) -> io::Result<()> {
        let line = self.saying(Said::Connections, "");
        self.tally(&line, Said::Connections);
        self.wire.push(&line);
        self.wire.farewell().await
    }

    async fn talk(&mut self) -> io::Result<()> {
        if self.cut_by_chance(Cut::Connect) {
            return Ok(());
        }
        self.wait_before_banner().await;
        let name = self.host().mx.first().map_or("mx.pretend.test", |mx| mx.host.as_str());
        let banner = format!("220 {name} ESMTP");
        if self.cut_by_chance(Cut::Banner) {
            return self.wire.write_raw(&banner.as_bytes()[..7]).await;
        }
        self.wire.push(&banner);
        loop {
            let next = match self.wire.line().await? {
                Line::Text(line) => self.command(&line).await?,
                Line::TooLong => {
                    self.wire.push("500 5.5.2 Line too long");
                    Next::Close
                }
                Line::Closed => return Ok(()),
            };
            match next {
                Next::Go => {}
                Next::Close => return self.wire.farewell().await,
                Next::Cut => return self.wire.flush().await,
            }
        }
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => return Ok(self.hello(verb == "EHLO")),
            "STARTTLS" => return self.starttls().await,
            "MAIL" => return Ok(self.mail(line)),
            "RCPT" => return self.rcpt(line).await,
            "DATA" => return self.data().await,
            "BDAT" => return self.bdat(line).await,
            "RSET" => {
                self.forget();
                self.wire.push("250 2.0.0 Ok");
            }
            "NOOP" => self.wire.push("250 2.0.0 Ok"),
            "VRFY" => self.wire.push("252 2.0.0 Send some mail, I will try my best"),
            "QUIT" => {
                self.wire.push("221 2.0.0 Bye");
                return Ok(Next::Close);
            }
            _ => return Ok(self.wrong("502 5.5.2 Error: command not recognized")),
        }
        Ok(Next::Go)
    }

    fn hello(&mut self, extended: bool) -> Next {
        if self.cut_by_chance(Cut::Ehlo) {
            return Next::Cut;
        }
        self.forget();
        self.greeted = true;
        let manner = &self.host().manner;
        if !extended {
            self.wire.push("250 at your service");
            return Next::Go;
        }
        let size = format!("250-SIZE {}", self.shared.world.scenario.message_octets_max);
        let (pipelining, chunking) = (!manner.no_pipelining, manner.chunking);
        let (utf8, require_tls) = (manner.smtputf8, manner.require_tls && self.encrypted);
        let tls = manner.tls != Tls::None && !self.encrypted;
        let enhanced = !matches!(manner.style, Style::Gmx | Style::Qq);
        self.wire.push("250-at your service");
        self.wire.push(&size);
        if pipelining {
            self.wire.push("250-PIPELINING");
        }
        if chunking {
            self.wire.push("250-CHUNKING");
        }
        if utf8 {
            self.wire.push("250-SMTPUTF8");
        }
        if require_tls {
            self.wire.push("250-REQUIRETLS");
        }
        if tls {
            self.wire.push("250-STARTTLS");
        }
        if enhanced {
            self.wire.push("250-ENHANCEDSTATUSCODES");
        }
        self.wire.push("250 8BITMIME");
        Next::Go
    }

    async fn starttls(&mut self) -> io::Result<Next> {
        let tls = self.host().manner.tls;
        if tls == Tls::None || self.encrypted {
            return Ok(self.wrong("502 5.5.1 Error: no TLS here"));
        }
        if self.wire.has_more() {
            let peer = self.peer;
            let case = || format!("{peer} spoke on after STARTTLS");
            self.shared.book.violation("talk-after-starttls", case);
        }
        self.wire.push("220 2.0.0 Ready to start TLS");
        self.wire.flush().await?;
        if tls == Tls::Broken {
            self.wire.write_raw(b"this is no handshake\r\n").await?;
            return Ok(Next::Close);
        }
        let Some(plain) = self.wire.take_plain() else { return Ok(Next::Close) };
        let handshake = self.shared.tls.accept(plain);
        let idle = Duration::from_millis(self.shared.world.scenario.idle_ms);
        self.wire.encrypt(tokio::time::timeout(idle, handshake).await??);
        self.encrypted = true;
        self.greeted = false;
        self.forget();
        count(&self.counters().encrypted);
        Ok(Next::Go)
    }

    fn mail(&mut self, line: &str) -> Next {
        if self.cut_by_chance(Cut::Mail) {
            return Next::Cut;
        }
        let manner = &self.host().manner;
        if !self.greeted {
            return self.wrong("503 5.5.1 Error: send EHLO first");
        }
        if manner.tls == Tls::Required && !self.encrypted {
            return self.wrong("530 5.7.0 Must issue a STARTTLS command first");
        }
        let most = manner.limits.messages_per_connection;
        if most > 0 && self.messages >= most {
            if manner.limits.silent_close {
                count(&self.counters().hung_up);
                return Next::Cut;
            }
            let reply = self.saying(Said::MessagesPerConnection, "");
            self.tally(&reply, Said::MessagesPerConnection);
            self.wire.push(&reply);
            return Next::Close;
        }
        let Some((from, parameters)) = path(line, "FROM:") else {
            return self.wrong("501 5.5.4 Syntax: MAIL FROM:<address>");
        };
        let size = parameters
            .split_ascii_whitespace()
            .find_map(|p| p.strip_prefix("SIZE=")?.parse::<usize>().ok());
        if size.is_some_and(|size| size > self.shared.world.scenario.message_octets_max) {
            self.wire.push("552 5.3.4 Message size exceeds fixed limit");
            return Next::Go;
        }
        let lacks = |word: &str, has: bool| !has && parameters.split(' ').any(|p| p == word);
        if lacks("SMTPUTF8", manner.smtputf8)
            || lacks("REQUIRETLS", manner.require_tls && self.encrypted)
        {
            return self.wrong("555 5.5.4 Unsupported option");
        }
        let parameters = parameters.trim().to_owned();
        self.to.clear();
        self.from = Some(from.to_owned());
        self.parameters = parameters;
        self.wire.push("250 2.1.0 Ok");
        Next::Go
    }

    async fn rcpt(&mut self, line: &str) -> io::Result<Next> {
        let Some((to, _)) = path(line, "TO:").filter(|(to, _)| to.contains('@')) else {
            return Ok(self.wrong("501 5.5.4 Syntax: RCPT TO:<address>"));
        };
        if self.from.is_none() {
            return Ok(self.wrong("503 5.5.1 Error: need MAIL command"));
        }
        if self.to.len() >= RECIPIENTS_MAX {
            self.wire.push("452 4.5.3 Error: too many recipients");
            return Ok(Next::Go);
        }
        let from = self.from.as_deref().unwrap_or_default();
        let (attempt, age_ms) = self.shared.book.attempt(to, from, Peer::from(self.peer));
        let delay_ms = self.host().manner.delays.rcpt_ms;
        if delay_ms > 0 {
            self.wire.flush().await?;
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        if self.cut_recipient(Cut::Rcpt, to, attempt) {
            return Ok(Next::Cut);
        }
        if let Some(said) = self.objection(to, attempt, age_ms) {
            return Ok(self.refuse(said, to, Phase::Rcpt));
        }
        self.to.push((to.to_owned(), attempt));
        self.wire.push("250 2.1.5 Ok");
        Ok(Next::Go)
    }

    async fn data(&mut self) -> io::Result<Next> {
        let Some((first, attempt)) = self.to.first().cloned() else {
            return Ok(self.wrong("554 5.5.1 Error: no valid recipients"));
        };
        if self.cut_recipient(Cut::Data, &first, attempt) {
            return Ok(Next::Cut);
        }
        self.wire.push("354 End data with <CR><LF>.<CR><LF>");
        if self.cut_recipient(Cut::Body, &first, attempt) {
            self.wire.read_once().await?;
            return Ok(Next::Cut);
        }
        let next = match self.wire.body(self.shared.world.scenario.message_octets_max).await? {
            Body::Whole(range) => self.dot(range, Dots::Doubled).await?,
            other => self.no_message(&other),
        };
        self.messages += 1;
        self.forget();
        Ok(next)
    }

    /// One chunk, the last (RFC 3030): senders of bulk mail have no more.
    async fn bdat(&mut self, line: &str) -> io::Result<Next> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let octets = words.next().and_then(|n| n.parse::<usize>().ok());
        let is_last = words.next().is_some_and(|w| w.eq_ignore_ascii_case("LAST"));
        let Some(octets) = octets.filter(|_| is_last && self.host().manner.chunking) else {
            // What follows cannot be told from commands.
            self.wire.push("502 5.5.2 Error: command not recognized");
            return Ok(Next::Close);
        };
        let first = self.to.first().cloned();
        if let Some((first, attempt)) = &first
            && (self.cut_recipient(Cut::Data, first, *attempt)
                || self.cut_recipient(Cut::Body, first, *attempt))
        {
            return Ok(Next::Cut);
        }
        let body = self.wire.chunk(octets, self.shared.world.scenario.message_octets_max).await?;
        let next = match body {
            Body::Whole(_) if first.is_none() => self.wrong("503 5.5.1 Error: no valid recipients"),
            Body::Whole(range) => self.dot(range, Dots::AsTheyAre).await?,
            other => self.no_message(&other),
        };
        self.messages += 1;
        self.forget();
        Ok(next)
    }

    fn no_message(&mut self, body: &Body) -> Next {
        if !matches!(body, Body::TooBig) {
            return Next::Cut;
        }
        let to: Vec<String> = self.to.drain(..).map(|(to, _)| to).collect();
        self.refuse_all(Said::TooBig, &to)
    }

    async fn wait_before_banner(&self) {
        let delays = &self.host().manner.delays;
        let all = delays.banner_share <= 0.0;
        if delays.banner_ms > 0 && (all || self.chance(39) < delays.banner_share) {
            tokio::time::sleep(Duration::from_millis(delays.banner_ms)).await;
        }
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn host(&self) -> &Host {
        &self.shared.world.hosts[self.host]
    }

    fn counters(&self) -> &Counters {
        self.shared.counters_of(self.host)
    }

    fn counter_name(&self) -> &str {
        &self.shared.world.counters[self.host().counter]
    }
}

/// The path of `MAIL FROM:<…> …` or `RCPT TO:<…> …`, and the parameters after it.
fn path<'a>(line: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let rest = line.get(5..)?.trim_start();
    let head = rest.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword))?;
    let rest = rest[head.len()..].trim_start().strip_prefix('<')?;
    rest.split_once('>')
}
