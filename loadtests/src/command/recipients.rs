//! `loadtests recipients`: a pretend campaign's recipients on standard output.

use anyhow::{Context, Result};

use crate::generator::{Generator, Template};

/// What to write.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many recipients.
    #[arg(long, short, default_value_t = 1_000)]
    number: u64,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the recipients that repeat an earlier address.
    #[arg(long, default_value_t = 0.0)]
    repeats: f64,
    /// Instead of recipients, a template of about this many octets as JSON.
    #[arg(long)]
    template: Option<usize>,
}

/// Writes them.
///
/// # Errors
/// When standard output is closed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = std::io::stdout().lock();
    if let Some(octets) = arguments.template {
        let t = Template::of_size(octets);
        let json = serde_json::json!({ "subject": t.subject, "text": t.text, "html": t.html });
        return serde_json::to_writer_pretty(out, &json).context("cannot write the template");
    }
    Generator::new(arguments.seed, arguments.number)
        .with_repeats(arguments.repeats)
        .write_ndjson(out)
        .context("cannot write the recipients")
}
