//! Alarms: what is wrong, since when, with its evidence; and of what nobody is to be told.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use mail::Timestamp;
use mail::alarm::{Alarm, Condition};
use mail::plain::Lang;
use minijinja::{Value, context};

use super::show;
use crate::Console;
use crate::platform::AlarmsSeen;
use crate::render::value;
use crate::viewer::Viewer;

pub(crate) async fn page(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let seen = console.platform.alarms().await;
    let content = seen.map(|seen| content(&seen, viewer.taste.lang));
    show(&console, &viewer, "alarms.html", content)
}

fn content(seen: &AlarmsSeen, lang: Lang) -> Value {
    let rows = |is_raised| {
        let alarms = seen.alarms.iter().filter(|alarm| alarm.is_raised() == is_raised);
        alarms.map(|alarm| row(alarm, seen, lang)).collect::<Vec<_>>()
    };
    let silence = |silence: &mail::alarm::Silence| {
        let of = silence.condition.map(|condition| condition.title(lang));
        context! { of, silence => value(silence) }
    };
    context! {
        nav => "alarms",
        raised => rows(true),
        rising => rows(false),
        silences => seen.silences.iter().map(silence).collect::<Vec<_>>(),
        conditions => Condition::ALL.iter().map(|condition| {
            context! { word => condition.as_str(), title => condition.title(lang) }
        }).collect::<Vec<_>>(),
        is_told => seen.is_told,
        untold => seen.untold,
        looked_at => (seen.looked_at > Timestamp(0)).then_some(seen.looked_at.0),
    }
}

/// An alarm as pages show it.
pub(super) fn row(alarm: &Alarm, seen: &AlarmsSeen, lang: Lang) -> Value {
    context! {
        condition => alarm.condition.as_str(),
        title => alarm.condition.title(lang),
        is_critical => alarm.condition.rule().is_critical,
        is_silenced => seen.silences.iter().any(|silence| silence.covers(alarm, seen.at)),
        alarm => value(alarm),
    }
}
