//! Campaigns as clients see them, and the notes that the API keeps with them.

use std::collections::BTreeMap;

use mail::queue::Counters;
use mail::window::Window;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Campaign, CampaignRecord, CampaignStatus, Durability, StartAt};

use crate::intake::Totals;
use crate::{attachments, lifecycle};

/// Notes of a campaign: what closing found, values for missing fields, where its upload lies.
pub(crate) const INTAKE_NOTE: &str = "intake";
pub(crate) const DEFAULTS_NOTE: &str = "defaults";
pub(crate) const STAGED_NOTE: &str = "staged_at";

/// What closing found in the upload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Intake {
    lines: u64,
    refused: u64,
    duplicates: u64,
    recipients: u64,
}

impl From<Totals> for Intake {
    fn from(totals: Totals) -> Self {
        let Totals { lines, refused, duplicates, recipients } = totals;
        Self { lines, refused, duplicates, recipients }
    }
}

/// Values for recipients that bring none.
pub(crate) fn defaults(campaign: &Campaign) -> BTreeMap<String, String> {
    let note = campaign.notes.get(DEFAULTS_NOTE);
    note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The API instance on whose disk the upload lies.
pub(crate) fn staged_at(campaign: &Campaign) -> Option<&str> {
    campaign.notes.get(STAGED_NOTE).map(String::as_str)
}

/// What creation answers; the same whenever it is repeated.
pub(crate) fn created(id: mail::CampaignId, record: &CampaignRecord, level: Durability) -> Value {
    json!({
        "id": id.to_string(),
        "name": record.name,
        "tenant": record.tenant,
        "status": "draft",
        "created_at": record.created_at.to_string(),
        "durability": level.as_str(),
        "possible": ["upload", "close", "cancel"],
    })
}

/// A line of the list.
pub(crate) fn brief(campaign: &Campaign) -> Value {
    let record = &campaign.record;
    json!({
        "id": campaign.id.to_string(),
        "name": record.name,
        "tenant": record.tenant,
        "status": campaign.status.as_str(),
        "changed_at": campaign.changed_at.to_string(),
        "created_at": record.created_at.to_string(),
        "created_by": record.created_by,
        "request": record.request,
        "possible": lifecycle::possible(campaign),
    })
}

/// Everything about one campaign.
pub(crate) fn whole(campaign: &Campaign, counters: &Counters, level: Durability) -> Value {
    let mut view = brief(campaign);
    let intake: Option<Intake> =
        campaign.notes.get(INTAKE_NOTE).and_then(|text| serde_json::from_str(text).ok());
    view["durability"] = json!(level.as_str());
    view["definition"] = definition(campaign);
    view["attachments"] = json!(attachments::views(&campaign.files));
    let has_refused = intake.as_ref().is_some_and(|i| i.refused > 0);
    let report = has_refused.then(|| format!("/v1/campaigns/{}/recipients/refused", campaign.id));
    view["intake"] = json!(intake);
    view["refused_report"] = json!(report);
    view["progress"] = progress(counters);
    view["gate"] = gate(campaign);
    view
}

/// What the gates found of it, and whether it is paused by them now.
fn gate(campaign: &Campaign) -> Value {
    let memory = &campaign.gate;
    let found: Vec<Value> = memory
        .found
        .iter()
        .map(|note| {
            json!({
                "gate": note.gate,
                "did": note.level,
                "at": note.at.to_string(),
                "reason": note.reason,
            })
        })
        .collect();
    let pause = memory.pause().filter(|_| campaign.status == CampaignStatus::Paused);
    json!({
        "paused_by": pause.map(|note| note.gate),
        "reason": pause.map(|note| note.reason.as_str()),
        "resumed_at": memory.resumed_at.map(|at| at.to_string()),
        "found": found,
    })
}

fn definition(campaign: &Campaign) -> Value {
    let record = &campaign.record;
    let template = &record.template;
    let headers: Vec<Value> =
        template.headers.iter().map(|(n, v)| json!({ "name": n, "value": v })).collect();
    let start_at = match record.start {
        StartAt::Now => None,
        StartAt::At(at) => Some(at.to_string()),
    };
    json!({
        "from": { "name": template.from_name, "address": template.from_address.as_str() },
        "reply_to": template.reply_to.as_ref().map(|a| a.as_str()),
        "subject": template.subject,
        "text": template.text,
        "html": template.html,
        "headers": headers,
        "fields": template.fields,
        "defaults": defaults(campaign),
        "pool": record.pool,
        "priority": record.priority,
        "weight": record.weight,
        "start_at": start_at,
        "lifetime_s": record.lifetime_s,
        "require_tls": record.require_tls,
        "gates": record.gates,
        "window": record.window.as_ref().map(window),
    })
}

fn window(window: &Window) -> Value {
    let days: Vec<&str> = window.days.iter().map(|day| day.as_str()).collect();
    json!({
        "from": window.from.to_string(),
        "until": window.until.to_string(),
        "days": days,
        "timezone": window.zone,
    })
}

fn progress(counters: &Counters) -> Value {
    let percent = |n: u64| match counters.accepted {
        0 => 0.0,
        all => (n as f64 * 1000.0 / all as f64).floor() / 10.0,
    };
    json!({
        "accepted": counters.accepted,
        "delivered": counters.delivered,
        "failed": counters.failed,
        "suppressed": counters.suppressed,
        "expired": counters.expired,
        "cancelled": counters.cancelled,
        "set_aside": counters.set_aside,
        "waiting": counters.waiting,
        "deferrals": counters.deferrals,
        "returned": counters.returned,
        "complained": counters.complained,
        "duplicates": counters.duplicates,
        "imbalance": counters.imbalance(),
        "percent": {
            "done": percent(counters.accepted.saturating_sub(counters.waiting)),
            "delivered": percent(counters.delivered),
            "failed": percent(counters.failed),
        },
    })
}
