//! The first page: how fast mail goes, what waits, what binds, and whether all is well.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use ledger::StatsAnswer;
use mail::Timestamp;
use mail::plain::Lang;
use mail::throttle::Binding;
use minijinja::{Value, context};

use super::alarms::row;
use super::period::{DEFERRED, DELIVERED, FAILED, Period, drawn};
use super::{Asked, Fields, given, if_here, now, show};
use crate::Console;
use crate::chart::Room;
use crate::platform::{Answer, Sights};
use crate::render::value;
use crate::viewer::Viewer;

/// Paces of those that have something to do.
const PACES: usize = 8;
const MINUTE_MS: u64 = 60_000;

pub(crate) async fn page(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, given(asked), viewer.taste.lang).await;
    show(&console, &viewer, "overview.html", content)
}

async fn content(console: &Console, asked: Fields, lang: Lang) -> Answer<Value> {
    let period = Period::of(&asked, Period::Hour)?;
    let at = now();
    let sights = console.platform.sights().await?;
    let seen = console.platform.alarms().await?;
    let raised = seen.alarms.iter().filter(|alarm| alarm.is_raised());
    let alarms: Vec<Value> = raised.map(|alarm| row(alarm, &seen, lang)).collect();
    let mut question = period.question(at);
    question.with_before = true;
    let history = if_here(console.platform.stats(question).await)?;
    let lately = match (&history, period) {
        (Some(answer), Period::Hour) => Some(per_second(answer, at)),
        (Some(_), _) => {
            let answer = console.platform.stats(Period::Hour.question(at)).await?;
            Some(per_second(&answer, at))
        }
        (None, _) => None,
    };
    Ok(context! {
        nav => "overview",
        period => period.as_str(),
        periods => period.choice("/console", &asked),
        chart => history.as_ref().map(|h| drawn(Room::Wide, period, h, at, &[DELIVERED, DEFERRED, FAILED])),
        total => history.as_ref().map(|h| value(h.total.measures.to_json())),
        before => history.as_ref().and_then(|h| h.total.before.as_ref()).map(|b| value(b.to_json())),
        lately,
        waiting => sights.waiting.iter().map(|waiting| waiting.recipients).sum::<u64>(),
        busy => busy(&sights),
        health => health(&sights),
        alarms => alarms,
        sights => value(&*sights),
    })
}

/// Deliveries a second over the last minute and what there is of this one.
fn per_second(answer: &StatsAnswer, at: Timestamp) -> f64 {
    let this = at.0 / MINUTE_MS * MINUTE_MS;
    let begin = this - MINUTE_MS;
    let is_late = |text: &str| text.parse::<Timestamp>().is_ok_and(|minute| minute.0 >= begin);
    let rows = answer.rows.iter().filter(|row| row.of.first().is_some_and(|of| is_late(of)));
    let delivered: u64 = rows.map(|row| row.measures.accounts.delivered).sum();
    delivered as f64 * 1000.0 / (at.0 - begin) as f64
}

fn busy(sights: &Sights) -> Value {
    let at_work = sights.paces.iter().filter(|pace| pace.waiting > 0 || pace.is_blocked);
    let mut paces: Vec<_> = at_work.collect();
    // What a person can do something about comes first; of the others, those with the most to do.
    paces.sort_by_key(|pace| match pace.binding {
        Binding::Hold | Binding::Ceiling => 0,
        Binding::Rate | Binding::Connections => 1,
        Binding::Answers | Binding::Nothing => 2,
    });
    value(paces.into_iter().take(PACES).collect::<Vec<_>>())
}

/// What is not as it should be, as keys of words with what fills them; empty: all is well.
fn health(sights: &Sights) -> Vec<Value> {
    let mut found = Vec::new();
    let mut say = |key: &str, n: f64| found.push(context! { key, n });
    let count = |state: &str| sights.relays.iter().filter(|relay| relay.state == state).count();
    if sights.servers.is_empty() {
        say("no_redis", 0.0);
    }
    if count("live") == 0 {
        say("no_relay", 0.0);
    }
    if count("silent") > 0 {
        say("silent_relays", count("silent") as f64);
    }
    if sights.servers.iter().any(|server| !server.is_persisting) {
        say("not_persisting", 0.0);
    }
    let blocked = sights.paces.iter().filter(|pace| pace.is_blocked).count();
    if blocked > 0 {
        say("blocked", blocked as f64);
    }
    if sights.outbox_fullness > 0.5 {
        say("outbox", sights.outbox_fullness);
    }
    let pressed = sights.relays.iter().filter(|r| r.state == "live" && r.budget_percent < 100);
    if pressed.count() > 0 {
        say("pressed", 0.0);
    }
    found
}
