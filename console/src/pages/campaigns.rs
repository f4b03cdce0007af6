//! Campaigns: how far they are, when they end, who did not get them and why.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use ledger::{GroupBy, StatsAnswer, StatsQuestion, StatsRow};
use mail::plain::{Lang, explain};
use mail::queue::Counters;
use mail::{CampaignId, Category, Timestamp};
use minijinja::{Value, context};

use super::period::{DEFERRED, DELIVERED, FAILED, Period, drawn};
use super::{Asked, Fields, address, given, if_here, now, show};
use crate::Console;
use crate::chart::Room;
use crate::platform::{Answer, CampaignSeen, Trouble};
use crate::render::value;
use crate::viewer::Viewer;

/// What the time to the end is judged from.
const LATELY_MS: u64 = 5 * 60_000;
/// Categories of a campaign.
const REASONS: usize = 50;

pub(crate) async fn list(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let content = listed(&console, given(asked)).await;
    show(&console, &viewer, "campaigns.html", content)
}

async fn listed(console: &Console, mut asked: Fields) -> Answer<Value> {
    let page = console.platform.campaigns(asked.get("cursor").map(String::as_str)).await?;
    let speeds = speeds(console).await?;
    let rows: Vec<Value> = page.campaigns.iter().map(|one| row(one, &speeds)).collect();
    let next = page.next.map(|next| {
        asked.insert("cursor".to_owned(), next);
        address("/console/campaigns", &asked)
    });
    Ok(context! { nav => "campaigns", campaigns => rows, next })
}

pub(crate) async fn campaign(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, &id, given(asked), viewer.taste.lang).await;
    show(&console, &viewer, "campaign.html", content)
}

async fn content(console: &Console, id: &str, asked: Fields, lang: Lang) -> Answer<Value> {
    let absent = || Trouble::Absent(format!("campaign {id:?}"));
    let id: CampaignId = id.parse().map_err(|_| absent())?;
    let (period, at) = (Period::of(&asked, Period::Hour)?, now());
    let seen = console.platform.campaign(id).await?;
    let of_it = |question| StatsQuestion { campaign: Some(id), ..question };
    let page = format!("/console/campaigns/{id}");
    let told = async {
        let over_time = console.platform.stats(of_it(period.question(at))).await?;
        let all = StatsQuestion::between(seen.created_at, at);
        let by = StatsQuestion { by: vec![GroupBy::Category], limit: REASONS, ..all };
        let reasons = console.platform.stats(of_it(by)).await?;
        Ok::<_, Trouble>((over_time, reasons))
    };
    let told = if_here(told.await)?;
    let speeds = speeds(console).await?;
    Ok(context! {
        nav => "campaigns",
        period => period.as_str(),
        periods => period.choice(&page, &asked),
        campaign => row(&seen, &speeds),
        chart => told.as_ref().map(|(h, _)| drawn(Room::Wide, period, h, at, &[DELIVERED, DEFERRED, FAILED])),
        reasons => told.as_ref().map(|(_, all)| reasons(all, lang)),
    })
}

/// Recipients a second that came to an end lately, by campaign.
async fn speeds(console: &Console) -> Answer<HashMap<String, f64>> {
    let at = now();
    let lately = StatsQuestion::between(Timestamp(at.0.saturating_sub(LATELY_MS)), at);
    let question = StatsQuestion { by: vec![GroupBy::Campaign], ..lately };
    let answer = match console.platform.stats(question).await {
        Ok(answer) => answer,
        Err(Trouble::Elsewhere | Trouble::Busy) => return Ok(HashMap::new()),
        Err(trouble) => return Err(trouble),
    };
    let seconds = (answer.until.0 - answer.since.0) as f64 / 1000.0;
    let speed =
        |row: StatsRow| Some((row.of.first()?.clone(), row.measures.ended() as f64 / seconds));
    Ok(answer.rows.into_iter().filter_map(speed).collect())
}

fn row(seen: &CampaignSeen, speeds: &HashMap<String, f64>) -> Value {
    let Counters { accepted, waiting, .. } = seen.counters;
    let done = if accepted == 0 {
        0.0
    } else {
        (accepted - waiting.min(accepted)) as f64 / accepted as f64
    };
    let speed = speeds.get(&seen.id.to_string()).copied().filter(|speed| *speed > 0.0);
    let is_running = seen.status == "running" && waiting > 0;
    context! {
        done,
        left_s => speed.filter(|_| is_running).map(|speed| waiting as f64 / speed),
        id => seen.id.to_string(),
        seen => value(seen),
    }
}

/// Why recipients did not get it, in words, the most frequent first.
fn reasons(all: &StatsAnswer, lang: Lang) -> Vec<Value> {
    let reason = |row: &StatsRow| {
        let category = Category::from_word(row.of.first()?)?;
        let plain = explain(category, lang);
        let accounts = &row.measures.accounts;
        let failed = accounts.failed + accounts.expired + accounts.returned;
        (failed + accounts.deferrals + accounts.complained > 0).then(|| {
            context! {
                category => category.as_str(), what => plain.what, todo => plain.todo, failed,
                deferred => accounts.deferrals, complained => accounts.complained,
            }
        })
    };
    all.rows.iter().filter_map(reason).collect()
}
