//! Who looks at a page, in which language and light; and that no other site sends anything here.

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use mail::plain::Lang;
use serde::{Deserialize, Serialize};

use crate::platform::Answer;
use crate::{Console, Shared};

pub(crate) const SESSION: &str = "malleposte_session";
pub(crate) const DOOR: &str = "malleposte_door";
/// Which deed was just done; the next page says so.
pub(crate) const DONE: &str = "malleposte_done";
const LANG: &str = "malleposte_lang";
const THEME: &str = "malleposte_theme";
const YEAR_S: u64 = 365 * 86_400;

/// Whoever looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Viewer {
    /// The account; empty for the eye that renders live parts for all.
    pub(crate) name: String,
    pub(crate) may_operate: bool,
    #[serde(skip)]
    pub(crate) form_token: String,
    #[serde(skip)]
    pub(crate) taste: Taste,
    /// The deed that was just done.
    pub(crate) done: Option<String>,
    /// The page, with what was asked of it.
    pub(crate) here: String,
}

/// How pages are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taste {
    pub(crate) lang: Lang,
    pub(crate) theme: &'static str,
}

impl Taste {
    /// As chosen, or else as the browser says.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let chosen = cookie(headers, LANG).and_then(Lang::from_word);
        Self {
            lang: chosen.unwrap_or_else(|| preferred(headers)),
            theme: theme(cookie(headers, THEME).unwrap_or_default()),
        }
    }
}

fn theme(word: &str) -> &'static str {
    match word {
        "light" => "light",
        "dark" => "dark",
        _ => "auto",
    }
}

/// The first of the two languages that `Accept-Language` (RFC 9110, 12.5.4) names; browsers write
/// them in the order of preference.
fn preferred(headers: &HeaderMap) -> Lang {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let tags = wanted.unwrap_or_default().split(',').map(|tag| tag.trim().get(..2).unwrap_or(""));
    tags.filter_map(|tag| Lang::from_word(&tag.to_ascii_lowercase())).next().unwrap_or(Lang::En)
}

/// A cookie's value (RFC 6265, 5.4).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

impl Shared {
    /// `Set-Cookie` for so many seconds; 0 takes it away.
    pub(crate) fn set_cookie(&self, name: &str, value: &str, seconds: u64) -> HeaderValue {
        let secure = if self.config.https { "; Secure" } else { "" };
        let text = format!(
            "{name}={value}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        HeaderValue::from_str(&text).expect("names and values of our own")
    }
}

/// Lets those in who have signed in, and leads the others to the door.
pub(crate) async fn let_in(
    State(console): State<Console>,
    mut request: Request,
    next: Next,
) -> Response {
    let (headers, here) = (request.headers().clone(), here(&request));
    match viewer(&console, &headers, here.clone()).await {
        Ok(Some(viewer)) => {
            let was_told = viewer.done.is_some();
            request.extensions_mut().insert(viewer);
            let mut response = next.run(request).await;
            if was_told {
                let gone = console.set_cookie(DONE, "", 0);
                response.headers_mut().append(header::SET_COOKIE, gone);
            }
            response
        }
        Ok(None) if request.uri().path().starts_with("/console/live") => {
            StatusCode::UNAUTHORIZED.into_response()
        }
        Ok(None) => {
            let to = if request.method() == Method::GET { here } else { String::new() };
            let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
            Redirect::to(&format!("/console/sign-in?to={to}")).into_response()
        }
        Err(trouble) => crate::pages::outside_trouble(&console, &headers, &trouble),
    }
}

fn here(request: &Request) -> String {
    request.uri().path_and_query().map_or_else(String::new, |here| here.as_str().to_owned())
}

async fn viewer(console: &Console, headers: &HeaderMap, here: String) -> Answer<Option<Viewer>> {
    let Some(token) = cookie(headers, SESSION).filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let Some(session) = console.doors.session(token).await? else { return Ok(None) };
    let account = console.doors.account(&session.name).await?;
    // Whoever's password was changed signs in again.
    let account = account.filter(|account| account.changed_at <= session.began_at);
    Ok(account.map(|account| Viewer {
        name: session.name,
        may_operate: account.may_operate,
        form_token: session.form_token,
        taste: Taste::of(headers),
        done: cookie(headers, DONE).filter(|word| !word.is_empty()).map(str::to_owned),
        here,
    }))
}

/// A browser says where a form comes from: no other site sends one.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && !is_ours(request.headers()) {
        return (StatusCode::FORBIDDEN, "this form comes from another site").into_response();
    }
    next.run(request).await
}

/// By Fetch Metadata, or else by `Origin` (RFC 6454), which older browsers send.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), ..) => matches!(site, "same-origin" | "none"),
        (None, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, from)| from == host)
        }
        (None, Some(_), None) => false,
        (None, None, _) => true,
    }
}

/// What is to be changed of the taste, and where to go then.
#[derive(Deserialize)]
pub(crate) struct Wished {
    lang: Option<String>,
    theme: Option<String>,
    back: Option<String>,
}

/// `GET /console/taste`: another language or light.
pub(crate) async fn taste(
    State(console): State<Console>,
    Query(wished): Query<Wished>,
) -> Response {
    let mut response = Redirect::to(inside(wished.back.as_deref())).into_response();
    let mut set = |name: &str, value: &str| {
        let cookie = console.set_cookie(name, value, YEAR_S);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    };
    if let Some(lang) = wished.lang.as_deref().and_then(Lang::from_word) {
        set(LANG, lang.as_str());
    }
    if let Some(word) = wished.theme {
        set(THEME, theme(&word));
    }
    response
}

/// A page of the console, or its first: never another site.
pub(crate) fn inside(page: Option<&str>) -> &str {
    let is_inside = |page: &&str| {
        let rest = page.strip_prefix("/console");
        let is_page = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        is_page && page.bytes().all(|octet| octet.is_ascii_graphic()) && !page.contains('\\')
    };
    page.filter(is_inside).unwrap_or("/console")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn nobody_is_led_to_another_site() {
        for page in ["/console", "/console/sites?x=1", "/console?since=1h"] {
            assert_eq!(inside(Some(page)), page);
        }
        for page in [
            "//evil.example",
            "https://evil.example",
            "/consoles",
            "/console\\x",
            "",
            "/console\r\nX: y",
        ] {
            assert_eq!(inside(Some(page)), "/console", "{page:?}");
        }
    }

    #[test]
    fn the_language_is_the_chosen_one_or_the_browsers() {
        let of = |value| Taste::of(&headers(header::ACCEPT_LANGUAGE, value)).lang;
        assert_eq!(of("de,fr-CH;q=0.9,en;q=0.8"), Lang::Fr);
        assert_eq!(of("en-GB,fr"), Lang::En);
        assert_eq!(of("*, x"), Lang::En);
        let chosen = headers(header::COOKIE, "a=b; malleposte_lang=fr; malleposte_theme=dark");
        assert_eq!(Taste::of(&chosen), Taste { lang: Lang::Fr, theme: "dark" });
    }
}
