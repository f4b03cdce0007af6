//! Where the access tokens of a next hop come from.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::Uri;

/// Where access tokens are given out, and what for (RFC 6749). With a refresh token they are those
/// of the mailbox whose owner gave it; without, the application speaks for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token` or
    /// `https://oauth2.googleapis.com/token`.
    pub token_url: String,
    /// The application, as it is registered there.
    pub client_id: String,
    /// What the tokens are to be good for. Microsoft wants
    /// `https://outlook.office365.com/.default`, Google nothing with a refresh token.
    #[serde(default)]
    pub scope: String,
    /// The file that holds the application's secret. An absolute path.
    #[serde(default)]
    pub client_secret_file: PathBuf,
    /// The file that holds the refresh token. An absolute path; where an answer brings a new one,
    /// that is written there.
    #[serde(default)]
    pub refresh_token_file: PathBuf,
}

impl OAuth {
    /// The address, with its parts.
    pub(crate) fn uri(&self) -> Result<Uri, String> {
        let wrong = |why: &str| format!("oauth: token_url {:?} {why}", self.token_url);
        let uri: Uri = self.token_url.parse().map_err(|_| wrong("is no address of a web page"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(host)) if !host.is_empty() => Ok(uri),
            _ => Err(wrong("does not begin with https:// and a host: a secret goes there")),
        }
    }

    /// Whether tokens are asked for in the name of a mailbox.
    pub(crate) fn has_refresh_token(&self) -> bool {
        self.refresh_token_file != Path::new("")
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.uri()?;
        if self.client_id.is_empty() {
            return Err("oauth: client_id is empty".to_owned());
        }
        let files = [&self.client_secret_file, &self.refresh_token_file];
        let named: Vec<_> = files.into_iter().filter(|path| **path != Path::new("")).collect();
        match named.iter().find(|path| !path.is_absolute()) {
            Some(path) => Err(format!("oauth: {path:?} is not an absolute path")),
            None if named.is_empty() => {
                Err("oauth needs client_secret_file, refresh_token_file, or both".to_owned())
            }
            None => Ok(()),
        }
    }
}
