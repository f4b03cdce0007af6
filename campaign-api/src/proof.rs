//! Whether a sender domain may send: it is here, it is the tenant's, it has a key, and its
//! DNS publishes that key. Making keys is for `malleposte dkim`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mail::Domain;
use serde_json::json;
use store::{Selector, SenderRecord};

use crate::App;
use crate::clock;
use crate::problem::{Answer, Problem};

/// A proof this old still holds while name servers do not answer: keys are rotated within
/// weeks, outages last hours.
const BENEFIT_OF_DOUBT: Duration = Duration::from_secs(7 * 86_400);
/// Records read at a name: a key is one of a few.
const RECORDS_MAX: usize = 20;

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
    let Some(mut sender) = sender else {
        let detail = format!(
            "{domain} is no sender domain of {tenant:?}: run `malleposte dkim add {domain}`"
        );
        return Err(unprocessable("unknown-sender", detail, domain));
    };
    let Some(key) = sender.selectors.first().cloned() else {
        let detail = format!("{domain} has no key: run `malleposte dkim add {domain}`");
        return Err(unprocessable("sender-without-key", detail, domain));
    };
    let age = sender.proved_at.map(|at| clock::now().since(at));
    if age.is_some_and(|age| age < app.config.proof_lasts()) {
        return Ok(());
    }
    let name = format!("{}._domainkey.{domain}", key.name);
    match app.txt.txt(&name).await {
        Ok(records) if records.iter().take(RECORDS_MAX).any(|r| is_same_key(r, &key.record)) => {
            prove(app, domain, &mut sender).await
        }
        Ok(records) => Err(unproved(&name, &key, domain, records.is_empty())),
        Err(_) if age.is_some_and(|age| age < BENEFIT_OF_DOUBT) => Ok(()),
        Err(error) => {
            tracing::warn!(%domain, %error, "a sender domain cannot be proved");
            Err(Problem::later("dns-away", format!("{name} cannot be looked up now; try again")))
        }
    }
}

async fn prove(app: &App, domain: &Domain, sender: &mut SenderRecord) -> Answer<()> {
    sender.proved_at = Some(clock::now());
    app.store.put_sender(domain, sender).await?;
    Ok(())
}

fn unprocessable(code: &'static str, detail: String, domain: &Domain) -> Problem {
    Problem::unprocessable(code, detail).with("domain", domain.as_str())
}

fn unproved(name: &str, key: &Selector, domain: &Domain, is_missing: bool) -> Problem {
    let found = if is_missing { "has no TXT record" } else { "has another TXT record" };
    let detail = format!("{name} {found}: publish the one in `record`, then try again");
    let record = json!({ "name": name, "type": "TXT", "value": key.record });
    unprocessable("sender-not-proved", detail, domain).with("record", record)
}

/// Whether two DKIM key records (RFC 6376, 3.6.1) hold the same key: spaces, the order of
/// tags and tags that do not concern the key may differ.
fn is_same_key(found: &str, ours: &str) -> bool {
    let (found, ours) = (tags(found), tags(ours));
    let kind = |tags: &[(String, String)]| tag(tags, "k").unwrap_or("rsa").to_ascii_lowercase();
    let version = tag(&found, "v").is_none_or(|v| v == "DKIM1");
    let key = tag(&found, "p").filter(|p| !p.is_empty());
    version && key.is_some() && key == tag(&ours, "p") && kind(&found) == kind(&ours)
}

fn tags(record: &str) -> Vec<(String, String)> {
    let bare = |text: &str| text.split_ascii_whitespace().collect::<String>();
    record.split(';').filter_map(|t| t.split_once('=')).map(|(n, v)| (bare(n), bare(v))).collect()
}

fn tag<'a>(tags: &'a [(String, String)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_counts_and_not_how_it_is_written() {
        let ours = "v=DKIM1; k=rsa; p=MIIB+abc/==";
        for same in ["v=DKIM1;k=rsa;p=MIIB+abc/==", "p=MIIB+ abc/==", "v=DKIM1; p=MIIB+abc/==; t=s"]
        {
            assert!(is_same_key(same, ours), "{same}");
        }
        for other in
            ["", "v=DKIM1; p=", "v=DKIM1; p=MIIBother", "k=ed25519; p=MIIB+abc/==", "v=spf1 -all"]
        {
            assert!(!is_same_key(other, ours), "{other}");
        }
    }
}
