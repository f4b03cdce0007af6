//! What an operator says with an order: of what, who and why.

use anyhow::bail;
use clap::Args;
use mail::orders::ScopeKind;

/// Who and why.
#[derive(Debug, Args)]
pub(crate) struct Signed {
    /// Why; it stands in the event and in the list of orders
    #[arg(long, value_name = "TEXT")]
    pub(in crate::commands) why: String,
    /// Who; the user of this shell when it is not given
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Signed {
    /// By somebody whose name is known.
    pub(crate) fn new(by: &str, why: &str) -> Self {
        Self { why: why.to_owned(), by: Some(by.to_owned()) }
    }

    pub(in crate::commands) fn by(&self) -> String {
        let user = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
        let given = self.by.clone().or_else(|| user("SUDO_USER")).or_else(|| user("USER"));
        given.unwrap_or_else(|| "operator".into())
    }

    pub(in crate::commands) fn check(&self) -> anyhow::Result<()> {
        if self.why.trim().is_empty() || self.why.chars().any(char::is_control) {
            bail!("--why {:?}: say in a line why, for whoever reads it later", self.why);
        }
        Ok(())
    }
}

/// What an order is about.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// all, site, source, tenant, campaign or domain
    #[arg(value_name = "KIND", value_parser = kind)]
    pub(super) kind: ScopeKind,
    /// Which one. A site may also be named by a domain that it serves, such as gmail.com
    #[arg(value_name = "NAME", default_value = "")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) signed: Signed,
}

impl About {
    pub(crate) fn new(kind: ScopeKind, name: &str, signed: Signed) -> Self {
        Self { kind, name: name.to_owned(), signed }
    }
}

fn kind(word: &str) -> Result<ScopeKind, String> {
    ScopeKind::from_word(word).ok_or_else(|| {
        let all: Vec<&str> = ScopeKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("one of {}", all.join(", "))
    })
}
