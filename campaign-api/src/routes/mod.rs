//! The resources, one file each. What they decide is in the modules beside.

pub(crate) mod attachments;
pub(crate) mod campaigns;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod lists;
pub(crate) mod recipients;
pub(crate) mod unsubscribe;
pub(crate) mod verbs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mail::CampaignId;
use store::Campaign;

use crate::App;
use crate::auth::Caller;
use crate::problem::{Answer, Problem};

/// A campaign that exists for the caller.
async fn find(app: &App, caller: &Caller, id: CampaignId) -> Answer<Campaign> {
    let campaign = app.store.campaign(id).await?.filter(|c| caller.sees(&c.record.tenant));
    campaign.ok_or_else(|| Problem::not_found(format!("campaign {id}")))
}

/// A place in a list, opaque to clients.
fn cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

fn place(cursor: &str) -> Answer<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|b| String::from_utf8(b).ok()).ok_or_else(bad_cursor)
}

fn bad_cursor() -> Problem {
    Problem::unprocessable("bad-cursor", "this cursor was not made here; begin without one")
}

/// How many entries a page has.
fn page_size(asked: Option<usize>) -> usize {
    const ORDINARY: usize = 50;
    const MAX: usize = 500;
    asked.unwrap_or(ORDINARY).clamp(1, MAX)
}
