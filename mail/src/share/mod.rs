//! Fair share: whose recipients go next when there are more than the budget of a site lets
//! go. Start-time fair queueing (Goyal, Vin, Cheng 1996) over flows, one flow a campaign; a
//! tenant's weight is divided among those of its campaigns that wait, by their own. Urgent
//! classes go strictly before others; whoever was idle has gained nothing by it.
//!
//! [`Fair`] is the model of what `store/src/lua/pace_slice.lua` does for all relays together;
//! [`parts`] divides room inside one relay. Who waits for what is known elsewhere.

mod fair;
#[cfg(test)]
mod tests;
mod turns;
mod water;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use fair::{Ask, FLOWS_MAX, Fair, Slice};
pub use turns::{TURN, connections};
pub use water::{Claim, parts};

use crate::id::{CampaignId, domain_hash};

/// The weight of a tenant or a campaign that has none of its own.
pub const WEIGHT: f64 = 1.0;
/// Weights that there may be: a tenant of 100 beside one of 0.01 gets ten thousand times as
/// much, and more than that is a tenant that should have a pool of its own.
pub const WEIGHTS: std::ops::RangeInclusive<f64> = 0.01..=100.0;

/// A tenant's name as the budget's record holds it: two that meet in 32 bits share a weight.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TenantMark(pub u32);

impl TenantMark {
    /// The mark of a name.
    #[must_use]
    pub fn of(tenant: &str) -> Self {
        Self(domain_hash(tenant) as u32)
    }
}

/// What a campaign weighs, and in whose name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    /// Whose it is.
    pub tenant: TenantMark,
    /// The tenant's, beside other tenants'.
    pub of_tenant: f64,
    /// The campaign's, beside others of its tenant.
    pub of_campaign: f64,
}

impl Default for Weight {
    fn default() -> Self {
        Self { tenant: TenantMark::default(), of_tenant: WEIGHT, of_campaign: WEIGHT }
    }
}

/// What each of the campaigns that wait in one class weighs beside all the others: a tenant
/// gains nothing by having many.
#[must_use]
pub fn divided(weights: &[Weight]) -> Vec<f64> {
    let mut tenants: HashMap<TenantMark, f64> = HashMap::new();
    for weight in weights {
        *tenants.entry(weight.tenant).or_default() += weight.of_campaign;
    }
    weights.iter().map(|w| w.of_tenant * w.of_campaign / tenants[&w.tenant]).collect()
}

/// What waits of one campaign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The flow.
    pub campaign: CampaignId,
    /// What it weighs, and in whose name.
    pub weight: Weight,
    /// Its class; 0 goes first.
    pub priority: u8,
    /// Recipients that could go now.
    pub waiting: u32,
}
