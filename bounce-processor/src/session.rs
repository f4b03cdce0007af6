//! One conversation with whoever brings mail back: a small server of SMTP (RFC 5321) and LMTP
//! (RFC 2033) that takes mail for a few addresses and relays for nobody. Who is admitted and what
//! is done with a mail is for the [`Desk`].

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::desk::{Desk, Letter, NotAdmitted, Origin, Verdict};
use crate::house::{Ending, House, Protocol};
use crate::path::{self, Path};
use crate::wire::{Data, NoLine, Room, Unfit, Wire};

/// Recipients of one mail. Reports have one; RFC 5321, 4.5.3.1.8 asks for 100.
const RECIPIENTS_MAX: usize = 100;
/// Mails over one connection; a busy system simply connects again.
const MAILS_MAX: usize = 1_000;
/// Wrong or idle commands before we part: nobody needs more by mistake.
const STRAYS_MAX: usize = 20;

/// A conversation that is over, but for the last word.
pub(crate) struct Over<S> {
    pub(crate) ending: Ending,
    /// Mails that were taken.
    pub(crate) mails: usize,
    wire: Wire<S>,
    within: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Over<S> {
    /// Says the last word, and closes; or hands out the connection for TLS to begin on it.
    pub(crate) async fn part(mut self) -> Option<S> {
        match self.ending {
            Ending::Secure => {
                let told = self.wire.flush(self.within).await;
                told.is_ok().then(|| self.wire.into_stream())
            }
            Ending::Gone => None,
            _ => {
                self.wire.close().await;
                None
            }
        }
    }
}

pub(crate) struct Session<'d, S, D: Desk> {
    wire: Wire<S>,
    desk: &'d D,
    house: House<'d>,
    client: IpAddr,
    hello: String,
    sender: Option<String>,
    recipients: Vec<D::Recipient>,
    /// Mails that were taken, and all that were heard.
    mails: usize,
    heard: usize,
    strays: usize,
}

/// Go on, or end.
type Step = Result<(), Ending>;

impl<'d, S, D> Session<'d, S, D>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    D: Desk,
{
    pub(crate) fn new(stream: S, client: IpAddr, house: House<'d>, desk: &'d D) -> Self {
        Self {
            wire: Wire::new(stream),
            desk,
            house,
            client,
            hello: String::new(),
            sender: None,
            recipients: Vec::new(),
            mails: 0,
            heard: 0,
            strays: 0,
        }
    }

    /// From the greeting to the end. When `stop` is cancelled a mail under way is finished.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> Over<S> {
        let ending = loop {
            let step = match self.house.greeting.take() {
                Some(wait) => self.greet(wait, stop).await,
                None => self.turn(stop).await,
            };
            if let Err(ending) = step {
                break ending;
            }
        };
        self.last_word(ending);
        let within = self.house.limits.command;
        Over { ending, mails: self.mails, wire: self.wire, within }
    }

    /// The server speaks first; whoever does not wait for it is no mail server.
    async fn greet(&mut self, wait: Duration, stop: &CancellationToken) -> Step {
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Ending::Stopped),
                () = tokio::time::sleep(wait) => {}
                () = self.wire.heard() => {
                    return Err(if self.wire.has_more() { Ending::Early } else { Ending::Gone });
                }
            }
        }
        let protocol = match self.house.protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        self.wire.say(&format!("220 {} {protocol} for returned mail only", self.house.name));
        Ok(())
    }

    fn last_word(&mut self, ending: Ending) {
        let name = self.house.name;
        match ending {
            Ending::Quit | Ending::Gone | Ending::Cut | Ending::Secure => {}
            Ending::Late => self.wire.say(&format!("421 4.4.2 {name} too slow, closing")),
            Ending::Early => {
                self.wire.say(&format!("554 5.5.1 {name} greets first; wait for it, closing"));
            }
            Ending::Nonsense => {
                self.wire.say(&format!("421 4.7.0 {name} too many wrong commands, closing"));
            }
            Ending::Stopped => {
                self.wire.say(&format!("421 4.3.2 {name} is stopping, come again"));
            }
        }
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Step {
        if !self.wire.has_more() {
            self.wire.flush(self.house.limits.command).await.map_err(|_| Ending::Gone)?;
            // Between mails we can part without costing anybody anything.
            if self.sender.is_none() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Ending::Stopped),
                    heard = tokio::time::timeout(self.house.limits.command, self.wire.heard()) => {
                        heard.map_err(|_| Ending::Late)?;
                    }
                }
            }
        }
        let line = match self.wire.line(self.house.limits.command).await {
            Ok(line) => line,
            Err(NoLine::End) => return Err(Ending::Gone),
            Err(NoLine::Late) => return Err(Ending::Late),
            Err(NoLine::Long) => {
                return self.cut("500 5.5.6 the command line is too long, closing");
            }
            Err(NoLine::Bare) => {
                return self.cut("500 5.5.2 a command ends in CR LF and holds no other, closing");
            }
        };
        match std::str::from_utf8(&line) {
            Ok(line) => self.command(line).await,
            Err(_) => self.stray("500 5.5.2 commands are UTF-8"),
        }
    }

    async fn command(&mut self, line: &str) -> Step {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "LHLO" if self.house.protocol == Protocol::Lmtp => self.hello(rest, true),
            // RFC 2033, 4.1: who speaks LMTP says neither.
            "EHLO" | "HELO" if self.house.protocol == Protocol::Lmtp => {
                self.stray("500 5.5.1 this is LMTP: LHLO")
            }
            "EHLO" => self.hello(rest, true),
            "HELO" => self.hello(rest, false),
            "STARTTLS" if self.house.offers_tls => self.start_tls(rest),
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" => self.data(rest).await,
            "RSET" => {
                self.reset();
                self.stray("250 2.0.0 forgotten")
            }
            "NOOP" => self.stray("250 2.0.0 still here"),
            "VRFY" => self.stray("252 2.5.0 send it and see"),
            "HELP" => self.stray("214 2.0.0 mail for return paths, postmaster and abuse"),
            "QUIT" => {
                self.wire.say("221 2.0.0 goodbye");
                Err(Ending::Quit)
            }
            "STARTTLS" | "AUTH" | "BDAT" | "ETRN" | "EXPN" | "TURN" => {
                self.stray("502 5.5.1 not offered here")
            }
            _ => self.stray("500 5.5.1 no such command"),
        }
    }

    fn hello(&mut self, name: &str, extended: bool) -> Step {
        let name = name.trim();
        if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
            return self.stray("501 5.5.4 say who you are");
        }
        name.clone_into(&mut self.hello);
        self.reset();
        if extended {
            self.wire.say(&format!("250-{} takes returned mail", self.house.name));
            self.wire.say("250-PIPELINING");
            self.wire.say(&format!("250-SIZE {}", self.house.limits.bytes_max));
            self.wire.say("250-8BITMIME");
            self.wire.say("250-SMTPUTF8");
            if self.house.offers_tls {
                self.wire.say("250-STARTTLS");
            }
            self.stray("250 ENHANCEDSTATUSCODES")
        } else {
            self.stray(&format!("250 {}", self.house.name))
        }
    }

    /// What was sent behind STARTTLS is not ours to read in the clear: it is how commands are
    /// smuggled under TLS that nobody secured (RFC 3207, 6).
    fn start_tls(&mut self, rest: &str) -> Step {
        if !rest.is_empty() {
            return self.stray("501 5.5.4 STARTTLS stands alone");
        }
        if self.wire.has_more() {
            return self.cut("554 5.5.1 nothing may follow STARTTLS before TLS begins, closing");
        }
        self.wire.say("220 2.0.0 begin");
        self.reset();
        Err(Ending::Secure)
    }

    fn mail(&mut self, rest: &str) -> Step {
        if self.hello.is_empty() {
            return self.stray("503 5.5.1 EHLO first");
        }
        if self.sender.is_some() {
            return self.stray("503 5.5.1 one mail at a time");
        }
        let Some(path) = keyword(rest, "FROM:").and_then(path::parse) else {
            return self.stray("501 5.5.4 MAIL FROM:<path>");
        };
        if let Some(refusal) = self.refused_parameter(&path) {
            return self.stray(refusal);
        }
        self.sender = Some(match path.domain {
            Some(domain) => format!("{}@{domain}", path.local),
            None => path.local.to_owned(),
        });
        self.wire.say("250 2.1.0 go on");
        Ok(())
    }

    fn refused_parameter(&self, path: &Path<'_>) -> Option<&'static str> {
        for (keyword, value) in &path.parameters {
            match keyword.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<usize>() {
                    Ok(size) if size <= self.house.limits.bytes_max => {}
                    Ok(_) => return Some("552 5.3.4 the mail is too large"),
                    Err(_) => return Some("501 5.5.4 SIZE=number"),
                },
                "BODY" if value.eq_ignore_ascii_case("7BIT") => {}
                "BODY" if value.eq_ignore_ascii_case("8BITMIME") => {}
                "SMTPUTF8" if value.is_empty() => {}
                _ => return Some("555 5.5.4 a parameter that was not offered"),
            }
        }
        None
    }

    fn rcpt(&mut self, rest: &str) -> Step {
        if self.sender.is_none() {
            return self.stray("503 5.5.1 MAIL first");
        }
        let Some(path) = keyword(rest, "TO:").and_then(path::parse) else {
            return self.stray("501 5.5.4 RCPT TO:<path>");
        };
        if !path.parameters.is_empty() {
            return self.stray("555 5.5.4 a parameter that was not offered");
        }
        if self.recipients.len() >= RECIPIENTS_MAX {
            return self.stray("452 4.5.3 too many recipients");
        }
        match self.desk.admit(path.local, path.domain) {
            Ok(recipient) => {
                self.recipients.push(recipient);
                self.wire.say("250 2.1.5 go on");
                Ok(())
            }
            Err(NotAdmitted::Relay) => {
                self.stray("550 5.7.1 mail for other domains is not relayed")
            }
            Err(NotAdmitted::Unknown) => self.stray("550 5.1.1 nobody here has this address"),
        }
    }

    async fn data(&mut self, rest: &str) -> Step {
        if !rest.is_empty() {
            return self.stray("501 5.5.4 DATA stands alone");
        }
        let (Some(sender), false) = (self.sender.clone(), self.recipients.is_empty()) else {
            return self.stray("503 5.5.1 no recipient was admitted");
        };
        self.wire.say("354 end with CR LF . CR LF");
        self.wire.flush(self.house.limits.command).await.map_err(|_| Ending::Gone)?;
        let Limits { bytes_max, line_bytes_max, data: within, .. } = self.house.limits;
        let room = Room { bytes_max, line_bytes_max, large: self.house.large };
        let (data, _large) = self.wire.data(room, within).await;
        match data {
            Data::End => Err(Ending::Gone),
            // A client that ends lines wrongly may see an end elsewhere: nothing that
            // follows on this connection can be trusted.
            Data::Unfit(Unfit::Bare) => self.cut(refusal(Unfit::Bare)),
            Data::Unfit(unfit) => {
                let answers = match self.house.protocol {
                    Protocol::Smtp => 1,
                    Protocol::Lmtp => self.recipients.len(),
                };
                self.reset();
                (1..answers).for_each(|_| self.wire.say(refusal(unfit)));
                self.stray(refusal(unfit))
            }
            Data::Broken(Unfit::Late) => Err(Ending::Late),
            Data::Broken(unfit) => self.cut(refusal(unfit)),
            Data::Whole(octets) => self.take(&sender, &octets).await,
        }
    }

    async fn take(&mut self, sender: &str, octets: &[u8]) -> Step {
        let letter = Letter {
            origin: Origin::Client(self.client, &self.hello),
            sender: Some(sender),
            recipients: &self.recipients,
            octets,
        };
        let verdicts = self.desk.take(letter).await;
        match self.house.protocol {
            Protocol::Smtp => {
                let worst = verdicts.iter().max().copied().unwrap_or(Verdict::NotNow);
                self.wire.say(worst.answer());
            }
            Protocol::Lmtp => verdicts.iter().for_each(|verdict| self.wire.say(verdict.answer())),
        }
        self.reset();
        self.mails += usize::from(verdicts.contains(&Verdict::Taken));
        self.heard += 1;
        self.strays = 0;
        if self.heard < MAILS_MAX {
            return Ok(());
        }
        self.cut("421 4.7.0 enough for one connection, come again")
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    /// An answer to a command that brings no mail nearer; too many of them end it.
    fn stray(&mut self, answer: &str) -> Step {
        self.wire.say(answer);
        self.strays += 1;
        if self.strays > STRAYS_MAX { Err(Ending::Nonsense) } else { Ok(()) }
    }

    fn cut(&mut self, answer: &str) -> Step {
        self.wire.say(answer);
        Err(Ending::Cut)
    }
}

fn refusal(unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::Bare => "550 5.6.0 a CR or LF stands on its own (RFC 5321, 2.3.8), closing",
        Unfit::LongLine => "500 5.6.0 a line is too long",
        Unfit::Large => "552 5.3.4 the mail is too large",
        Unfit::Late => "421 4.4.2 too slow",
        Unfit::Crowded => "452 4.3.1 too many large mails at once, come again",
    }
}

fn keyword<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}
