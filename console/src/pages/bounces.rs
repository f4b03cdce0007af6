//! Failures and what came back: why, where, of which campaigns, over time.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use ledger::{GroupBy, Sort, StatsAnswer, StatsQuestion};
use mail::plain::{Lang, explain};
use mail::{CampaignId, Category};
use minijinja::{Value, context};

use super::period::{COMPLAINED, FAILED, Period, RETURNED, drawn};
use super::{Asked, Fields, address, campaign_of, given, now, show};
use crate::Console;
use crate::chart::Room;
use crate::platform::Answer;
use crate::render::value;
use crate::viewer::Viewer;

/// Rows of each table.
const ROWS: usize = 25;

pub(crate) async fn page(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, given(asked), viewer.taste.lang).await;
    show(&console, &viewer, "bounces.html", content)
}

async fn content(console: &Console, asked: Fields, lang: Lang) -> Answer<Value> {
    let (period, at) = (Period::of(&asked, Period::Day)?, now());
    let campaign = asked.get("campaign").map(|text| campaign_of(text)).transpose()?;
    let site = asked.get("site").cloned();
    let narrowed = |question| StatsQuestion { campaign, site: site.clone(), ..question };
    let table = async |what: GroupBy| {
        let question =
            StatsQuestion { sort: Sort::Failed, limit: ROWS, ..period.by_what(what, at) };
        console.platform.stats(narrowed(question)).await
    };
    let over_time = console.platform.stats(narrowed(period.question(at))).await?;
    let (categories, sites, campaigns) = (
        table(GroupBy::Category).await?,
        table(GroupBy::Site).await?,
        table(GroupBy::Campaign).await?,
    );
    let total = over_time.total.measures;
    let (none, names) = (HashMap::new(), names(console, &campaigns).await);
    Ok(context! {
        nav => "bounces",
        period => period.as_str(),
        periods => period.choice("/console/bounces", &asked),
        asked => value(&asked),
        everything => address("/console/bounces", &Fields::from([("period".to_owned(), period.as_str().to_owned())])),
        chart => drawn(Room::Wide, period, &over_time, at, &[FAILED, RETURNED, COMPLAINED]),
        total => value(total.to_json()),
        ended => total.ended(),
        categories => rows(&categories, &asked, "category", "/console/trace", lang, &none),
        sites => rows(&sites, &asked, "site", "/console/bounces", lang, &none),
        campaigns => rows(&campaigns, &asked, "campaign", "/console/bounces", lang, &names),
    })
}

/// What the owners of these campaigns call them, as far as they are still there.
async fn names(console: &Console, campaigns: &StatsAnswer) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for id in campaigns.rows.iter().filter_map(|row| row.of.first()?.parse::<CampaignId>().ok()) {
        if let Ok(seen) = console.platform.campaign(id).await {
            names.insert(id.to_string(), seen.name);
        }
    }
    names
}

/// Rows with something that failed, each with the way further down.
fn rows(
    answer: &StatsAnswer,
    asked: &Fields,
    name: &str,
    page: &str,
    lang: Lang,
    names: &HashMap<String, String>,
) -> Vec<Value> {
    let row = |row: &ledger::StatsRow| {
        let of = row.of.first()?;
        let accounts = &row.measures.accounts;
        let failed = accounts.failed + accounts.expired;
        if of.is_empty()
            || failed + accounts.returned + accounts.complained + accounts.deferrals == 0
        {
            return None;
        }
        let mut fields = asked.clone();
        fields.insert(name.to_owned(), of.clone());
        if page.ends_with("trace") {
            let period = fields.remove("period").unwrap_or_else(|| "24h".to_owned());
            fields.insert("since".to_owned(), period);
        }
        let plain = Category::from_word(of).map(|category| explain(category, lang).what);
        let row = context! {
            of => of.clone(), name => names.get(of).cloned(), plain, failed, returned => accounts.returned, complained => accounts.complained,
            deferred => accounts.deferrals, ended => row.measures.ended(),
            href => address(page, &fields),
        };
        Some((failed + accounts.returned, row))
    };
    let mut rows: Vec<(u64, Value)> = answer.rows.iter().filter_map(row).collect();
    rows.sort_by_key(|(lost, _)| std::cmp::Reverse(*lost));
    let most = rows.first().map_or(1, |(lost, _)| (*lost).max(1));
    let shown = |(lost, row): (u64, Value)| context! { share => lost as f64 / most as f64, ..row };
    rows.into_iter().map(shown).collect()
}
