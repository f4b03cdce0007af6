//! `malleposte redis`: the private Redis of a data folder and nothing else, to look at
//! its queues or mend them while no service runs.

use std::process::ExitCode;

use clap::Args;

use super::Global;
use crate::redis_child::{RedisChild, STOP_GRACE};
use crate::run::frame::serve;

/// Run only the private Redis of the data folder, until a signal
///
/// Prints its URL when it is ready.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Redis {}

impl Redis {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        serve(global.read()?, "redis", async |frame| {
            let redis = RedisChild::start(&frame.config.redis, &frame.config.data_dir).await?;
            println!("{}", redis.url());
            frame.services.start("redis", STOP_GRACE, |stop| redis.supervise(stop));
            Ok(())
        })
    }
}
