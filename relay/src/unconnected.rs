//! What it means that no session came about: whose trouble it is, who rests for it, and when the
//! recipient goes again.

use std::sync::Arc;
use std::time::Duration;

use mail::classify::{Finding, Own, Said, Signal, classify};
use mail::{Category, EnhancedStatus, Hygiene, Phase};

use crate::job::{Job, Settlement};
use crate::relay::Relay;
use crate::site::SiteLane;
use crate::smtp::{SessionError, Trouble};
use crate::verdict::{Failure, conclude};

/// "Too many connections" before any mail: this long until the recipient tries another.
const CONNECTIONS_PAUSE: Duration = Duration::from_millis(300);

/// No session came about. Everybody rests for a while, this one waits its turn.
pub(crate) async fn not_connected(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    error: &SessionError,
) {
    let text = error.trouble.as_ref().map(ToString::to_string).unwrap_or_default();
    match &error.trouble {
        Some(Trouble::Policy(why)) => return demand_unmet(relay, site, job, error, why).await,
        Some(Trouble::NotAssured { own, why }) => {
            return not_assured(relay, site, job, error, (*own, why)).await;
        }
        Some(Trouble::Source(why)) => {
            site.egress.failed(relay.now(), why);
            return source_failed(relay, site, job, error.phase, why).await;
        }
        Some(Trouble::NoWay(why)) => {
            site.has_no_way(relay.now());
            return source_failed(relay, site, job, error.phase, why).await;
        }
        Some(Trouble::Login { why, passing }) => {
            return not_let_in(relay, site, job, error, (why, *passing)).await;
        }
        _ => {}
    }
    if let (Some(_), Some(reply)) = (&site.smart, &error.reply) {
        let passing = !reply.is_permanent();
        return not_let_in(relay, site, job, error, (&reply.to_string(), passing)).await;
    }
    let finding = match &error.reply {
        Some(reply) => site.classify(&Said::reply(error.phase, reply)),
        None => without_reply(error),
    };
    match &error.reply {
        Some(reply) => site.heard_trouble(&reply.to_string()),
        None => site.heard_trouble(&text),
    }
    site.pace.asks_hold(finding.reaction.hold.filter(|_| finding.signal == Signal::Block));
    site.pace.saw(finding.signal, false, 0, job.epoch);
    if let (Signal::Block, Some(reply)) = (finding.signal, &error.reply) {
        site.heard_block(reply);
    }
    let is_one_too_many = error.reply.as_ref().is_some_and(|reply| !reply.is_permanent())
        && site.sessions.status().size > 0;
    if finding.signal == Signal::Connections && is_one_too_many {
        // Said before any mail: it goes over one that is open.
        tokio::time::sleep(CONNECTIONS_PAUSE).await;
        return site.push_front(job);
    }
    if error.reply.is_none() {
        site.unreachable(relay.now());
    }
    let failure = Failure { phase: error.phase, reply: error.reply.as_ref(), finding, note: &text };
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    tell_tls(&mut settlement, &error.tls);
    relay.settle(settlement).await;
}

/// A smart host does not let us in. That is no verdict about anybody's mail, so all of it waits;
/// and unless it is a passing trouble nobody tries until an operator has had time to act.
async fn not_let_in(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    error: &SessionError,
    (why, passing): (&str, bool),
) {
    let (finding, note) = shut_out(relay, site, why, passing);
    let failure = Failure { phase: error.phase, reply: None, finding, note: &note };
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    tell_tls(&mut settlement, &error.tls);
    relay.settle(settlement).await;
}

/// Notes that a smart host does not let us in; tells what that means and in which words.
pub(crate) fn shut_out(
    relay: &Relay,
    site: &SiteLane,
    why: &str,
    passing: bool,
) -> (Finding, String) {
    let name = site.key.site.as_str();
    let note = match passing {
        true => format!("the smart host {name:?} does not let us in now: {why}"),
        false => format!("the smart host {name:?} does not let us in: {why}; an operator must act"),
    };
    site.heard_trouble(&note);
    match &site.smart {
        Some(smart) if !passing => smart.shuts(relay.now(), why),
        _ => site.unreachable(relay.now()),
    }
    (Own::SmartHost.finding(), note)
}

/// The egress source's own trouble: another of its pool goes, and if none can this is put off.
/// Neither the site nor the recipient has anything to do with it.
async fn source_failed(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    phase: Phase,
    why: &str,
) {
    site.heard_trouble(why);
    let Some(job) = relay.push_beside(site, job) else { return };
    site.unreachable(relay.now());
    let failure = Failure { phase, reply: None, finding: Own::Source.finding(), note: why };
    let settlement = conclude(relay, job, failure, Some(site)).await;
    relay.settle(settlement).await;
}

/// The exchangers are not as the recipient's domain demands them. That is no trouble of the site:
/// its other domains' mail goes on, and its pace learns nothing.
async fn demand_unmet(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    error: &SessionError,
    why: &str,
) {
    let finding = Own::TlsDemand.finding();
    let failure = Failure { phase: error.phase, reply: None, finding, note: why };
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    tell_tls(&mut settlement, &error.tls);
    relay.settle(settlement).await;
}

/// The way to the recipient is not as the message demands it. That is no trouble of the site.
async fn not_assured(
    relay: &Arc<Relay>,
    site: &Arc<SiteLane>,
    job: Job,
    error: &SessionError,
    (own, why): (Own, &str),
) {
    let reply = own.reply(why);
    let failure = Failure::own(error.phase, own, &reply);
    let mut settlement = conclude(relay, job, failure, Some(site)).await;
    tell_tls(&mut settlement, &error.tls);
    relay.settle(settlement).await;
}

fn tell_tls(settlement: &mut Settlement, tls: &str) {
    if let Some(event) = &mut settlement.event {
        tls.clone_into(&mut event.tls);
    }
}

/// No session and no reply: mostly the network's trouble, which the pace hears of; what is found out
/// about the server is told by its own name.
fn without_reply(error: &SessionError) -> Finding {
    let network = network(error.phase);
    match &error.trouble {
        Some(Trouble::Tls(_) | Trouble::NotOffered(_)) => {
            Finding { rule: Own::TlsRule.as_str(), ..network }
        }
        Some(Trouble::Ourselves(_)) => Finding { rule: Own::Loop.as_str(), ..network },
        _ => network,
    }
}

/// What is told is in our words, and the rules are about those of servers: they do not read it.
pub(crate) fn network(phase: Phase) -> Finding {
    let status = Some(EnhancedStatus(4, 4, 1));
    let finding = classify(&Said { phase, code: Some(451), status, text: "" });
    Finding { category: Category::Network, hygiene: Hygiene::None, ..finding }
}

#[cfg(test)]
mod tests {
    use mail::Scope;
    use mail::classify::Permanence;

    use super::*;

    #[test]
    fn what_is_found_out_about_a_server_has_its_own_name_and_is_the_networks_trouble() {
        for (trouble, rule) in [
            (Trouble::Ourselves("us.example".into()), Own::Loop.as_str()),
            (Trouble::NotOffered("STARTTLS"), Own::TlsRule.as_str()),
            (Trouble::Timeout, network(Phase::Ehlo).rule),
        ] {
            let found = without_reply(&SessionError::trouble(Phase::Ehlo, trouble));
            assert_eq!((found.rule, found.category), (rule, Category::Network));
            assert_eq!((found.permanence, found.scope), (Permanence::Temporary, Scope::Site));
            assert_eq!(found.signal, Signal::SiteTrouble, "the pace hears of it");
        }
    }
}
