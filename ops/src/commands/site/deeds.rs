//! What operators do to a pace: fix it, lift a block, undo a change.

use std::time::Duration;

use anyhow::Context;
use mail::orders::{Order, Scope, ScopeKind, Verb};
use mail::throttle::{Change, Fixed};
use mail::{Site, Timestamp};
use relay::{Deed, by_hand, limits_at};
use serde_json::json;
use store::NewOrder;

use super::{Desk, Numbers, Signed, Which};
use crate::commands::queue::automatic::HEARD_WITHIN;
use crate::commands::{Voice, now};

/// Changes among which one is looked for by its number.
const LOOKED_THROUGH: usize = 10_000;

impl Desk {
    pub(super) async fn fix(
        &self,
        which: &Which,
        fix: &Numbers,
        signed: &Signed,
    ) -> anyhow::Result<()> {
        signed.check()?;
        let site = self.find(&which.site).await?;
        let source = which.source.clone().unwrap_or_default();
        let order = self.fix_pace(&site, source, fix.fixed(), fix.lasts, signed).await?;
        self.hand().say(&order, "holds");
        if self.voice == Voice::Text {
            println!("`malleposte queue undo {} --why …` lifts it", order.id);
        }
        Ok(())
    }

    /// Fixes the pace of a source at a site, or of all sources where none is named.
    pub(crate) async fn fix_pace(
        &self,
        site: &Site,
        source: String,
        fixed: Fixed,
        lasts: Option<Duration>,
        signed: &Signed,
    ) -> anyhow::Result<Order> {
        let (limits, _) = limits_at(&self.config.relay, &self.known, site);
        fixed.check(&limits).with_context(|| format!("{site}"))?;
        let (scope, now) = (Scope::new(ScopeKind::Site, site.as_str())?, now());
        let new = NewOrder::new(Verb::Fix, scope, signed.by(), signed.why.clone());
        let until = lasts.map(|lasts| now + lasts);
        Ok(self.store.give_order(NewOrder { fixed, source, until, ..new }, now).await?)
    }

    pub(crate) async fn release(&self, which: &Which, signed: &Signed) -> anyhow::Result<()> {
        signed.check()?;
        let site = self.find(&which.site).await?;
        let known = self.one_held(&site, which.source.as_deref()).await?;
        self.do_by_hand(&known, &site, Deed::Release, signed).await
    }

    /// Of several sources the one that is blocked, where it is one alone.
    async fn one_held(&self, site: &Site, source: Option<&str>) -> anyhow::Result<String> {
        let all = self.at(site, source).await?;
        let held: Vec<_> = all.iter().filter(|known| known.pace.hold_until().is_some()).collect();
        match held[..] {
            [one] => Ok(one.source.clone()),
            _ => Ok(self.one(site, source).await?.source),
        }
    }

    pub(crate) async fn undo(
        &self,
        which: &Which,
        number: &str,
        signed: &Signed,
    ) -> anyhow::Result<()> {
        signed.check()?;
        let site = self.find(&which.site).await?;
        let known = self.one(&site, which.source.as_deref()).await?;
        let all = self.ledger()?.pace_changes(
            &known.source,
            site.as_str(),
            Timestamp(0),
            LOOKED_THROUGH,
        )?;
        let found = all.iter().find(|change| change.number.to_string() == number);
        let change = found.with_context(|| {
            format!(
                "{number:?} is no change of {} at {site}; `malleposte site show` lists the last ones",
                known.source
            )
        })?;
        self.do_by_hand(&known.source, &site, Deed::Undo(&change.signed.change), signed).await
    }

    async fn do_by_hand(
        &self,
        source: &str,
        site: &Site,
        deed: Deed<'_>,
        signed: &Signed,
    ) -> anyhow::Result<()> {
        let (limits, _) = limits_at(&self.config.relay, &self.known, site);
        let (by, at) = (signed.by(), now());
        let hand = relay::Hand { by: &by, reason: &signed.why };
        let done = by_hand(&self.store, (source, site), deed, &limits, hand, at).await;
        let changes = done.with_context(|| format!("{source} at {site}"))?;
        let ends_hold = changes.iter().any(|c| c.what == mail::throttle::Dimension::Hold);
        if ends_hold {
            // Who has not heard of it would put back what is due now.
            tokio::time::sleep(HEARD_WITHIN).await;
            self.hand().make_due(&Scope::new(ScopeKind::Site, site.as_str())?).await?;
        }
        self.say_changes(source, site, &changes);
        Ok(())
    }

    fn say_changes(&self, source: &str, site: &Site, changes: &[Change]) {
        let line = |change: &Change| format!("{source} at {site}: {change:.1}");
        self.voice.say(
            || changes.iter().map(line).collect::<Vec<_>>().join("\n"),
            || {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                json!({ "source": source, "site": site.as_str(), "changes": changes })
            },
        );
    }
}
