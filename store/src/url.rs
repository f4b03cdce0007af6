//! One address tells the topology: a single server, a service that sentinels watch, or
//! a cluster. Nothing is connected here.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::error::StoreError;

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How the store's servers stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    Single(Place),
    /// The primary is whichever server these sentinels say.
    Sentinel {
        sentinels: Vec<Place>,
        service: String,
    },
    /// The map of slots is asked of these and of those that they name.
    Cluster(Vec<Place>),
}

/// What an address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) layout: Layout,
    pub(crate) tls: bool,
    pub(crate) db: i64,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

const SENTINEL_PORT: u16 = 26379;
const REDIS_PORT: u16 = 6379;

impl Target {
    /// Reads `store.url`; the error quotes it without its password.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let parsed = match url.split_once("://") {
            Some(("redis+sentinel", rest)) => sentinel(rest, false),
            Some(("rediss+sentinel", rest)) => sentinel(rest, true),
            Some(("redis+cluster", rest)) => cluster(rest, false),
            Some(("rediss+cluster", rest)) => cluster(rest, true),
            _ => single(url),
        };
        parsed.map_err(|why| StoreError::BadUrl { url: without_password(url), why })
    }
}

fn single(url: &str) -> Result<Target, String> {
    let info = url.into_connection_info().map_err(|e| e.to_string())?;
    let (place, tls) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => (Place::Tcp(host.clone(), *port), false),
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err("a certificate that nobody checks protects nothing: leave out #insecure \
                        and name its authority in store.tls_ca_file"
                .into());
        }
        ConnectionAddr::TcpTls { host, port, .. } => (Place::Tcp(host.clone(), *port), true),
        ConnectionAddr::Unix(path) => (Place::Unix(path.clone()), false),
        _ => return Err("it is of an unknown kind".into()),
    };
    let settings = info.redis_settings();
    Ok(Target {
        layout: Layout::Single(place),
        tls,
        db: settings.db(),
        username: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
    })
}

fn sentinel(rest: &str, tls: bool) -> Result<Target, String> {
    let (user, rest) = user_info(rest)?;
    let (hosts, service) = rest.split_once('/').unwrap_or((rest, ""));
    let service = service.trim_end_matches('/');
    if service.is_empty() || service.contains('/') {
        return Err("behind the sentinels stands the name of the service that they watch: \
                    redis+sentinel://one:26379,two:26379/NAME"
            .into());
    }
    let sentinels = places(hosts, SENTINEL_PORT)?;
    let layout = Layout::Sentinel { sentinels, service: service.to_owned() };
    Ok(Target { layout, tls, db: 0, username: user.0, password: user.1 })
}

fn cluster(rest: &str, tls: bool) -> Result<Target, String> {
    let (user, rest) = user_info(rest)?;
    let hosts = rest.strip_suffix('/').unwrap_or(rest);
    if hosts.contains('/') {
        return Err("a cluster has no databases: nothing stands behind its hosts".into());
    }
    let layout = Layout::Cluster(places(hosts, REDIS_PORT)?);
    Ok(Target { layout, tls, db: 0, username: user.0, password: user.1 })
}

type User = (Option<String>, Option<String>);

fn user_info(rest: &str) -> Result<(User, &str), String> {
    let Some((user, rest)) = rest.rsplit_once('@') else { return Ok(((None, None), rest)) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let part = |text: &str| {
        let plain = percent_decoded(text).ok_or("its user or password is not percent-encoded")?;
        Ok::<_, String>(Some(plain).filter(|p| !p.is_empty()))
    };
    Ok(((part(name)?, part(password)?), rest))
}

fn percent_decoded(text: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

fn places(hosts: &str, port: u16) -> Result<Vec<Place>, String> {
    hosts.split(',').map(|host| place(host.trim(), port)).collect()
}

fn place(text: &str, default: u16) -> Result<Place, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or_else(|| format!("{text:?} lacks its \"]\""))?;
            (host, rest.strip_prefix(':'))
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => default,
        Some(port) => port.parse().map_err(|_| format!("{port:?} is not a port"))?,
    };
    if host.is_empty() {
        return Err(format!("{text:?} names no host"));
    }
    Ok(Place::Tcp(host.to_owned(), port))
}

/// An address without what may be a password.
pub(crate) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp(host.into(), port)
    }

    #[test]
    fn one_address_tells_the_topology() {
        let layout = |url: &str| Target::parse(url).unwrap().layout;
        assert_eq!(layout("redis://h:7000"), Layout::Single(tcp("h", 7000)));
        assert_eq!(
            layout("redis+unix:///run/r.sock"),
            Layout::Single(Place::Unix("/run/r.sock".into()))
        );
        assert_eq!(
            layout("redis+sentinel://a:1,b,[::1]:3/queue"),
            Layout::Sentinel {
                sentinels: vec![tcp("a", 1), tcp("b", 26379), tcp("::1", 3)],
                service: "queue".into()
            }
        );
        assert_eq!(
            layout("rediss+cluster://a:1,b/"),
            Layout::Cluster(vec![tcp("a", 1), tcp("b", 6379)])
        );
    }

    #[test]
    fn tls_user_and_password_are_read_in_every_form() {
        for url in [
            "rediss://mp:p%40ss@h:1",
            "rediss+sentinel://mp:p%40ss@h:1/q",
            "rediss+cluster://mp:p%40ss@h:1",
        ] {
            let target = Target::parse(url).unwrap();
            assert!(target.tls, "{url}");
            assert_eq!(target.username.as_deref(), Some("mp"), "{url}");
            assert_eq!(target.password.as_deref(), Some("p@ss"), "{url}");
        }
    }

    #[test]
    fn a_bad_address_is_quoted_without_its_password() {
        for (url, why) in [
            ("http://u:secret@h", ""),
            ("redis+sentinel://u:secret@h:1", "the name of the service"),
            ("redis+cluster://u:secret@h:1/3", "no databases"),
            ("redis+cluster://u:secret@h:70000", "\"70000\" is not a port"),
            ("redis+cluster://u:secret@", "names no host"),
            ("redis+cluster://u:secr%zz@h", "percent-encoded"),
            ("rediss://u:secret@h/#insecure", "tls_ca_file"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("secr"), "{error}");
            assert!(error.contains("://"), "{error}");
        }
    }
}
