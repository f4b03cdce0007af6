//! `/u/{token}/{address}`: the link in every message (RFC 8058). A mail provider posts to
//! it on the reader's click; a reader who follows it gets a page with one button. Looking
//! changes nothing, because scanners follow links. No cookie, no redirect, no key.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mail::Event;
use mail::event::EventKind;
use mail::hygiene::Reason;
use mail::unsubscribe::{Unsubscription, verify};
use store::{StoreError, SuppressionRecord};

use crate::{App, clock};

/// What the page says, in one language.
struct Words {
    lang: &'static str,
    title: &'static str,
    question: &'static str,
    button: &'static str,
    done: &'static str,
    bad: &'static str,
    later: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Unsubscribe",
    question: "No more messages from this sender to",
    button: "Unsubscribe",
    done: "Done. There will be no more messages from this sender to",
    bad: "This link is damaged or not ours. Use the one in the message, in full.",
    later: "This does not work at the moment. Please try again in a few minutes.",
};

const FRENCH: Words = Words {
    lang: "fr",
    title: "Se désabonner",
    question: "Ne plus recevoir de messages de cet expéditeur à l’adresse",
    button: "Me désabonner",
    done: "C’est fait. Cet expéditeur n’écrira plus à l’adresse",
    bad: "Ce lien est abîmé ou ne vient pas d’ici. Utilisez celui du message, en entier.",
    later: "Cela ne fonctionne pas pour le moment. Réessayez dans quelques minutes.",
};

/// `GET`: asks.
pub(crate) async fn page(
    State(app): State<App>,
    Path((token, address)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let words = words(&headers);
    match verify(&app.links, &token, &address) {
        Err(_) => html(words, StatusCode::NOT_FOUND, &paragraph(words.bad, "")),
        Ok(link) => {
            let form = format!(
                "{}<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" \
                 value=\"One-Click\"><button>{}</button></form>",
                paragraph(words.question, &link.address),
                words.button
            );
            html(words, StatusCode::OK, &form)
        }
    }
}

/// `POST`: does it, as often as it is asked. What the body says is not looked at: providers
/// differ in how they encode it, and nobody posts here by chance.
pub(crate) async fn confirm(
    State(app): State<App>,
    Path((token, address)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let words = words(&headers);
    let Ok(link) = verify(&app.links, &token, &address) else {
        return html(words, StatusCode::NOT_FOUND, &paragraph(words.bad, ""));
    };
    match unsubscribe(&app, &link).await {
        Ok(true) => html(words, StatusCode::OK, &paragraph(words.done, &link.address)),
        Ok(false) => html(words, StatusCode::NOT_FOUND, &paragraph(words.bad, "")),
        Err(error) => {
            let error = store::chain(&error);
            tracing::warn!(campaign = %link.campaign, %error, "an unsubscription was not stored");
            html(words, StatusCode::SERVICE_UNAVAILABLE, &paragraph(words.later, ""))
        }
    }
}

/// Answers `false` when the campaign is not known any more.
async fn unsubscribe(app: &App, link: &Unsubscription) -> Result<bool, StoreError> {
    let Some(campaign) = app.store.campaign(link.campaign).await? else { return Ok(false) };
    let tenant = campaign.record.tenant.as_str();
    let address = link.address.to_lowercase();
    let now = clock::now();
    let record = SuppressionRecord {
        reason: Reason::Unsubscribed.as_str().into(),
        category: None,
        at: now,
        evidence: format!("link of campaign {}", link.campaign),
        delivery: Some(link.delivery),
        expires_at: None,
    };
    let event = |kind| Event {
        campaign: Some(link.campaign),
        delivery: Some(link.delivery),
        recipient: link.address.clone(),
        service: "api".into(),
        note: format!("for {tenant} by unsubscribe link"),
        ..Event::new(kind, now)
    };
    let events = [event(EventKind::Unsubscribed), event(EventKind::SuppressionAdded)];
    // The platform's list is another matter: its reasons may end, this one holds.
    let is_known = |known: Option<&SuppressionRecord>| {
        known.is_some_and(|known| known.reason == record.reason && known.holds(now))
    };
    let about = (tenant, address.as_str());
    if app.store.change_listing(about, Some(&record), &events, is_known).await? {
        metrics::counter!("malleposte_api_unsubscriptions_total").increment(1);
    }
    Ok(true)
}

/// French for those who prefer it to English.
fn words(headers: &HeaderMap) -> &'static Words {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let weight = |wanted: &str| {
        let ranges = accepted.unwrap_or_default().split(',').take(20);
        let weights = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next()?.split('-').next()?;
            let q = parts.find_map(|p| p.strip_prefix("q=")).unwrap_or("1");
            tag.eq_ignore_ascii_case(wanted).then(|| q.parse().unwrap_or(0.0))
        });
        weights.fold(0.0_f32, f32::max)
    };
    if weight("fr") > weight("en") { &FRENCH } else { &ENGLISH }
}

fn paragraph(text: &str, address: &str) -> String {
    let mut escaped = String::with_capacity(address.len());
    for c in address.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    format!("<p>{text} <b>{escaped}</b></p>")
}

fn html(words: &Words, status: StatusCode, content: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"{lang}\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>body{{font:1.1rem sans-serif;max-width:32rem;margin:4rem auto;\
         padding:0 1rem}}button{{font:inherit;padding:.6rem 1.2rem}}</style>\
         <h1>{title}</h1>{content}</html>",
        lang = words.lang,
        title = words.title,
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LANGUAGE, words.lang),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
        ),
        (header::VARY, "Accept-Language"),
    ];
    (status, headers, page).into_response()
}
