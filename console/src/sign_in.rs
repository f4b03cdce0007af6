//! Signing in and out.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use minijinja::context;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::Console;
use crate::doors::{
    PASSWORD_OCTETS_MAX, Session, TRIES_MAX, TRIES_WITHIN, is_password, is_same, token,
};
use crate::pages::{now, outside_trouble};
use crate::platform::{Answer, Trouble};
use crate::viewer::{DOOR, SESSION, Taste, Viewer, cookie, inside};

/// How long the form of the door is good for.
const DOOR_S: u64 = 3600;
/// Hashes that are made at a time: each takes a processor and 19 MiB.
const HASHED_TOGETHER: usize = 1;
/// Whoever finds so many before him at the door comes again later.
const WAITING_MAX: usize = 8;
/// Names that nobody has are counted together.
const NOBODY: &str = "";

/// Keeps those who guess from taking the processor, the store and the log.
pub(crate) struct Guard {
    door: Semaphore,
    hashing: Semaphore,
}

impl Guard {
    pub(crate) const fn new() -> Self {
        let (door, hashing) =
            (Semaphore::const_new(WAITING_MAX), Semaphore::const_new(HASHED_TOGETHER));
        Self { door, hashing }
    }
}

#[derive(Deserialize)]
pub(crate) struct Led {
    to: Option<String>,
}

/// `GET /console/sign-in`: the door.
pub(crate) async fn door(
    State(console): State<Console>,
    headers: HeaderMap,
    Query(led): Query<Led>,
) -> Response {
    show(&console, &headers, led.to.as_deref(), None).await
}

/// The form, and what went wrong with the one before.
async fn show(
    console: &Console,
    headers: &HeaderMap,
    to: Option<&str>,
    wrong: Option<(StatusCode, &str)>,
) -> Response {
    let has_accounts = match console.doors.has_accounts().await {
        Ok(has) => has,
        Err(trouble) => return outside_trouble(console, headers, &trouble),
    };
    let key = token();
    let content = context! {
        to => inside(to), key => key.clone(), has_accounts, wrong => wrong.map(|(_, wrong)| wrong),
    };
    let page = console.renderer.render("sign-in.html", Taste::of(headers), content);
    let page = match page {
        Ok(page) => page,
        Err(trouble) => return outside_trouble(console, headers, &trouble),
    };
    let status = wrong.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = (status, Html(page)).into_response();
    let key = console.set_cookie(DOOR, &key, DOOR_S);
    response.headers_mut().append(header::SET_COOKIE, key);
    response
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
    /// The same as in the cookie: this form was made here, for this browser.
    key: String,
    to: Option<String>,
}

/// `POST /console/sign-in`.
pub(crate) async fn sign_in(
    State(console): State<Console>,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Response {
    let to = given.to.as_deref();
    let is_our_form = cookie(&headers, DOOR).is_some_and(|key| is_same(key, &given.key));
    if !is_our_form {
        let wrong = Some((StatusCode::FORBIDDEN, "form"));
        return show(&console, &headers, to, wrong).await;
    }
    match look(&console, &given).await {
        Ok(Looked::In) => match begin(&console, &given.name).await {
            Ok(token) => let_through(&console, &token, to),
            Err(trouble) => outside_trouble(&console, &headers, &trouble),
        },
        Ok(Looked::Wrong) => {
            show(&console, &headers, to, Some((StatusCode::UNAUTHORIZED, "wrong"))).await
        }
        Ok(Looked::TooOften) => {
            show(&console, &headers, to, Some((StatusCode::TOO_MANY_REQUESTS, "often"))).await
        }
        Err(trouble) => outside_trouble(&console, &headers, &trouble),
    }
}

enum Looked {
    In,
    Wrong,
    TooOften,
}

/// Whether the password is right. A name that does not exist takes as long, and leaves nothing behind.
/// Only wrong passwords are counted; whoever has the right one is let in while others guess, until
/// there were so many that it must not be found out.
async fn look(console: &Console, given: &Credentials) -> Answer<Looked> {
    let name = given.name.trim();
    if given.password.len() > PASSWORD_OCTETS_MAX || name.len() > PASSWORD_OCTETS_MAX {
        return Ok(Looked::Wrong);
    }
    let Ok(_place) = console.guard.door.try_acquire() else { return Ok(Looked::TooOften) };
    let hash = console.doors.account(name).await?.map(|account| account.password);
    let counted = if hash.is_some() { name } else { NOBODY };
    if console.doors.tries(counted).await? >= TRIES_MAX && hash.is_some() {
        return Ok(Looked::TooOften);
    }
    let password = given.password.clone();
    let _turn = console.guard.hashing.acquire().await;
    let is_right = tokio::task::spawn_blocking(move || is_password(hash.as_deref(), &password));
    match is_right.await {
        Ok(true) => {
            console.doors.forget_tries(name).await?;
            Ok(Looked::In)
        }
        Ok(false) => {
            if console.doors.count_try(counted, TRIES_WITHIN).await? == TRIES_MAX {
                tracing::warn!("too many wrong passwords for one account of the console");
            }
            Ok(Looked::Wrong)
        }
        Err(error) => Err(Trouble::Broken(error.to_string())),
    }
}

async fn begin(console: &Console, name: &str) -> Answer<String> {
    let session = Session { name: name.trim().to_owned(), form_token: token(), began_at: now().0 };
    let token = token();
    console.doors.begin(&token, &session, console.config.session()).await?;
    Ok(token)
}

fn let_through(console: &Console, token: &str, to: Option<&str>) -> Response {
    let mut response = Redirect::to(inside(to)).into_response();
    let seconds = console.config.session().as_secs();
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, console.set_cookie(SESSION, token, seconds));
    headers.append(header::SET_COOKIE, console.set_cookie(DOOR, "", 0));
    response
}

#[derive(Deserialize)]
pub(crate) struct Leaving {
    form_token: String,
}

/// `POST /console/sign-out`.
pub(crate) async fn sign_out(
    State(console): State<Console>,
    axum::Extension(viewer): axum::Extension<Viewer>,
    headers: HeaderMap,
    Form(leaving): Form<Leaving>,
) -> Response {
    if !is_same(&leaving.form_token, &viewer.form_token) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Some(token) = cookie(&headers, SESSION)
        && let Err(trouble) = console.doors.end(token).await
    {
        return outside_trouble(&console, &headers, &trouble);
    }
    let mut response = Redirect::to("/console/sign-in").into_response();
    let gone = console.set_cookie(SESSION, "", 0);
    response.headers_mut().append(header::SET_COOKIE, gone);
    response
}
