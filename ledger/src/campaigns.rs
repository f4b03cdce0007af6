//! Whose a campaign was: history is kept longer than campaigns are.

use std::collections::BTreeMap;

use mail::CampaignId;
use rusqlite::Connection;

use crate::schema;

/// What history knows of a campaign besides its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// The address of From.
    pub sender: String,
}

impl Facts {
    /// Whether it is this tenant's, and a part of its sender's address is this one.
    fn fit(&self, tenant: Option<&str>, sender: Option<&str>) -> bool {
        let sender = sender.map(str::to_lowercase);
        tenant.is_none_or(|tenant| self.tenant == tenant)
            && sender.is_none_or(|part| self.sender.to_lowercase().contains(&part))
    }
}

/// The numbers of those that are this tenant's and have this in their sender's address, as SQL lists
/// them.
pub(crate) fn theirs(
    known: &BTreeMap<CampaignId, Facts>,
    tenant: Option<&str>,
    sender: Option<&str>,
) -> Vec<String> {
    let fitting = known.iter().filter(|(_, facts)| facts.fit(tenant, sender));
    fitting.map(|(id, _)| id.0.to_string()).collect()
}

/// The campaigns of one month's file; of a file from before this was kept, none.
pub(crate) fn facts(conn: &Connection) -> rusqlite::Result<BTreeMap<CampaignId, Facts>> {
    if !schema::has_sums(conn)? {
        return Ok(BTreeMap::new());
    }
    let mut statement = conn.prepare("SELECT id, tenant, name, sender FROM campaign")?;
    let rows = statement.query_map([], |row| {
        let id = CampaignId(row.get::<_, i64>(0)?.unsigned_abs());
        Ok((id, Facts { tenant: row.get(1)?, name: row.get(2)?, sender: row.get(3)? }))
    })?;
    rows.collect()
}
