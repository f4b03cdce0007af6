//! What happened: entries that fit, and everything that happened to one address.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use ledger::{Cursor, Entry, TraceWish};
use mail::Category;
use mail::event::EventKind;
use mail::plain::{Lang, explain_told, phrase};
use minijinja::{Value, context};

use super::{Asked, Fields, address, given, now, show};
use crate::Console;
use crate::platform::{Answer, Trouble};
use crate::render::value;
use crate::viewer::Viewer;

/// Entries of a page.
const ENTRIES: usize = 50;

pub(crate) async fn page(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Asked,
) -> Response {
    let content = content(&console, given(asked), viewer.taste.lang).await;
    show(&console, &viewer, "trace.html", content)
}

async fn content(console: &Console, asked: Fields, lang: Lang) -> Answer<Value> {
    let mut wish = asked.clone();
    let cursor = wish.remove("cursor");
    let cursor = cursor.map(|text| {
        text.parse::<Cursor>()
            .map_err(|_| Trouble::Refused(format!("cursor: {text:?} was not made here")))
    });
    let read = serde_json::from_value::<TraceWish>(serde_json::json!(wish));
    let wish = read.map_err(|error| Trouble::Refused(error.to_string()))?;
    let filter = wish.filter(now()).map_err(|wrong| Trouble::Refused(wrong.to_string()))?;
    let page = console.platform.trace(filter, ENTRIES, cursor.transpose()?).await?;
    let next = page.next.map(|next| {
        let mut fields = asked.clone();
        fields.insert("cursor".to_owned(), next.to_string());
        address("/console/trace", &fields)
    });
    let kinds: Vec<Value> = EventKind::ALL
        .iter()
        .map(|kind| context! { word => kind.as_str(), phrase => phrase(*kind, lang) })
        .collect();
    Ok(context! {
        nav => "trace",
        asked => value(&asked),
        kinds,
        categories => Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>(),
        entries => page.entries.iter().map(|entry| row(entry, lang)).collect::<Vec<_>>(),
        is_unfinished => page.is_unfinished,
        next,
    })
}

pub(crate) async fn story(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Path(address): Path<String>,
) -> Response {
    let lang = viewer.taste.lang;
    let content = console.platform.story(&address).await.map(|story| {
        let chapter = |chapter: &ledger::Chapter| {
            context! {
                campaign => chapter.campaign.map(|campaign| campaign.to_string()),
                delivery => chapter.delivery.map(|delivery| delivery.to_string()),
                entries => chapter.entries.iter().map(|entry| row(entry, lang)).collect::<Vec<_>>(),
            }
        };
        context! {
            nav => "trace",
            address => story.address.clone(),
            chapters => story.chapters.iter().rev().map(chapter).collect::<Vec<_>>(),
            is_cut => story.is_cut,
        }
    });
    show(&console, &viewer, "story.html", content)
}

fn row(entry: &Entry, lang: Lang) -> Value {
    let event = &entry.event;
    let explained = explain_told(event, lang);
    context! {
        at => event.at.0,
        kind => event.kind.as_str(),
        phrase => phrase(event.kind, lang),
        judgement => entry.judgement.as_str(),
        campaign => event.campaign.map(|campaign| campaign.to_string()),
        recipient => event.recipient.as_str(),
        count => event.count,
        relay => event.service.as_str(),
        source => event.source.as_str(),
        site => event.site.as_str(),
        mx => event.mx.as_str(),
        phase => event.phase.map(|phase| phase.as_str()),
        category => event.category.map(|category| category.as_str()),
        tls => event.tls.as_str(),
        reply => event.reply.as_ref().map(ToString::to_string),
        note => event.note.as_str(),
        next_at => event.next_at.map(|at| at.0),
        what => explained.as_ref().map(|explained| explained.what.clone()),
        todo => explained.as_ref().map(|explained| explained.todo.clone()),
    }
}
