//! A platform of paper, in which strangers have written whatever does harm.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use console::*;
use ledger::{
    Chapter, Cursor, Entry, Measures, StatsAnswer, StatsQuestion, StatsRow, Story, TraceFilter,
    TracePage,
};
use mail::alarm::{Alarm, Condition, Silence, Standing};
use mail::event::EventKind;
use mail::queue::Counters;
use mail::throttle::Binding;
use mail::{CampaignId, Category, Event, Reply, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::browser::Browser;

/// A script, an attribute's end, control characters, a direction override, and a mebibyte.
pub(crate) fn hostile() -> String {
    let long = "x".repeat(1 << 20);
    format!(
        "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\u{0}\u{1b}[2J\r\n{long}"
    )
}

pub(crate) const NOW: Timestamp = Timestamp(1_764_270_000_000);
pub(crate) const PASSWORD: &str = "correct horse battery";

/// What was asked of it.
#[derive(Default)]
pub(crate) struct Paper {
    pub(crate) deeds: Mutex<Vec<(String, String, Deed)>>,
    pub(crate) waiting: Mutex<u64>,
    pub(crate) looks: Mutex<u64>,
    pub(crate) trouble: Mutex<Option<Trouble>>,
    pub(crate) stop: CancellationToken,
    accounts: Mutex<HashMap<String, Account>>,
    sessions: Mutex<HashMap<String, Session>>,
    tries: Mutex<HashMap<String, u64>>,
}

impl Paper {
    pub(crate) fn new() -> Arc<Self> {
        let paper = Self::default();
        for (name, may_operate) in [("ann", true), ("wall", false)] {
            paper.put(name, may_operate, 0);
        }
        *paper.waiting.lock().unwrap() = 7;
        Arc::new(paper)
    }

    pub(crate) fn put(&self, name: &str, may_operate: bool, changed_at: u64) {
        let account = Account { password: hash_password(PASSWORD), may_operate, changed_at };
        self.accounts.lock().unwrap().insert(name.to_owned(), account);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.accounts.lock().unwrap().remove(name);
    }

    /// Names that tries are counted of.
    pub(crate) fn counted(&self) -> usize {
        self.tries.lock().unwrap().len()
    }

    pub(crate) fn forget_accounts(&self) {
        self.accounts.lock().unwrap().clear();
    }

    pub(crate) fn browser(self: &Arc<Self>, config: &Config) -> Browser {
        Browser::new(router(config, self.clone(), self.clone(), self.stop.clone()))
    }

    fn fine(&self) -> Answer<()> {
        self.trouble.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Doors for Paper {
    async fn account(&self, name: &str) -> Answer<Option<Account>> {
        Ok(self.accounts.lock().unwrap().get(name).cloned())
    }
    async fn has_accounts(&self) -> Answer<bool> {
        Ok(!self.accounts.lock().unwrap().is_empty())
    }
    async fn begin(&self, token: &str, session: &Session, _: Duration) -> Answer<()> {
        self.sessions.lock().unwrap().insert(token.to_owned(), session.clone());
        Ok(())
    }
    async fn session(&self, token: &str) -> Answer<Option<Session>> {
        Ok(self.sessions.lock().unwrap().get(token).cloned())
    }
    async fn end(&self, token: &str) -> Answer<()> {
        self.sessions.lock().unwrap().remove(token);
        Ok(())
    }
    async fn tries(&self, name: &str) -> Answer<u64> {
        Ok(self.tries.lock().unwrap().get(name).copied().unwrap_or(0))
    }
    async fn count_try(&self, name: &str, _: Duration) -> Answer<u64> {
        let mut tries = self.tries.lock().unwrap();
        let tries = tries.entry(name.to_owned()).or_default();
        *tries += 1;
        Ok(*tries)
    }
    async fn forget_tries(&self, name: &str) -> Answer<()> {
        self.tries.lock().unwrap().remove(name);
        Ok(())
    }
}

fn pace() -> Pace {
    Pace {
        source: "a b/c".into(),
        site: hostile(),
        provider: Some(hostile()),
        rate: 12.5,
        rate_refused: 20.0,
        connections: 3,
        connections_max: 8,
        waiting: 41,
        is_blocked: true,
        is_fixed: true,
        is_suspended: true,
        binding: Binding::Hold,
    }
}

fn campaign(id: CampaignId) -> CampaignSeen {
    CampaignSeen {
        id,
        name: hostile(),
        tenant: "default".into(),
        sender: hostile(),
        subject: hostile(),
        status: "running",
        created_at: Timestamp(NOW.0 - 3_600_000),
        counters: Counters {
            accepted: 1000,
            delivered: 400,
            failed: 20,
            waiting: 580,
            ..Counters::default()
        },
        paused_because: Some(hostile()),
        possible: vec!["pause", "cancel"],
    }
}

fn entry() -> Entry {
    let event = Event {
        recipient: "ann@example.org".into(),
        campaign: Some(CampaignId(7)),
        service: hostile(),
        source: hostile(),
        site: hostile(),
        mx: hostile(),
        tls: hostile(),
        note: hostile(),
        category: Some(Category::NoMailbox),
        reply: Some(Reply::new(550, None, &hostile())),
        next_at: Some(NOW),
        ..Event::new(EventKind::Failed, NOW)
    };
    Entry { cursor: "2026-11.7".parse().unwrap(), event, judgement: hostile() }
}

#[async_trait]
impl Platform for Paper {
    async fn sights(&self) -> Answer<Arc<Sights>> {
        self.fine()?;
        *self.looks.lock().unwrap() += 1;
        let waiting = *self.waiting.lock().unwrap();
        let relay = |name: &str, state| Relay {
            id: format!("{name}-1-abcdef0"),
            name: name.to_owned(),
            host: hostile(),
            state,
            seen_at: NOW,
            started_at: NOW,
            connections: 3,
            leased: 9,
            budget_percent: 62,
            pressed_by: vec![hostile()],
            pools: vec![hostile()],
            drain_order: (state == "draining").then_some(5),
        };
        Ok(Arc::new(Sights {
            at: NOW,
            servers: vec![Server {
                name: hostile(),
                memory_bytes: 5_000_000,
                memory_max_bytes: 0,
                latency_ms: 0.1,
                is_persisting: false,
            }],
            relays: vec![relay("one", "live"), relay("two", "draining"), relay("three", "silent")],
            waiting: vec![Waiting { priority: 1, recipients: waiting, oldest_s: 75.0 }],
            campaigns: vec![("running".into(), 1)],
            paces: vec![pace()],
            outbox_fullness: 0.75,
            feedback_waiting: 2,
        }))
    }

    async fn site(&self, source: &str, site: &str) -> Answer<SiteSeen> {
        self.fine()?;
        if source == "-" {
            return Err(Trouble::Absent(format!("pace of {source} at {site}")));
        }
        let change = |rate| ChangeSeen {
            number: "2026-11.5".into(),
            at: Timestamp(NOW.0 - 60_000),
            what: hostile(),
            rate,
            reply: Some(hostile()),
        };
        Ok(SiteSeen {
            pace: Pace { source: source.into(), site: site.into(), ..pace() },
            messages_per_connection: 50,
            rate_bounds: (0.1, 5000.0),
            blocked_with: Some(hostile()),
            held_until: Some(NOW),
            orders: vec![OrderSeen {
                id: 3,
                what: hostile(),
                by: hostile(),
                why: hostile(),
                at: NOW,
                until: Some(NOW),
            }],
            changes: vec![change(Some(12.0)), change(None)],
        })
    }

    async fn campaigns(&self, _: Option<&str>) -> Answer<CampaignPage> {
        self.fine()?;
        Ok(CampaignPage { campaigns: vec![campaign(CampaignId(7))], next: Some("c7".into()) })
    }

    async fn campaign(&self, id: CampaignId) -> Answer<CampaignSeen> {
        self.fine()?;
        Ok(campaign(id))
    }

    async fn stats(&self, question: StatsQuestion) -> Answer<StatsAnswer> {
        self.fine()?;
        let accounts = Counters {
            delivered: 90,
            failed: 10,
            deferrals: 5,
            returned: 2,
            ..Counters::default()
        };
        let measures = Measures { accounts, ..Measures::default() };
        let of = match question.by.first() {
            Some(by) if by.is_time() => question.since.to_string(),
            Some(by) if by.as_str() == "category" => "no-mailbox".to_owned(),
            Some(by) if by.as_str() == "campaign" => "c7".to_owned(),
            _ => hostile(),
        };
        let before = question.with_before.then_some(measures);
        let row = StatsRow { of: vec![of], measures, before };
        Ok(StatsAnswer {
            since: question.since,
            until: question.until,
            by: question.by,
            total: row.clone(),
            rows: vec![row],
            cut: 0,
        })
    }

    async fn trace(&self, _: TraceFilter, _: usize, _: Option<Cursor>) -> Answer<TracePage> {
        self.fine()?;
        let next = Some("2026-11.6".parse().unwrap());
        Ok(TracePage { entries: vec![entry()], next, is_unfinished: true })
    }

    async fn story(&self, address: &str) -> Answer<Story> {
        self.fine()?;
        let chapter = Chapter { campaign: None, delivery: None, entries: vec![entry()] };
        Ok(Story { address: address.into(), chapters: vec![chapter], is_cut: true })
    }

    async fn suppressions(
        &self,
        _: &str,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Answer<SuppressionPage> {
        self.fine()?;
        let suppression = SuppressionSeen {
            address: "bob@example.org".into(),
            reason: hostile(),
            category: Some("no-mailbox".into()),
            at: NOW,
            evidence: hostile(),
            expires_at: Some(NOW),
        };
        Ok(SuppressionPage { suppressions: vec![suppression], next: Some("1.7".into()) })
    }

    async fn alarms(&self) -> Answer<AlarmsSeen> {
        self.fine()?;
        let alarm = |standing| Alarm {
            condition: Condition::SiteBounces,
            subject: hostile(),
            standing,
            since: NOW,
            raised_at: Some(NOW),
            told_at: None,
            value: 0.3,
            says: hostile(),
        };
        let silence = Silence {
            id: 4,
            condition: None,
            subject: hostile(),
            until: Timestamp(NOW.0 + 1),
            by: hostile(),
            why: hostile(),
            at: NOW,
        };
        Ok(AlarmsSeen {
            alarms: vec![alarm(Standing::Raised), alarm(Standing::Rising)],
            silences: vec![silence],
            untold: 3,
            looked_at: NOW,
            is_told: false,
            at: NOW,
        })
    }

    async fn act(&self, hand: Hand, deed: Deed) -> Answer<()> {
        self.fine()?;
        self.deeds.lock().unwrap().push((hand.by, hand.why, deed));
        Ok(())
    }
}
