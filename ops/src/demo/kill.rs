//! `kill -9` of a relay at the worst moment: while ten of its connections have written a
//! final dot and not heard the reply.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use loadtests::Hold;

use super::platform::Platform;
use super::watch::Watch;

/// Connections that must wait between the final dot and the reply.
const CONNECTIONS_MIN: usize = 10;
/// How long they may take to gather there.
const GATHER: Duration = Duration::from_secs(20);
/// No reply is held longer than this: servers' patience is real.
const HOLD: Duration = Duration::from_secs(25);
/// Its recipients must be others' within this.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);

/// What the kill was.
pub(super) struct Kill {
    /// Connections between the final dot and the reply at that moment.
    pub(super) past_the_dot: usize,
    /// Connections that it had open, by its own last word and by the pretend internet's count.
    pub(super) connections: u64,
    pub(super) unsettled_max: u64,
    /// From the kill until the queue had given away everything that it held.
    pub(super) takeover: Duration,
}

impl Kill {
    pub(super) async fn at_the_worst_moment(
        platform: &mut Platform,
        watch: &mut Watch,
    ) -> anyhow::Result<Self> {
        let (name, address) = (platform.relays[0].name, platform.relays[0].address);
        watch.say(&format!(
            "waiting for {name} to have {CONNECTIONS_MIN} connections past the final dot"
        ));
        platform.internet.hold_replies(Hold { client: Some(address.into()), longest: HOLD });
        let held = platform.internet.wait_held(CONNECTIONS_MIN, GATHER).await;
        if held.len() < CONNECTIONS_MIN {
            platform.internet.release_replies();
            bail!("only {} connections of {name} came past the final dot at one time", held.len());
        }
        // The terms of the bound, before the kill can be made good.
        let record = relay_record(platform, name).await?;
        let connections = u64::from(record.1.connections).max(held.len() as u64);
        let unsettled_max = u64::from(record.1.unsettled_max);
        platform.relays[0].kill().await?;
        let killed = Instant::now();
        watch.say(&format!(
            "kill -9 {name}: {} of its connections were past the final dot",
            held.len()
        ));
        platform.internet.release_replies();
        let takeover = until_taken_over(platform, &record.0, killed).await?;
        watch.say(&format!(
            "all that {name} held is the others' after {:.1} s",
            takeover.as_secs_f64()
        ));
        Ok(Self { past_the_dot: held.len(), connections, unsettled_max, takeover })
    }

    /// Messages that this kill may have doubled, at most.
    pub(super) fn duplicates_max(&self) -> u64 {
        self.connections * self.unsettled_max
    }
}

async fn relay_record(
    platform: &Platform,
    name: &str,
) -> anyhow::Result<(String, store::RelayRecord)> {
    let relays = platform.store.relays().await?;
    let found = relays.into_iter().find(|(id, _)| id.starts_with(name));
    found.with_context(|| format!("{name} is not in the register of relays"))
}

async fn until_taken_over(
    platform: &Platform,
    relay: &str,
    killed: Instant,
) -> anyhow::Result<Duration> {
    while killed.elapsed() < TAKEOVER_MAX {
        if platform.store.leases_of(relay).await?.is_empty() {
            return Ok(killed.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the leases of the killed relay were not taken over within {TAKEOVER_MAX:?}")
}
