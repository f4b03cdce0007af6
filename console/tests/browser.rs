//! A browser of paper.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use tower_service::Service;

use crate::paper::PASSWORD;

/// A browser: it keeps cookies.
pub(crate) struct Browser {
    router: Router,
    pub(crate) cookies: HashMap<String, String>,
}

/// What came back.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn to(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let rest = self.text.split_once(&mark).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_once('"'))
            .map(|(value, _)| value.to_owned())
            .unwrap_or_default()
    }
}

impl Browser {
    pub(crate) fn new(router: Router) -> Self {
        Self { router, cookies: HashMap::new() }
    }

    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let Ok(response) = self.router.call(request).await;
        for set in response.headers().get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
            match set.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        response
    }

    pub(crate) async fn ask(&mut self, request: Request<Body>) -> Page {
        let response = self.send(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let octets = response.into_body().collect().await.unwrap().to_bytes();
        // The templates write slashes with care; it is the same to a browser.
        let text = String::from_utf8(octets.into()).unwrap().replace("&#x2f;", "/");
        Page { status, headers, text }
    }

    pub(crate) async fn get(&mut self, address: &str) -> Page {
        self.ask(Request::get(address).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&mut self, address: &str, fields: &[(&str, &str)]) -> Page {
        self.ask(form(address, fields).body(body(fields)).unwrap()).await
    }

    /// Signs in.
    pub(crate) async fn enter(&mut self, name: &str) {
        let key = self.get("/console/sign-in").await.field("key");
        let fields = [("name", name), ("password", PASSWORD), ("key", &key)];
        let page = self.post("/console/sign-in", &fields).await;
        assert_eq!((page.status, page.to()), (StatusCode::SEE_OTHER, "/console"), "{}", page.text);
    }
}

pub(crate) fn form(address: &str, _: &[(&str, &str)]) -> axum::http::request::Builder {
    Request::post(address).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

pub(crate) fn body(fields: &[(&str, &str)]) -> Body {
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Body::from(text)
}
