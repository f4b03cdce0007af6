//! Providers in words.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mail::classify::Finding;
use mail::plain::{Lang, explain};
use mail::provider::{Provider, Providers, Rule};
use mail::throttle::Limits;

/// What a reply came to.
pub(super) struct Heard<'a> {
    pub(super) provider: Option<&'a Arc<Provider>>,
    /// The provider's rule, if one of its own decided.
    pub(super) rule: Option<&'a Rule>,
    pub(super) finding: Finding,
}

pub(super) fn list(known: &Providers, everywhere: &Limits) -> String {
    let mut text = format!(
        "{:<18} {:>11} {:>8} {:>8} {:>5}  {}\n",
        "provider", "connections", "msg/conn", "rate", "rules", "exchangers"
    );
    for provider in known.iter() {
        let limits = provider.bounds.narrow(everywhere);
        let connections = format!("{}–{}", limits.connections_start, limits.connections_max);
        let _ = writeln!(
            text,
            "{:<18} {:>11} {:>8} {:>8} {:>5}  {}",
            provider.name,
            connections,
            limits.messages_per_connection_max,
            format!("{}/s", limits.rate_start),
            provider.rules.len(),
            exchangers(provider)
        );
    }
    text.push_str(
        "\nconnections: at first and at most; rate: at first. The pace finds the rest.\n",
    );
    text
}

pub(super) fn provider(provider: &Provider, limits: &Limits) -> String {
    let mut text = format!("{}: {}\n", provider.name, provider.title);
    let _ = writeln!(text, "  exchangers  {}", exchangers(provider));
    if !provider.domains.is_empty() {
        let domains: Vec<&str> = provider.domains.iter().map(mail::Domain::as_str).collect();
        let _ = writeln!(text, "  domains     {}", domains.join(", "));
    }
    text.push_str("\nWhat is known of its limits\n");
    if provider.bounds.known().is_empty() {
        text.push_str("  nothing\n");
    }
    for bound in provider.bounds.known() {
        let _ = writeln!(text, "  {:<27} {:>6}  {}", bound.key, bound.value, bound.source);
    }
    text.push_str("\nThe pace at its sites, with relay.pace\n");
    let _ = writeln!(text, "  from {} to {} messages a second", limits.rate_start, limits.rate_max);
    let (first, most) = (limits.connections_start, limits.connections_max);
    let _ = writeln!(text, "  from {first} to {most} connections");
    let _ = writeln!(text, "  {} messages over one connection", limits.messages_per_connection_max);
    let (first, most) = (words(limits.hold_s), words(limits.hold_max_s));
    let _ = writeln!(text, "  after a block it rests for {first}, and for {most} at most");
    if let Some(retry) = provider.bounds.retry_s {
        let _ = writeln!(text, "  {} between attempts at least", words(retry));
    }
    text.push_str("\nIts rules, in the order of asking; general rules follow\n");
    if provider.rules.is_empty() {
        text.push_str("  none\n");
    }
    for rule in &provider.rules {
        let _ = writeln!(text, "  {}", rule.name);
        if let Some(line) = rule.matches.first() {
            let _ = writeln!(text, "    {line}");
            let finding = rule.example_finding(line);
            let _ = writeln!(text, "    {}", consequence(&finding).join("; "));
        }
        if !rule.source.is_empty() {
            let _ = writeln!(text, "    {}", rule.source);
        }
    }
    text
}

pub(super) fn heard(heard: &Heard<'_>) -> String {
    let Heard { provider, rule, finding } = heard;
    let whose = match provider {
        Some(provider) => format!("{} ({})", provider.name, provider.title),
        None => "none is known; the general rules decide".to_owned(),
    };
    let mut text = format!("provider  {whose}\n");
    let kind = if rule.is_some() { "its own" } else { "a general one" };
    let _ = writeln!(text, "rule      {}, {kind}", finding.rule);
    if let Some(rule) = rule.filter(|rule| !rule.source.is_empty()) {
        let _ = writeln!(text, "source    {}", rule.source);
    }
    let _ = writeln!(text, "meaning   {}", explain(finding.category, Lang::En).what);
    let _ = writeln!(text, "follows   {}", consequence(finding).join("\n          "));
    text
}

pub(super) fn checked(known: &Providers, folder: &Path, own: usize) -> String {
    let rules: usize = known.iter().map(|provider| provider.rules.len()).sum();
    let all =
        format!("{} providers, {rules} rules, each claims its examples", known.iter().count());
    match own {
        0 => format!("{all}: OK"),
        _ => format!("{}: {own} files over the built-in ones; {all}: OK", folder.display()),
    }
}

fn exchangers(provider: &Provider) -> String {
    provider.mx.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What follows from a finding, a line each.
fn consequence(finding: &Finding) -> Vec<String> {
    let Finding { category, permanence, hygiene, scope, signal, reaction, .. } = finding;
    let mut lines = vec![
        format!("{category}, {permanence}; the address: {hygiene}"),
        format!("about: {scope}; the pace: {signal}"),
    ];
    let seconds = |of: Duration| words(of.as_secs());
    lines.extend(
        reaction.hold.map(|hold| format!("should it rest for that, then for {}", seconds(hold))),
    );
    lines.extend(
        reaction
            .retry
            .map(|retry| format!("the recipient goes again, not before {}", seconds(retry))),
    );
    lines
}

/// Seconds as people say them.
fn words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
