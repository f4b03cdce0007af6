//! Providers for programs.

use mail::classify::Finding;
use mail::provider::{Faults, Provider, Providers};
use mail::throttle::Limits;
use serde_json::{Value, json};

use super::tell::Heard;

pub(super) fn list(known: &Providers, everywhere: &Limits) -> Value {
    let each = known.iter().map(|p| provider(p, &p.bounds.narrow(everywhere)));
    json!({ "providers": each.collect::<Vec<_>>() })
}

pub(super) fn provider(provider: &Provider, limits: &Limits) -> Value {
    let known = provider.bounds.known();
    let known: Vec<Value> = known
        .iter()
        .map(|b| json!({ "key": b.key, "value": b.value, "source": b.source }))
        .collect();
    let rules: Vec<Value> = provider
        .rules
        .iter()
        .map(|rule| {
            let found = rule.matches.first().map(|line| finding(&rule.example_finding(line)));
            json!({ "name": rule.name, "any": rule.any, "source": rule.source,
                    "examples": rule.matches, "finding": found })
        })
        .collect();
    json!({
        "name": provider.name,
        "title": provider.title,
        "exchangers": provider.mx.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "domains": provider.domains.iter().map(mail::Domain::as_str).collect::<Vec<_>>(),
        "known": known,
        "pace": limits,
        "rules": rules,
    })
}

pub(super) fn heard(heard: &Heard<'_>) -> Value {
    json!({
        "provider": heard.provider.map(|provider| provider.name.as_str()),
        "own_rule": heard.rule.is_some(),
        "finding": finding(&heard.finding),
    })
}

pub(super) fn checked(known: &Providers, own: usize) -> Value {
    let rules: usize = known.iter().map(|provider| provider.rules.len()).sum();
    json!({ "ok": true, "providers": known.iter().count(), "rules": rules, "files": own })
}

pub(super) fn faults(faults: &Faults) -> Value {
    let each = faults.0.iter();
    let each = each.map(|f| json!({ "file": f.file, "rule": f.rule, "what": f.what }));
    json!({ "ok": false, "faults": each.collect::<Vec<_>>() })
}

fn finding(finding: &Finding) -> Value {
    let seconds = |of: Option<std::time::Duration>| of.map(|of| of.as_secs());
    json!({
        "rule": finding.rule,
        "category": finding.category,
        "permanence": finding.permanence,
        "hygiene": finding.hygiene,
        "scope": finding.scope,
        "signal": finding.signal,
        "hold_s": seconds(finding.reaction.hold),
        "retry_s": seconds(finding.reaction.retry),
    })
}
