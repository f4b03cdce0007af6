//! What statistics and traces are narrowed by, alike.

use clap::Args;

/// One of each.
#[derive(Debug, Args)]
pub(super) struct Criteria {
    /// One tenant's campaigns
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// A part of the sender's address
    #[arg(long)]
    pub(super) sender: Option<String>,
    /// One campaign
    #[arg(long)]
    pub(super) campaign: Option<String>,
    /// One relay
    #[arg(long)]
    pub(super) relay: Option<String>,
    /// One egress source
    #[arg(long)]
    pub(super) source: Option<String>,
    /// One recipient's domain
    #[arg(long)]
    pub(super) domain: Option<String>,
    /// One category: no-mailbox, mailbox-full, reputation-block …
    #[arg(long)]
    pub(super) category: Option<String>,
    /// Up to when; now unless it is said
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<String>,
}
