//! What happens after the final dot: a look at the body, a verdict, a wait, a reply.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::cut::Cut;
use super::{Next, Session};
use crate::book::Counters;
use crate::book::counters::{During, count};
use crate::internet::fate::Fate;
use crate::internet::hold::Held;
use crate::internet::keep::Kept;
use crate::internet::returns::{Job, schedule};
use crate::internet::strict::{self, Dots};
use crate::internet::wording::Said;

impl Session {
    /// A whole body has come: judge it, wait as long as it takes, answer.
    pub(super) async fn dot(&mut self, body: Range<usize>, dots: Dots) -> io::Result<Next> {
        let shared = Arc::clone(&self.shared);
        let counters = shared.counters_of(self.host);
        let _awaiting: During<'_> = Counters::during(&counters.awaiting_reply);
        counters.octets.fetch_add(body.len() as u64, Relaxed);
        let to = std::mem::take(&mut self.to);
        let octets = self.wire.octets(body.clone());
        let headers = strict::header_block(octets);
        let message_id = strict::message_id(headers);
        let sender = match self.host().manner.quotas.is_empty() {
            true => String::new(),
            false => strict::sender_domain(headers),
        };
        for (address, _) in &to {
            shared.book.dot(address, &message_id);
        }
        if !headers.is_ascii() && !self.parameters.split(' ').any(|word| word == "SMTPUTF8") {
            let case = "a header that is not ASCII, and MAIL does not say SMTPUTF8".to_owned();
            shared.book.violation("utf8-header", || case.clone());
            return Ok(self.refuse_line(&format!("550 5.6.9 {case}"), &to));
        }
        if shared.world.scenario.strict.reads_bodies()
            && let Err(broken) = shared.inspector.inspect(octets, dots).await
        {
            shared.book.violation(broken.rule, || broken.case.clone());
            let line = format!("550 5.6.0 {}: {}", broken.rule, broken.case);
            return Ok(self.refuse_line(&line, &to));
        }
        if let Some(said) = to.iter().find_map(|(a, _)| self.objection_to_body(a, &sender)) {
            let to: Vec<String> = to.into_iter().map(|(to, _)| to).collect();
            return Ok(self.refuse_all(said, &to));
        }
        // From here on the message is in the mailbox, whatever the client gets to hear.
        for (address, _) in &to {
            shared.book.taken(address);
            count(&counters.delivered);
        }
        self.keep(&to, body.clone());
        self.schedule_returns(&to, body);
        if shared.hangs_up.load(Relaxed) {
            count(&counters.hung_up);
            return Ok(Next::Cut);
        }
        if to.iter().any(|(a, attempt)| self.cut_recipient(Cut::Dot, a, *attempt)) {
            return Ok(Next::Cut);
        }
        if self.wait_before_reply(&to).await == Next::Cut {
            return Ok(Next::Cut);
        }
        self.wire.push(&format!("250 2.0.0 Ok: queued as {:X}-{}", self.serial, self.messages));
        if !shared.counts_only() {
            self.wire.flush().await?;
        }
        for (address, _) in &to {
            shared.book.replied(address);
        }
        Ok(Next::Go)
    }

    fn objection_to_body(&self, to: &str, sender: &str) -> Option<Said> {
        let since_start = self.shared.started.elapsed();
        if self.host().manner.quotas.iter().any(|quota| quota.holds(sender, since_start)) {
            return Some(Said::SenderQuota);
        }
        match self.host().draw.fate(to) {
            Fate::RefuseDot(said) if !self.host().plain => Some(said),
            _ => None,
        }
    }

    fn keep(&self, to: &[(String, u16)], body: Range<usize>) {
        for (address, _) in to {
            self.shared.keeper.see(|| Kept {
                from: self.from.clone().unwrap_or_default(),
                parameters: self.parameters.clone(),
                to: address.clone(),
                wire: self.wire.octets(body.clone()).to_vec(),
            });
        }
    }

    fn schedule_returns(&self, to: &[(String, u16)], body: Range<usize>) {
        if self.host().plain {
            return;
        }
        for (address, _) in to {
            let fate = self.host().draw.fate(address);
            let Some(report) = fate.meant().report else { continue };
            let headers = strict::header_block(self.wire.octets(body.clone()));
            let job = Job {
                report,
                fate,
                host: self.host,
                recipient: address.clone(),
                return_path: self.from.clone().unwrap_or_default(),
                client: self.peer.ip(),
                headers: headers.to_vec(),
            };
            schedule(&self.shared, job);
        }
    }

    /// Waits where a slow server would; `Cut` when the client has not waited with us.
    async fn wait_before_reply(&mut self, to: &[(String, u16)]) -> Next {
        let delay = Duration::from_millis(self.host().manner.delays.dot_ms);
        if !delay.is_zero() {
            tokio::select! {
                biased;
                () = self.wire.gone() => return Next::Cut,
                () = tokio::time::sleep(delay) => {}
            }
        }
        let shared = Arc::clone(&self.shared);
        let Some(hold) = shared.gate.holds(self.peer.ip()) else { return Next::Go };
        let held = Held {
            peer: self.peer,
            local: self.local,
            provider: self.counter_name().to_owned(),
            recipients: to.iter().map(|(address, _)| address.clone()).collect(),
        };
        let mut waiting = shared.gate.enter(self.serial, held);
        // A client that is gone has heard nothing, even when the gate opens with it.
        tokio::select! {
            biased;
            () = self.wire.gone() => Next::Cut,
            () = waiting.released(hold) => Next::Go,
        }
    }
}
