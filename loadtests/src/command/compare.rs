//! `loadtests compare`: Postfix beside us. Arguments and output only.

use anyhow::Result;
use serde_json::{Value, json};

use super::under_test::UnderTest;
use crate::bench::{Comparison, DURABILITY, Machine, SHARDS, Signing, Wish, compare};

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Messages of our run, one recipient each.
    #[arg(long, default_value_t = 30_000)]
    messages: u64,
    /// How many of the same messages Postfix is given; it takes some three milliseconds for each.
    #[arg(long, default_value_t = 5_000)]
    postfix_messages: usize,
    /// Octets of text and HTML of a message.
    #[arg(long, default_value_t = 10_000)]
    bytes: usize,
    /// SMTP connections of each to the sink.
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When Postfix is not there, this is not root, or not every message arrives once.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let wish = Wish {
        messages: arguments.messages.max(arguments.postfix_messages as u64),
        octets: arguments.bytes,
        tls: false,
        signing: Signing::None,
        chunking: false,
        connections: arguments.connections,
        shards: SHARDS,
        seed: arguments.seed,
    };
    let comparison = compare(&program, &wish, arguments.postfix_messages).await?;
    if arguments.under_test.json {
        println!("{}", report(&arguments, &Machine::here(), &comparison));
    } else {
        print(&comparison);
    }
    Ok(())
}

fn report(arguments: &Arguments, machine: &Machine, comparison: &Comparison) -> Value {
    let Comparison { postfix_cpu_us, ours_cpu_us, ratio, postfix, ours } = comparison;
    json!({
        "machine": machine,
        "bytes": arguments.bytes,
        "connections": arguments.connections,
        "postfix_cpu_us": postfix_cpu_us,
        "ours_cpu_us": ours_cpu_us,
        "ratio": ratio,
        "postfix": postfix,
        "ours": ours,
    })
}

fn print(comparison: &Comparison) {
    let Comparison { postfix_cpu_us, ours_cpu_us, ratio, postfix, ours } = comparison;
    println!("CPU a message, plain, {} octets on the wire:", ours.wire_bytes);
    println!(
        "  Postfix     {postfix_cpu_us:>8.1} µs   {:>6.0}/s   {}",
        postfix.messages_per_s, postfix.durability
    );
    println!(
        "  malleposte  {ours_cpu_us:>8.1} µs   {:>6.0}/s   appendfsync {DURABILITY}, at acceptance \
         and at each settlement",
        ours.messages_per_s
    );
    println!("  {ratio:.1} times less");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::throughput::tests::{machine, run, run_as_json};
    use super::*;
    use crate::bench::Other;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn the_comparison_is_what_scripts_read() {
        let line = Line::parse_from(["compare", "--json", "--bytes", "50000"]);
        let postfix = Other {
            messages: 5_000,
            wire_bytes: 10_800,
            seconds: 10.0,
            messages_per_s: 500.0,
            durability: "fsync of the queue file before the answer",
        };
        let comparison = Comparison {
            postfix_cpu_us: 2_350.0,
            ours_cpu_us: 47.0,
            ratio: 50.0,
            postfix,
            ours: run(),
        };
        let expected = json!({
            "machine": { "cpus": 2, "model": "made up" },
            "bytes": 50_000,
            "connections": 20,
            "postfix_cpu_us": 2_350.0,
            "ours_cpu_us": 47.0,
            "ratio": 50.0,
            "postfix": {
                "messages": 5_000,
                "wire_bytes": 10_800,
                "seconds": 10.0,
                "messages_per_s": 500.0,
                "durability": "fsync of the queue file before the answer",
            },
            "ours": run_as_json(),
        });
        assert_eq!(report(&line.arguments, &machine(), &comparison), expected);
    }
}
