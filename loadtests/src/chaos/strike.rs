//! What goes wrong, and how it heals: one function for each of the two.

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::plan::{Fault, Plan};
use super::platform::Platform;
use super::watch::{Watch, established};
use crate::link::Weather;

/// Whether the moment is one: a relay without a lease has nothing that could be taken over.
pub(super) async fn is_worth_it(plan: &Plan, platform: &Platform, watch: &Watch) -> Result<bool> {
    match plan.fault {
        Fault::RelayKilled | Fault::RelayAsleep | Fault::LinkCut => {
            let pid = platform.relays[plan.victim].service.process.pid()?;
            watch.holds(platform, pid).await
        }
        Fault::ApiKilled
        | Fault::BouncesKilled
        | Fault::LedgerKilled
        | Fault::RedisKilled
        | Fault::RedisRestarted
        | Fault::RedisCut
        | Fault::LinkSlow
        | Fault::SinkHangsUp
        | Fault::RedisDiskFull
        | Fault::LedgerDiskFull => Ok(true),
    }
}

/// Lets it go wrong; answers words for the diary.
pub(super) async fn strike(
    plan: &Plan,
    platform: &mut Platform,
    watch: &mut Watch,
) -> Result<String> {
    let which = plan.victim;
    let mut words = plan.fault.to_string();
    match plan.fault {
        Fault::RelayKilled => {
            let relay = &mut platform.relays[which];
            let (pid, open) = (relay.service.process.pid()?, established(relay.address));
            relay.service.kill().await?;
            watch.bury(pid, open)?;
            words = format!("relay-{which} is killed with {open} connections");
        }
        Fault::RelayAsleep => {
            let relay = &platform.relays[which];
            let (pid, open) = (relay.service.process.pid()?, established(relay.address));
            relay.service.process.signal(Signal::STOP)?;
            watch.bury(pid, open)?;
            words = format!("relay-{which} sleeps with {open} connections");
        }
        Fault::LinkCut => {
            let pid = platform.relays[which].service.process.pid()?;
            platform.link.set(plan.weather);
            watch.cut_off(platform, which, pid)?;
            words = format!("the link of relay-{which} is {:?}", plan.weather);
        }
        Fault::LinkSlow => {
            platform.link.set(plan.weather);
            words = format!("the link of relay-{which} is {:?}", plan.weather);
        }
        Fault::ApiKilled => platform.api.kill().await?,
        Fault::BouncesKilled => platform.bounces.kill().await?,
        Fault::LedgerKilled => platform.ledger.kill().await?,
        Fault::RedisKilled => platform.kill_redis()?,
        Fault::RedisRestarted => platform.kill_redis_for_longer()?,
        Fault::RedisCut => {
            platform.kill_redis_for_longer()?;
            let octets = platform.cut_power().await?;
            words = format!("redis is killed and {octets} octets of its file were not on the disk");
        }
        Fault::SinkHangsUp => platform.internet.hang_up_after_dots(true),
        Fault::RedisDiskFull | Fault::LedgerDiskFull => {
            platform.disk.as_ref().context("no disk to fill")?.fill()?;
        }
    }
    Ok(words)
}

/// Makes it good again.
pub(super) fn heal(plan: &Plan, platform: &mut Platform, watch: &mut Watch) -> Result<()> {
    match plan.fault {
        Fault::RelayKilled => platform.relays[plan.victim].service.restart(),
        Fault::RelayAsleep => platform.relays[plan.victim].service.process.signal(Signal::CONT),
        Fault::LinkCut | Fault::LinkSlow => {
            platform.link.set(Weather::Fair);
            watch.rejoin();
            Ok(())
        }
        Fault::ApiKilled => platform.api.restart(),
        Fault::BouncesKilled => platform.bounces.restart(),
        Fault::LedgerKilled => platform.ledger.restart(),
        Fault::RedisKilled => Ok(()),
        Fault::RedisRestarted | Fault::RedisCut => platform.let_redis_back(),
        Fault::SinkHangsUp => {
            platform.internet.hang_up_after_dots(false);
            Ok(())
        }
        Fault::RedisDiskFull | Fault::LedgerDiskFull => {
            platform.disk.as_ref().context("no disk to free")?.free()
        }
    }
}
