//! `malleposte suppressions`: who gets no mail, by tenant and for the whole platform; taken out of
//! other systems and given to them as CSV.

mod rows;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use mail::{Address, Timestamp};
use store::{
    ListPlace, Listed, PLATFORM, Store, StoreError, Suppression, SuppressionRecord, is_tenant,
    listing_event,
};

use super::{Global, block_on, now};
use crate::wiring::connect;
use rows::{Row, Rows};

/// Who gets no mail: show, add, remove, import, export
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Suppressions {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  malleposte suppressions show ann@example.org          why this one gets no mail
  malleposte suppressions add ann@example.org --why \"asked by telephone\" --until 2027-06-30T00:00:00Z
  malleposte suppressions remove ann@example.org        mail again; what was held against it is forgotten
  malleposte suppressions export > suppressed.csv       address,reason,category,at,expires_at,evidence
  malleposte suppressions import suppressed.csv         a column `address` is enough
  malleposte suppressions import --platform spam-traps.csv";

/// Whose list.
#[derive(Debug, Args)]
struct Whose {
    /// This tenant's list
    #[arg(long, default_value = "default", value_name = "NAME")]
    tenant: String,
    /// The platform's list, which holds for every tenant
    #[arg(long, conflicts_with = "tenant")]
    platform: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Why an address gets no mail
    Show {
        address: Address,
        #[command(flatten)]
        whose: Whose,
    },
    /// No mail for this address any more
    Add {
        address: Address,
        #[command(flatten)]
        whose: Whose,
        /// The reason, for whoever asks later
        #[arg(long, default_value = "")]
        why: String,
        /// When it ends by itself
        #[arg(long, value_name = "MOMENT")]
        until: Option<Timestamp>,
    },
    /// Mail again for this address; what was held against it is forgotten
    Remove {
        address: Address,
        #[command(flatten)]
        whose: Whose,
    },
    /// The list as CSV
    Export {
        #[command(flatten)]
        whose: Whose,
    },
    /// Addresses out of a CSV file with a header line, of which `address` is enough; `-`: standard input
    Import {
        file: PathBuf,
        #[command(flatten)]
        whose: Whose,
        /// The reason of rows that say none
        #[arg(long, default_value = "imported")]
        reason: String,
    },
}

/// Addresses that are changed at the same time.
const TOGETHER: usize = 64;
/// Faults of a file that are told one by one.
const FAULTS_TOLD_MAX: u64 = 20;

impl Suppressions {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        block_on(async move {
            let store = connect(&config).await?;
            match self.verb {
                Verb::Show { address, whose } => show(&store, whose.list()?, &address).await,
                Verb::Add { address, whose, why, until } => {
                    if until.is_some_and(|end| end <= now()) {
                        bail!("--until has passed already");
                    }
                    let record = operators(&why, until);
                    let folded = address.folded();
                    if order(&store, whose.list()?, &folded, Some(&record)).await?
                        == Listed::Outlasted
                    {
                        bail!("{folded} is suppressed for longer already; `remove` it first");
                    }
                    println!("{folded} gets no mail any more.");
                    Ok(ExitCode::SUCCESS)
                }
                Verb::Remove { address, whose } => remove(&store, whose.list()?, &address).await,
                Verb::Export { whose } => export(&store, whose.list()?).await,
                Verb::Import { file, whose, reason } => {
                    import(&store, whose.list()?, &file, &reason).await
                }
            }
        })
    }
}

impl Whose {
    /// Its name in the store.
    fn list(&self) -> anyhow::Result<&str> {
        match self.tenant.as_str() {
            _ if self.platform => Ok(PLATFORM),
            tenant if is_tenant(tenant) => Ok(tenant),
            tenant => bail!("{tenant:?} is no tenant: 1 to 64 letters, digits, - _ ."),
        }
    }
}

fn operators(why: &str, until: Option<Timestamp>) -> SuppressionRecord {
    SuppressionRecord {
        reason: "operator".into(),
        category: None,
        at: now(),
        evidence: format!("at the command line: {why}").trim_end_matches(": ").to_owned(),
        delivery: None,
        expires_at: until,
    }
}

async fn show(store: &Store, list: &str, address: &Address) -> anyhow::Result<ExitCode> {
    let folded = address.folded();
    let Some(record) = store.suppression(list, &folded, now()).await? else {
        println!("{folded} is not suppressed.");
        return Ok(ExitCode::FAILURE);
    };
    let SuppressionRecord { reason, at, evidence, .. } = &record;
    let category = record.category.map(|category| format!(" ({category})")).unwrap_or_default();
    let end = match record.expires_at {
        None => String::new(),
        Some(end) if record.holds(now()) => format!(", until {end}"),
        Some(end) => format!(", until {end}: it has ended"),
    };
    println!("{folded}: {reason}{category}, since {at}{end}");
    if !evidence.is_empty() {
        println!("  {}", mail::reply::clean_text(evidence));
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(store: &Store, list: &str, address: &Address) -> anyhow::Result<ExitCode> {
    let folded = address.folded();
    if order(store, list, &folded, None).await? == Listed::Absent {
        println!("{folded} is not suppressed.");
        return Ok(ExitCode::FAILURE);
    }
    // The platform's list holds for every tenant, and only its own command changes it.
    match store.suppression(list, &folded, now()).await? {
        None => println!("{folded} gets mail again."),
        Some(_) => println!("{folded} gets no mail: it is on the platform's list (--platform)."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Suppresses an address, or lifts it.
async fn order(
    store: &Store,
    list: &str,
    address: &str,
    record: Option<&SuppressionRecord>,
) -> Result<Listed, StoreError> {
    store.list_by_order(list, address, record, ("ops", note(list)), now()).await
}

fn note(list: &str) -> String {
    match list {
        PLATFORM => "for all tenants at the command line".into(),
        tenant => format!("for {tenant} at the command line"),
    }
}

async fn export(store: &Store, list: &str) -> anyhow::Result<ExitCode> {
    let mut out = rows::writer(BufWriter::new(io::stdout().lock()))?;
    let mut place = Some(ListPlace::default());
    while let Some(from) = place {
        let (page, next) = store.suppression_page(list, from, 1).await?;
        // What has ended is no suppression any more, and would be refused where it is imported.
        for Suppression { address, record } in page.iter().filter(|s| s.record.holds(now())) {
            out.serialize(Row::of(address, record))?;
        }
        place = next;
    }
    super::bounces::ended(out.flush(), true)
}

/// What became of a row.
enum Done {
    Written,
    /// It is suppressed already, for as long or longer.
    Known,
}

async fn import(store: &Store, list: &str, file: &Path, reason: &str) -> anyhow::Result<ExitCode> {
    let from: Box<dyn io::Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(file).with_context(|| file.display().to_string())?;
        Box::new(BufReader::new(opened))
    };
    let rows = Rows::read(from, reason, now())?;
    let (mut written, mut known, mut faults) = (0u64, 0u64, 0u64);
    let mut done = stream::iter(rows)
        .map(|(number, row)| async move {
            let row = match row {
                Ok(row) => row,
                Err(fault) => return (number, Ok(Err(fault))),
            };
            (number, one(store, list, &row).await.map(Ok))
        })
        .buffered(TOGETHER);
    while let Some((number, done)) = done.next().await {
        match done.with_context(|| format!("row {number} and what follows; import it again"))? {
            Ok(Done::Written) => written += 1,
            Ok(Done::Known) => known += 1,
            Err(fault) => {
                faults += 1;
                if faults <= FAULTS_TOLD_MAX {
                    eprintln!("{}: row {number}: {fault}", file.display());
                }
            }
        }
    }
    if faults > FAULTS_TOLD_MAX {
        eprintln!("{}: and {} more", file.display(), faults - FAULTS_TOLD_MAX);
    }
    io::stderr().flush()?;
    println!("{written} suppressed, {known} were already, {faults} rows are no suppressions.");
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One row; what is known is not made weaker.
async fn one(store: &Store, list: &str, row: &Suppression) -> Result<Done, StoreError> {
    let is_known = |known: Option<&SuppressionRecord>| {
        known.is_some_and(|known| known.holds(now()) && !row.record.outlasts(known))
    };
    let event = [listing_event(&row.address, true, "ops", note(list), now())];
    let about = (list, row.address.as_str());
    let written = store.change_listing(about, Some(&row.record), &event, is_known).await?;
    Ok(if written { Done::Written } else { Done::Known })
}
