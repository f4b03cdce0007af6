//! What every long-running command needs around its services: signals, the order of
//! stopping, logs and metrics. No service is known here.

pub mod frame;
pub mod logging;
pub mod metrics;
mod notify;
pub mod services;
pub mod signals;
