//! Whether a sender domain may send: it is here, it is the tenant's, it has a key, and its
//! DNS publishes that key. Making keys is for `malleposte dkim`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mail::Domain;
use message::published::{Shown, compare};
use serde_json::json;
use store::{Selector, SenderRecord};

use crate::App;
use crate::clock;
use crate::problem::{Answer, Problem};

/// A proof this old still holds while name servers do not answer: keys are rotated within
/// weeks, outages last hours.
const BENEFIT_OF_DOUBT: Duration = Duration::from_secs(7 * 86_400);

/// Name servers did not answer, or not sensibly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TxtError(pub String);

/// Where TXT records come from.
pub trait TxtRecords: Send + Sync {
    /// The TXT records at a name, each with its strings joined; none when there is no such name.
    fn txt<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<String>, TxtError>> + Send + 'a>>;
}

impl TxtRecords for dns::Resolver {
    fn txt<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<String>, TxtError>> + Send + 'a>> {
        Box::pin(async move {
            match dns::Resolver::txt(self, name).await {
                dns::Txt::Found(records) => Ok(records),
                dns::Txt::NotFound => Ok(Vec::new()),
                dns::Txt::Temporary { why } => Err(TxtError(why)),
            }
        })
    }
}

/// Refuses a sender domain that may not send for this tenant, with what to do about it.
pub(crate) async fn require(app: &App, tenant: &str, domain: &Domain) -> Answer<()> {
    let sender = app.store.sender(domain).await?.filter(|s| s.tenant == tenant);
    let Some(sender) = sender else {
        let detail = format!(
            "{domain} is no sender domain of {tenant:?}: run `malleposte dkim add {domain}`"
        );
        return Err(unprocessable("unknown-sender", detail, domain));
    };
    if sender.active().next().is_none() {
        let detail = format!("{domain} has no key: run `malleposte dkim add {domain}`");
        return Err(unprocessable("sender-without-key", detail, domain));
    }
    let age = sender.proved_at.map(|at| clock::now().since(at));
    if age.is_some_and(|age| age < app.config.proof_lasts()) {
        return Ok(());
    }
    for key in sender.active() {
        let name = key.dns_name(domain);
        match app.txt.txt(&name).await {
            Ok(records) => require_shown(&name, key, domain, &compare(&records, &key.record))?,
            Err(_) if age.is_some_and(|age| age < BENEFIT_OF_DOUBT) => return Ok(()),
            Err(error) => {
                tracing::warn!(%domain, %error, "a sender domain cannot be proved");
                let detail = format!("{name} cannot be looked up now; try again");
                return Err(Problem::later("dns-away", detail));
            }
        }
    }
    prove(app, domain, &sender).await
}

/// Keys that were changed meanwhile are proved next time.
async fn prove(app: &App, domain: &Domain, sender: &SenderRecord) -> Answer<()> {
    let proved = SenderRecord { proved_at: Some(clock::now()), ..sender.clone() };
    app.store.replace_sender(domain, Some(sender), &proved).await?;
    Ok(())
}

fn unprocessable(code: &'static str, detail: String, domain: &Domain) -> Problem {
    Problem::unprocessable(code, detail).with("domain", domain.as_str())
}

fn require_shown(name: &str, key: &Selector, domain: &Domain, shown: &Shown) -> Answer<()> {
    let found = match shown {
        // Which of several is taken is the receiver's choice: ours often enough to begin.
        Shown::Right | Shown::Several(_) => return Ok(()),
        Shown::Missing => "has no TXT record",
        Shown::Revoked | Shown::InRecords(_) | Shown::Quoted | Shown::Cut(_) | Shown::Other => {
            "has another TXT record"
        }
    };
    let detail = format!("{name} {found}: publish the one in `record`, then try again");
    let record = json!({ "name": name, "type": "TXT", "value": key.record });
    Err(unprocessable("sender-not-proved", detail, domain).with("record", record))
}
