//! What the platform ordered by itself: holds at sites, and campaigns that gates paused. Listed
//! with the orders of operators, and ended by them in the same way.

use std::time::Duration;

use anyhow::bail;
use mail::CampaignId;
use mail::gate::Note;
use mail::holds::{Hold, Kind, Standing};
use mail::links::link_domains;
use mail::orders::Scope;
use serde_json::{Value, json};
use store::{CampaignRecord, CampaignStatus};

use super::order::Hand;
use super::signed::Signed;
use crate::commands::now;

/// Every relay hears what changed within a second.
pub(in crate::commands) const HEARD_WITHIN: Duration = Duration::from_millis(1500);

/// What holds by itself.
pub(super) struct Automatic {
    holds: Vec<Hold>,
    paused: Vec<(CampaignId, Note)>,
}

impl Automatic {
    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.paused.is_empty()
    }

    pub(super) fn holds_as_json(&self) -> Value {
        let hold = |hold: &Hold| {
            json!({
                "id": hold.id,
                "kind": hold.key.kind,
                "name": hold.key.name,
                "site": hold.key.site,
                "by": "automatic",
                "cause": hold.cause,
                "reason": hold.reason,
                "answer": hold.answer,
                "since": hold.since.map(|at| at.to_string()),
                "until": hold.until.to_string(),
                "on_trial": hold.standing(now()) == Standing::Trial,
            })
        };
        self.holds.iter().map(hold).collect()
    }

    pub(super) fn paused_as_json(&self) -> Value {
        let paused = |(id, note): &(CampaignId, Note)| {
            json!({
                "campaign": id.to_string(),
                "by": format!("gate {}", note.gate),
                "at": note.at.to_string(),
                "reason": note.reason,
            })
        };
        self.paused.iter().map(paused).collect()
    }

    pub(super) fn print(&self) {
        for hold in &self.holds {
            let since = hold.since.unwrap_or(hold.until);
            let how_on = match hold.standing(now()) {
                Standing::Trial => ", on trial: a message a second goes".to_owned(),
                Standing::Free | Standing::Held(_) => format!(", until {}", hold.until),
            };
            println!("{:>4}  {hold}  by automatic at {since}{how_on}: {}", hold.id, hold.reason);
            if !hold.answer.is_empty() {
                println!("      last: {}", hold.answer);
            }
        }
        for (id, Note { gate, at, reason, .. }) in &self.paused {
            println!("   -  pause campaign {id}  by gate {gate} at {at}: {reason}");
            println!("      `malleposte queue resume campaign {id} --why …` lets it go on");
        }
    }
}

impl Hand<'_> {
    /// What holds by itself now.
    pub(super) async fn automatic(&self) -> anyhow::Result<Automatic> {
        let holds = self.store.holds(now()).await?;
        let mut paused = Vec::new();
        for (id, status) in self.store.active_campaigns().await? {
            if status != CampaignStatus::Paused {
                continue;
            }
            // One that does not read is found by `queue show`.
            if let Ok(Some(campaign)) = self.store.campaign(id).await
                && let Some(note) = campaign.gate.pause()
            {
                paused.push((id, note.clone()));
            }
        }
        paused.sort_by_key(|(id, _)| *id);
        Ok(Automatic { holds, paused })
    }

    /// Ends a hold by its number, if there is one; what it held goes at once.
    pub(super) async fn undo_hold(&self, id: u64, signed: &Signed) -> anyhow::Result<bool> {
        let respite = Duration::from_secs(self.config.relay.holds.respite_s);
        let undone = self.store.cancel_hold(id, &signed.by(), &signed.why, now(), respite).await?;
        let Some(hold) = undone else { return Ok(false) };
        // Who has not heard of it would put back what is due now.
        tokio::time::sleep(HEARD_WITHIN).await;
        for (campaign, _) in self.store.active_campaigns().await? {
            let Ok(Some(found)) = self.store.campaign(campaign).await else { continue };
            if is_held(&hold, campaign, &found.record) {
                self.store.expedite(campaign).await?;
            }
        }
        let minutes = respite.as_secs() / 60;
        self.voice.say(
            || format!("order {id} is undone: {hold}; it is not held again for {minutes} minutes"),
            || json!({ "hold": hold, "is": "is undone" }),
        );
        Ok(true)
    }

    /// Lets a paused campaign go on.
    pub(super) async fn resume_campaign(
        &self,
        scope: &Scope,
        signed: &Signed,
    ) -> anyhow::Result<bool> {
        let id: CampaignId = scope.name.parse()?;
        let Some(campaign) = self.store.campaign(id).await? else { return Ok(false) };
        if campaign.status != CampaignStatus::Paused {
            return Ok(false);
        }
        match campaign_api::resume(self.store, campaign, &signed.by()).await? {
            Err(why) => bail!(why),
            Ok(campaign) => {
                self.tell_about(id, &format!("resume campaign {id}"), signed).await?;
                self.say_campaign(id, campaign.status);
                Ok(true)
            }
        }
    }
}

pub(in crate::commands) fn is_held(hold: &Hold, id: CampaignId, record: &CampaignRecord) -> bool {
    let (name, template) = (hold.key.name.as_str(), &record.template);
    match hold.key.kind {
        Kind::SenderDomain => template.from_address.domain_str().eq_ignore_ascii_case(name),
        Kind::Tenant => record.tenant == name,
        Kind::Campaign => id.to_string() == name,
        Kind::LinkDomain => {
            let bodies = [&template.text, &template.html];
            let texts = bodies.into_iter().flatten().map(String::as_str);
            link_domains(texts).iter().any(|domain| domain == name)
        }
    }
}
