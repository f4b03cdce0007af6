//! Mail that comes back.

use std::net::IpAddr;

use mail::Report;

use super::fate::Fate;
use super::world::HostId;

/// A report to be written and sent.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) report: Report,
    pub(super) fate: Fate,
    pub(super) host: HostId,
    pub(super) recipient: String,
    pub(super) return_path: String,
    pub(super) client: IpAddr,
    pub(super) headers: Vec<u8>,
}
#[derive(Debug, Default)]
pub(super) struct Returns;
impl Returns {
    pub(super) fn schedule(&self, _job: Job) {}
}
