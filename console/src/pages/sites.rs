//! Sites: every source at every site, and one of them over time.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use ledger::StatsQuestion;
use mail::Timestamp;
use minijinja::{Value, context};

use super::period::{DEFERRED, DELIVERED, FAILED, Period, drawn, finished};
use super::{Asked, Fields, given, if_here, now, show};
use crate::Console;
use crate::chart::{Line, Room, Tone};
use crate::platform::{Answer, ChangeSeen, Sights, SiteSeen};
use crate::render::{in_path, value};
use crate::viewer::Viewer;

/// Rows of the list.
const PACES: usize = 200;

pub(crate) async fn list(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let wanted = given(asked).remove("find").unwrap_or_default();
    let sights = console.platform.sights().await;
    let content = sights.map(|sights| listed(&sights, &wanted));
    show(&console, &viewer, "sites.html", content)
}

fn listed(sights: &Sights, wanted: &str) -> Value {
    let folded = wanted.to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&folded);
    let found: Vec<_> = (sights.paces.iter())
        .filter(|pace| {
            fits(&pace.site) || fits(&pace.source) || pace.provider.as_deref().is_some_and(fits)
        })
        .collect();
    let cut = found.len().saturating_sub(PACES);
    context! {
        nav => "sites",
        find => wanted,
        paces => value(found.into_iter().take(PACES).collect::<Vec<_>>()),
        cut,
        all => sights.paces.len(),
    }
}

pub(crate) async fn site(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Path((source, site)): Path<(String, String)>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, &source, &site, given(asked)).await;
    show(&console, &viewer, "site.html", content)
}

async fn content(console: &Console, source: &str, site: &str, asked: Fields) -> Answer<Value> {
    let (period, at) = (Period::of(&asked, Period::Hour)?, now());
    let seen = console.platform.site(source, site).await?;
    let question = StatsQuestion {
        site: Some(site.to_owned()),
        source: Some(source.to_owned()),
        ..period.question(at)
    };
    let answer = if_here(console.platform.stats(question).await)?;
    let page = page_of(source, site);
    Ok(context! {
        nav => "sites",
        period => period.as_str(),
        periods => period.choice(&page, &asked),
        chart => answer.map(|answer| drawn(Room::Half, period, &answer, at, &[DELIVERED, DEFERRED, FAILED])),
        rate => finished(Room::Half, period, at, vec![rate(&seen, period, at)]),
        seen => value(&seen),
    })
}

fn page_of(source: &str, site: &str) -> String {
    format!("/console/sites/{}/{}", in_path(source), in_path(site))
}

/// The rate over time: it steps where it changed.
fn rate(seen: &SiteSeen, period: Period, at: Timestamp) -> Line {
    let since = period.since(at);
    let with_rate = |change: &&ChangeSeen| change.rate.is_some();
    let changes: Vec<&ChangeSeen> = seen.changes.iter().rev().filter(with_rate).collect();
    let before = changes.iter().rev().find(|change| change.at <= since);
    let mut level = before.and_then(|change| change.rate);
    let mut points: Vec<(Timestamp, f64)> = level.map(|level| (since, level)).into_iter().collect();
    for change in changes.iter().filter(|change| change.at > since && change.at <= at) {
        points.extend(level.map(|level| (change.at, level)));
        points.extend(change.rate.map(|rate| (change.at, rate)));
        level = change.rate;
    }
    // What it is now is known in any case.
    if points.is_empty() {
        points.push((since, seen.pace.rate));
    }
    points.push((at, level.unwrap_or(seen.pace.rate)));
    Line { name: "rate", tone: Tone::Plain, is_area: true, points }
}
