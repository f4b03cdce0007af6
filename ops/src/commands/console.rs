//! `malleposte console`: who may open the console.

use std::io::{Read, stdin};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use console::{check_password, hash_password, new_password};
use serde_json::json;
use store::{Operator, Role, Store};

use super::{Global, block_on, now};
use crate::config::Config;
use crate::wiring::connect;

/// Where the password comes from.
#[derive(Debug, Clone, Copy, Args)]
struct Given {
    /// Take the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

/// Octets of a name.
const NAME_MAX: usize = 64;

/// Who may open the console: add, list, remove, and new passwords
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Console {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  malleposte console add ann                       prints a password, this once
  malleposte console add wall --looks              for a screen on a wall: it gives no orders
  malleposte console password ann --password-stdin < secret.txt
  malleposte console list
  malleposte console remove ann                    her sessions end";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lets somebody in
    Add {
        /// The name to sign in with
        name: String,
        /// Looks, and gives no orders
        #[arg(long)]
        looks: bool,
        #[command(flatten)]
        given: Given,
    },
    /// Sets a new password; who was signed in with the old one is signed out
    Password {
        /// The name to sign in with
        name: String,
        #[command(flatten)]
        given: Given,
    },
    /// Takes a person's way in
    Remove {
        /// The name to sign in with
        name: String,
    },
    /// Who may sign in
    List {
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

impl Console {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        block_on(async move {
            let store = connect(&config).await?;
            match self.verb {
                Verb::Add { name, looks, given } => {
                    add(&store, &config, &name, looks, given).await?;
                }
                Verb::Password { name, given } => password(&store, &name, given).await?,
                Verb::Remove { name } => {
                    if !store.remove_operator(&name).await? {
                        bail!("{name:?} could not sign in anyway; see `malleposte console list`");
                    }
                    println!("{name} may sign in no more");
                }
                Verb::List { json } => list(&store, json).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn add(
    store: &Store,
    config: &Config,
    name: &str,
    looks: bool,
    given: Given,
) -> anyhow::Result<()> {
    check_name(name)?;
    if store.operator(name).await?.is_some() {
        bail!("{name:?} may sign in already; `malleposte console password` sets a new password");
    }
    let (role, given) = (if looks { Role::Look } else { Role::Operate }, given.read()?);
    let password = given.clone().unwrap_or_else(new_password);
    put(store, name, role, &password).await?;
    println!("{name} may sign in at http://{}/console", config.api.listen);
    if given.is_none() {
        println!("password, shown only now: {password}");
    }
    Ok(())
}

async fn password(store: &Store, name: &str, given: Given) -> anyhow::Result<()> {
    let Some(operator) = store.operator(name).await? else {
        bail!("nobody signs in as {name:?}; see `malleposte console list`");
    };
    let given = given.read()?;
    let password = given.clone().unwrap_or_else(new_password);
    let changed = Operator { password: hash_password(&password), changed_at: now(), ..operator };
    store.put_operator(name, &changed).await?;
    match given {
        Some(_) => println!("{name} has the new password"),
        None => println!("password of {name}, shown only now: {password}"),
    }
    Ok(())
}

/// Lets somebody in who may give orders.
pub(crate) async fn add_operator(store: &Store, name: &str, password: &str) -> anyhow::Result<()> {
    put(store, name, Role::Operate, password).await
}

async fn put(store: &Store, name: &str, role: Role, password: &str) -> anyhow::Result<()> {
    let at = now();
    let operator =
        Operator { password: hash_password(password), role, created_at: at, changed_at: at };
    Ok(store.put_operator(name, &operator).await?)
}

async fn list(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let operators = store.operators().await?;
    if as_json {
        let view = |(name, operator): &(String, Operator)| {
            json!({ "name": name, "role": operator.role, "created_at": operator.created_at.to_string(),
                "changed_at": operator.changed_at.to_string() })
        };
        println!("{}", json!({ "operators": operators.iter().map(view).collect::<Vec<_>>() }));
        return Ok(());
    }
    if operators.is_empty() {
        println!("nobody may sign in: `malleposte console add NAME`");
    }
    for (name, operator) in operators {
        println!("{name}  may {}, since {}", operator.role, operator.created_at);
    }
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        bail!("{name:?} is no name to sign in with: 1 to {NAME_MAX} letters, digits, - _ . @");
    }
    Ok(())
}

impl Given {
    /// The password, if one is given.
    fn read(self) -> anyhow::Result<Option<String>> {
        if !self.password_stdin {
            return Ok(None);
        }
        let mut text = String::new();
        stdin().take(4096).read_to_string(&mut text)?;
        let password = text.trim_end_matches(['\r', '\n']);
        match check_password(password) {
            Ok(()) => Ok(Some(password.to_owned())),
            Err(why) => bail!("{why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_can_be_typed() {
        for name in ["ann", "ann.b-c_9@example.org"] {
            check_name(name).expect("a name");
        }
        for name in ["", "ann b", "änn", "a\u{202e}", &"x".repeat(65)] {
            let refused = check_name(name).expect_err("refused").to_string();
            assert!(refused.contains(&format!("{name:?}")), "{refused}");
        }
    }
}
