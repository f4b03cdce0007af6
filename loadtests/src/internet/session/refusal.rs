//! Saying no: what speaks against a recipient, in which words it is said, and that it
//! is written down.

use mail::Phase;

use super::{Next, Session};
use crate::book::counters::count;
use crate::internet::fate::Fate;
use crate::internet::wording::{Said, phrase};

/// Commands that make no sense, after which the server closes.
const ERRORS_MAX: u32 = 20;

impl Session {
    /// What speaks against a recipient at RCPT, if anything does.
    pub(super) fn objection(&self, to: &str, attempt: u16, age_ms: u32) -> Option<Said> {
        let host = self.host();
        if self.shared.world.scenario.strict.astray && !self.hosts_domain(to) {
            return Some(Said::Policy);
        }
        if host.plain {
            return None;
        }
        let since_start = self.shared.started.elapsed();
        let client = self.peer.ip();
        let blocked = host.manner.blocks.iter().any(|block| block.holds(client, since_start));
        if blocked {
            return Some(Said::Blocked);
        }
        if !self.shared.meters[self.host].take(self.peer.ip(), since_start) {
            return Some(Said::Rate);
        }
        let grey = &host.manner.greylist;
        if u64::from(age_ms) < grey.delay_ms && host.draw.is_greylisted(to) {
            return Some(Said::Greylisted);
        }
        match host.draw.fate(to) {
            Fate::RefuseRcpt(said) => Some(said),
            Fate::Later(said) if attempt == 1 => Some(said),
            _ => None,
        }
    }

    /// Mail for a domain that lives elsewhere means that the relay went astray.
    fn hosts_domain(&self, to: &str) -> bool {
        let domain = to.rsplit_once('@').map_or("", |(_, d)| d).to_ascii_lowercase();
        let elsewhere = self.shared.world.host_of(&domain).is_some_and(|host| host != self.host);
        if elsewhere {
            let name = self.counter_name();
            self.shared.book.violation("astray", || format!("{to} was sent to {name}"));
        }
        !elsewhere
    }

    pub(super) fn refuse(&mut self, said: Said, to: &str, phase: Phase) -> Next {
        let line = self.saying(said, to);
        self.tally(&line, said);
        self.shared.book.given(to, phase, &line, Some(said.category()));
        self.answer_refusal(&line)
    }

    pub(super) fn refuse_all(&mut self, said: Said, to: &[String]) -> Next {
        let line = self.saying(said, to.first().map_or("", String::as_str));
        for address in to {
            self.tally(&line, said);
            self.shared.book.given(address, Phase::Dot, &line, Some(said.category()));
        }
        self.answer_refusal(&line)
    }

    pub(super) fn refuse_line(&mut self, line: &str, to: &[(String, u16)]) -> Next {
        for (address, _) in to {
            count(&self.counters().bounced);
            let meant = Some(mail::Category::Protocol);
            self.shared.book.given(address, Phase::Dot, line, meant);
        }
        self.answer_refusal(line)
    }

    /// 421 means that the server closes (RFC 5321, 3.8).
    fn answer_refusal(&mut self, line: &str) -> Next {
        self.wire.push(line);
        if line.starts_with("421") { Next::Close } else { Next::Go }
    }

    pub(super) fn wrong(&mut self, reply: &str) -> Next {
        self.wire.push(reply);
        self.errors += 1;
        if self.errors > ERRORS_MAX { Next::Close } else { Next::Go }
    }

    pub(super) fn saying(&self, said: Said, to: &str) -> String {
        let manner = &self.host().manner;
        let own = manner.replies.get(&said).map(String::as_str);
        let line = own.unwrap_or_else(|| phrase(manner.style, said));
        line.replace("{recipient}", to).replace("{ip}", &self.peer.ip().to_string())
    }

    pub(super) fn tally(&self, line: &str, said: Said) {
        let counters = self.counters();
        count(if line.starts_with('4') { &counters.deferred } else { &counters.bounced });
        if matches!(said, Said::Rate | Said::Connections | Said::MessagesPerConnection) {
            count(&counters.limited);
        }
    }
}
