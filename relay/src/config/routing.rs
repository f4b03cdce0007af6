//! Next hops other than a domain's exchangers, and which mail takes them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail::Domain;
use mail::route::{Routes, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::Https;

use super::{Config, OAuth};
use crate::smtp::{Login, Mechanism, SecretFrom};
use crate::tokens::Tokens;

/// Which mail takes which next hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The recipient's domain: `example.org`, `*.example.org` for every domain below it, or `*`.
    #[serde(default = "any")]
    pub recipient_domain: String,
    /// The domain of the campaign's From, written in the same way.
    #[serde(default = "any")]
    pub sender_domain: String,
    /// Only this tenant's campaigns. Empty: everybody's.
    #[serde(default)]
    pub tenant: String,
    /// `mx` for the exchangers of the recipient's domain, or one of `relay.smart_hosts`.
    pub to: String,
}

fn any() -> String {
    "*".into()
}

/// A server that takes mail for any domain and brings it there. Its name is its site's: it has a
/// pace of its own, and `relay.sites` may name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmartHost {
    /// Its name or address, or `mx:example.org` for the exchangers of a domain. It may lie in
    /// private address space, because you named it.
    pub host: String,
    /// 25, 465 or 587; 0: 465 with implicit TLS, else 587.
    #[serde(default)]
    pub port: u16,
    /// When encryption begins.
    #[serde(default)]
    pub tls: HopTls,
    /// Whether its certificate must be good for its name. Without, whoever sits between reads mail
    /// and password.
    #[serde(default = "yes")]
    pub verify: bool,
    /// How to log in.
    #[serde(default)]
    pub auth: Auth,
    /// Who logs in.
    #[serde(default)]
    pub user: String,
    /// The file that holds the password, or for `xoauth2` the access token; read again for each
    /// connection, so that another program may renew it. An absolute path.
    #[serde(default)]
    pub secret_file: PathBuf,
    /// Or the environment variable that holds it.
    #[serde(default)]
    pub secret_env: String,
    /// Where access tokens for `xoauth2` are given out; then no other secret is needed.
    #[serde(default)]
    pub oauth: Option<OAuth>,
    /// The pool that it is spoken to from, whatever the campaign says. Empty: the campaign's.
    #[serde(default)]
    pub pool: String,
}

fn yes() -> bool {
    true
}

/// When a next hop's encryption begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HopTls {
    /// With STARTTLS, and not without.
    #[default]
    StartTls,
    /// At once, as on port 465 (RFC 8314).
    Implicit,
    /// Never: for a server on this host.
    None,
}

/// How to log in to a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Not at all: it knows us by our address.
    #[default]
    None,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN, of servers that have no PLAIN.
    Login,
    /// XOAUTH2, of Google and Microsoft.
    XOAuth2,
}

/// A secret in the environment or in a file is a line; more is another file.
const NAME_MAX: usize = 64;

impl SmartHost {
    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        match (self.port, self.tls) {
            (0, HopTls::Implicit) => 465,
            (0, HopTls::StartTls | HopTls::None) => 587,
            (port, _) => port,
        }
    }

    /// How to log in, if it is wanted.
    pub(crate) fn login(&self, https: &Arc<Https>) -> Option<Login> {
        let mechanism = match self.auth {
            Auth::None => return None,
            Auth::Plain => Mechanism::Plain,
            Auth::Login => Mechanism::Login,
            Auth::XOAuth2 => Mechanism::XOAuth2,
        };
        let tokens = self.oauth.as_ref().and_then(|grant| Tokens::new(grant, https));
        let secret = match (tokens, self.secret_env.as_str()) {
            (Some(tokens), _) => SecretFrom::Granted(Arc::new(tokens)),
            (None, "") => SecretFrom::File(self.secret_file.clone()),
            (None, name) => SecretFrom::Variable(name.to_owned()),
        };
        Some(Login { mechanism, user: self.user.clone(), secret })
    }

    /// The domain whose exchangers it is, if it is written so.
    pub(crate) fn exchangers_of(&self) -> Option<Domain> {
        self.host.strip_prefix("mx:")?.parse().ok()
    }

    fn check(&self) -> Result<(), String> {
        let host = self.host.strip_prefix("mx:").unwrap_or(&self.host);
        let is_host = host == self.host && (host.parse::<IpAddr>().is_ok() || is_label(host));
        if !is_host && host.parse::<Domain>().is_err() {
            return Err(format!("host {:?} is neither a name nor an address", self.host));
        }
        if self.auth == Auth::None {
            return self.check_nothing_is_left_over();
        }
        if self.user.is_empty() || self.user.chars().any(char::is_control) {
            return Err(format!("user {:?}: auth needs one", self.user));
        }
        if host != self.host {
            return Err(format!(
                "auth with host {:?}: whoever can forge that domain's DNS would be told the \
                 password; name the host itself",
                self.host
            ));
        }
        self.check_secret()?;
        if self.tls == HopTls::None && !is_local(host) {
            return Err(format!(
                "auth without TLS would show the password to whoever sits between: tls = \"none\" \
                 is only for this host, and {host:?} is another"
            ));
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), String> {
        let named = [!self.secret_env.is_empty(), self.has_file(), self.oauth.is_some()];
        match (&self.oauth, named.iter().filter(|named| **named).count()) {
            (Some(_), 1) if self.auth != Auth::XOAuth2 => {
                Err("oauth is for auth = \"xoauth2\"".to_owned())
            }
            (Some(oauth), 1) => oauth.check(),
            (None, 1) if self.has_file() && !self.secret_file.is_absolute() => {
                Err(format!("secret_file {:?} is not an absolute path", self.secret_file))
            }
            (None, 1) => Ok(()),
            _ => Err("auth needs either secret_file or secret_env, or oauth".to_owned()),
        }
    }

    fn has_file(&self) -> bool {
        self.secret_file != Path::new("")
    }

    fn check_nothing_is_left_over(&self) -> Result<(), String> {
        let has_secret = self.has_file() || !self.secret_env.is_empty() || self.oauth.is_some();
        if has_secret || !self.user.is_empty() {
            return Err("user and secret are given and auth is \"none\"".to_owned());
        }
        Ok(())
    }
}

/// A name of one's own network: `postfix`.
fn is_label(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    !host.is_empty() && host.len() < 64 && host.bytes().all(plain)
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The routes of a configuration, each to a smart host or, `None`, to the exchangers.
///
/// # Errors
/// The first thing that does not hold.
pub(crate) fn routes(config: &Config) -> Result<Routes<Option<String>>, String> {
    for (name, host) in &config.smart_hosts {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        if name.is_empty() || name.len() > NAME_MAX || name == "mx" || !name.bytes().all(plain) {
            return Err(format!(
                "relay.smart_hosts.{name:?}: a name is of lower-case letters, digits, - and _, \
                 and not \"mx\""
            ));
        }
        host.check().map_err(|why| format!("relay.smart_hosts.{name}: {why}"))?;
        if !config.has_pool(&host.pool) {
            let pool = &host.pool;
            return Err(format!("relay.smart_hosts.{name}: {pool:?} is not one of relay.pools"));
        }
    }
    let routes = config.routes.iter().enumerate().map(|(at, route)| {
        route.parse(config).map_err(|why| format!("relay.routes, number {}: {why}", at + 1))
    });
    let routes = routes.collect::<Result<Routes<_>, String>>()?;
    match routes.shadowed() {
        Some((at, before)) => Err(format!(
            "relay.routes, number {}: no mail comes to it, number {} takes all; the first that \
             fits decides",
            at + 1,
            before + 1
        )),
        None => Ok(routes),
    }
}

impl Route {
    fn parse(&self, config: &Config) -> Result<(Rule, Option<String>), String> {
        let pattern = |key: &str, text: &str| text.parse().map_err(|e| format!("{key}: {e}"));
        let rule = Rule {
            recipient: pattern("recipient_domain", &self.recipient_domain)?,
            sender: pattern("sender_domain", &self.sender_domain)?,
            tenant: (!self.tenant.is_empty()).then(|| self.tenant.clone()),
        };
        match self.to.as_str() {
            "mx" => Ok((rule, None)),
            name if config.smart_hosts.contains_key(name) => Ok((rule, Some(name.to_owned()))),
            name => Err(format!("to: {name:?} is neither \"mx\" nor one of relay.smart_hosts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> String {
        let config: Config = toml::from_str(toml).expect(toml);
        config.check().expect_err(toml).to_string()
    }

    const GOOD: &str = "
        [[routes]]
        recipient_domain = 'partner.example'
        to = 'mx'
        [[routes]]
        sender_domain = '*.example.org'
        to = 'm365'
        [smart_hosts.m365]
        host = 'smtp.office365.com'
        auth = 'xoauth2'
        user = 'news@example.org'
        secret_file = '/run/token'
    ";

    #[test]
    fn what_is_meant_is_taken() {
        let config: Config = toml::from_str(GOOD).expect("toml");
        config.check().expect("good");
        let host = &config.smart_hosts["m365"];
        assert_eq!((host.port(), host.tls, host.verify), (587, HopTls::StartTls, true));
        let implicit = SmartHost { tls: HopTls::Implicit, ..host.clone() };
        assert_eq!(implicit.port(), 465);
    }

    #[test]
    fn what_cannot_be_is_quoted() {
        for (from, to, quoted) in [
            ("to = 'm365'", "to = 'm356'", "number 2: to: \"m356\" is neither"),
            ("'partner.example'", "'*'", "number 2: no mail comes to it, number 1 takes all"),
            ("'*.example.org'", "'*.'", "number 2: sender_domain: \"*.\" is not a domain"),
            ("'smtp.office365.com'", "'smtp office'", "host \"smtp office\" is neither"),
            ("'/run/token'", "'token'", "secret_file \"token\" is not an absolute path"),
            ("secret_file", "secret_env = 'X'\nsecret_file", "either secret_file or secret_env"),
            ("secret_file = '/run/token'", "", "either secret_file or secret_env"),
            (
                "secret_file",
                "oauth = {token_url = 'https://a.example', client_id = 'x'}\nsecret_file",
                "or oauth",
            ),
            (
                "secret_file = '/run/token'",
                "oauth = {token_url = 'http://a.example', client_id = 'x'}",
                "\"http://a.example\" does not begin with https",
            ),
            (
                "secret_file = '/run/token'",
                "oauth = {token_url = 'https://a.example', client_id = ''}",
                "client_id is empty",
            ),
            (
                "secret_file = '/run/token'",
                "oauth = {token_url = 'https://a.example', client_id = 'x'}",
                "oauth needs client_secret_file",
            ),
            (
                "secret_file = '/run/token'",
                "oauth = {token_url = 'https://a.example', client_id = 'x', refresh_token_file = 'r'}",
                "oauth: \"r\" is not an absolute path",
            ),
            ("user = 'news@example.org'", "", "user \"\": auth needs one"),
            ("'smtp.office365.com'", "'mx:example.org'", "auth with host \"mx:example.org\""),
            ("auth = 'xoauth2'", "", "auth is \"none\""),
            ("auth = ", "tls = 'none'\nauth = ", "\"smtp.office365.com\" is another"),
            ("auth = ", "pool = 'vip'\nauth = ", "\"vip\" is not one of relay.pools"),
            ("smart_hosts.m365", "smart_hosts.'M.365'", "\"M.365\""),
        ] {
            let error = refused(&GOOD.replacen(from, to, 1));
            assert!(error.contains(quoted), "{error}");
        }
    }

    #[test]
    fn a_password_in_the_clear_is_for_this_host_only() {
        for host in ["127.0.0.1", "::1", "localhost"] {
            let own =
                GOOD.replace("smtp.office365.com", host).replace("auth =", "tls='none'\nauth =");
            let config: Config = toml::from_str(&own).expect("toml");
            config.check().expect(host);
        }
    }
}
