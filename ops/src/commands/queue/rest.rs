//! `malleposte queue rests`: which sources are blocked where.

use mail::Timestamp;
use serde_json::json;
use store::Store;

use crate::commands::now;

pub(super) async fn list(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let rests = relay::rests(store).await?;
    if as_json {
        let rows = rests.iter().map(|rest| {
            json!({"source": rest.source, "site": rest.site.as_str(),
                "since": rest.since.map(|at| at.to_string()), "until": rest.until.to_string()})
        });
        println!("{}", json!({ "rests": rows.collect::<Vec<_>>() }));
        return Ok(());
    }
    if rests.is_empty() {
        println!("no source rests: no site blocks any");
    }
    for rest in rests {
        let since = rest.since.map_or_else(|| "a while ago".to_owned(), |at| at.to_string());
        println!(
            "source {} rests at {} since {since}: the site blocks it; {}",
            rest.source,
            rest.site,
            how_on(rest.until, now())
        );
    }
    Ok(())
}

fn how_on(until: Timestamp, now: Timestamp) -> String {
    match until > now {
        true => format!("probes go on, more of them from {until}"),
        false => "more probes go than before; the first that passes ends it".to_owned(),
    }
}
