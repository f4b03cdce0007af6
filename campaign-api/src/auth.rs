//! Who asks: the API key of a request, and what it may do. Tenants end here: whatever
//! belongs to another one does not exist for the caller.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use store::{ApiKeyRecord, PLATFORM, Right, is_tenant};

use crate::App;
use crate::problem::{Answer, Problem};

/// An API key that the store knows.
pub(crate) struct Caller(pub(crate) ApiKeyRecord);

impl Caller {
    /// Refuses keys that may only look.
    pub(crate) fn may_change(&self) -> Answer<()> {
        match self.0.right {
            Right::Admin | Right::Campaigns => Ok(()),
            Right::Read => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("the API key {:?} may only read", self.0.name),
            )),
        }
    }

    /// Whether what belongs to a tenant exists for this caller.
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        match self.0.right {
            Right::Admin => true,
            Right::Campaigns | Right::Read => self.0.tenant == tenant,
        }
    }

    /// The tenant to act for: its own, or the one that an administrator names.
    pub(crate) fn tenant(&self, asked: Option<&str>) -> Answer<String> {
        match asked {
            None => Ok(self.0.tenant.clone()),
            Some(tenant) if self.sees(tenant) => check_tenant(tenant),
            Some(tenant) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("the API key {:?} cannot act for tenant {tenant:?}", self.0.name),
            )),
        }
    }
}

impl Caller {
    /// Whose history to look at: its own tenant's; for administrators the one that they name, or
    /// everybody's.
    pub(crate) fn only(&self, asked: Option<&str>) -> Answer<Option<String>> {
        match (asked, self.0.right) {
            (None, Right::Admin) => Ok(None),
            (asked, _) => self.tenant(asked).map(Some),
        }
    }

    /// The suppression list to act on: a tenant's, or for administrators `*`, the platform's.
    pub(crate) fn list(&self, asked: Option<&str>) -> Answer<String> {
        match (asked, self.0.right) {
            (Some(PLATFORM), Right::Admin) => Ok(PLATFORM.to_owned()),
            _ => self.tenant(asked),
        }
    }
}

/// A tenant's name becomes a part of keys: `*` is the platform's own list there.
fn check_tenant(tenant: &str) -> Answer<String> {
    if !is_tenant(tenant) {
        let detail = format!("{tenant:?} is no tenant: 1 to 64 letters, digits, - _ .");
        return Err(Problem::unprocessable("bad-tenant", detail));
    }
    Ok(tenant.to_owned())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim)
            .ok_or_else(|| unauthorized("send `Authorization: Bearer mp_…` with an API key"))?;
        let record = app.store.api_key(key).await?;
        record.map(Self).ok_or_else(|| unauthorized("this API key is not known here"))
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
