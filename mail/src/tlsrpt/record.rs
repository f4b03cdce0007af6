//! The record by which a domain asks for reports (RFC 8460, 3), and where it wants them.

use std::fmt;
use std::str::FromStr;

use crate::{Address, Domain};

/// Destinations of one record that are looked at; nobody has more for a good reason.
pub const DESTINATIONS_MAX: usize = 8;
/// A longer URI is none of use.
const URI_OCTETS_MAX: usize = 1000;

/// Where reports go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// By mail.
    Mail(Address),
    /// By a request to a web server.
    Https(HttpsUri),
}

/// A place on a web server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpsUri {
    /// The server's name.
    pub host: Domain,
    /// Its port, where it is not the usual one.
    pub port: Option<u16>,
    /// Path and query, as they stand in a request.
    pub path: String,
}

/// Why a URI is no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Longer than anybody needs.
    #[error("has more than {URI_OCTETS_MAX} octets")]
    Long,
    /// Neither of the two that RFC 8460 knows.
    #[error("is neither mailto: nor https:")]
    Scheme,
    /// What is mailed to is no address.
    #[error("names no address")]
    Address,
    /// What is posted to is no host name.
    #[error("names no host")]
    Host,
    /// A port that cannot be.
    #[error("names no port")]
    Port,
    /// A path that cannot stand in a request.
    #[error("has a character that no URI holds")]
    Path,
}

/// Where a domain wants its reports, by the texts of `_smtp._tls.DOMAIN`. None where there is no
/// such record, where there are several (RFC 8460, 3), or where it names no place that is known
/// here. The first `rua` counts; fields that are not known are passed over.
#[must_use]
pub fn destinations<S: AsRef<str>>(texts: &[S]) -> Vec<Destination> {
    let mut records = texts.iter().map(AsRef::as_ref).filter_map(fields_of);
    let (Some(fields), None) = (records.next(), records.next()) else { return Vec::new() };
    let mut pairs = fields.split(';').filter_map(|field| field.split_once('='));
    let Some((_, uris)) = pairs.find(|(key, _)| trim(key) == "rua") else { return Vec::new() };
    let known = uris.split(',').filter_map(|uri| trim(uri).parse().ok());
    let mut found = Vec::new();
    for destination in known {
        if found.len() < DESTINATIONS_MAX && !found.contains(&destination) {
            found.push(destination);
        }
    }
    found
}

/// What follows the version, if it is this one.
fn fields_of(text: &str) -> Option<&str> {
    trim(text.strip_prefix("v=TLSRPTv1")?).strip_prefix(';')
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(uri: &str) -> Result<Self, DestinationError> {
        if uri.len() > URI_OCTETS_MAX {
            return Err(DestinationError::Long);
        }
        if let Some(rest) = after_scheme(uri, "mailto:") {
            // A subject of the domain's choice (RFC 6068) has no place in a report.
            let address = rest.split('?').next().unwrap_or_default();
            let address = percent_decoded(address).ok_or(DestinationError::Address)?;
            return address.parse().map(Self::Mail).map_err(|_| DestinationError::Address);
        }
        let rest = after_scheme(uri, "https://").ok_or(DestinationError::Scheme)?;
        https(rest).map(Self::Https)
    }
}

fn after_scheme<'a>(uri: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = uri.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn https(rest: &str) -> Result<HttpsUri, DestinationError> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => {
            let number = port.parse().ok().filter(|port| *port != 0);
            (host, Some(number.ok_or(DestinationError::Port)?))
        }
        None => (authority, None),
    };
    let host = host.parse().map_err(|_| DestinationError::Host)?;
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(DestinationError::Path);
    }
    let root = if path.starts_with('/') { "" } else { "/" };
    Ok(HttpsUri { host, port, path: format!("{root}{path}") })
}

/// A comma, for one, must be written `%2C` there (RFC 8460, 3).
fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        octets.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.contains('+'))?);
        rest = after;
    }
    String::from_utf8(octets).ok()
}

/// As a URI that reads back as the same destination.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(address) => {
                f.write_str("mailto:")?;
                address.as_str().chars().try_for_each(|c| match c {
                    '%' | '?' | '#' | '/' | '&' => write!(f, "%{:02X}", u32::from(c)),
                    c => write!(f, "{c}"),
                })
            }
            Self::Https(HttpsUri { host, port: Some(port), path }) => {
                write!(f, "https://{host}:{port}{path}")
            }
            Self::Https(HttpsUri { host, port: None, path }) => write!(f, "https://{host}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        destinations(texts).iter().map(ToString::to_string).collect()
    }

    /// The first two are the examples of RFC 8460, 3.1.
    #[test]
    fn the_one_record_tells_where_reports_go() {
        let mail = ["mailto:reports@example.com"];
        assert_eq!(of(&["v=TLSRPTv1;rua=mailto:reports@example.com"]), mail);
        let web = ["https://reporting.example.com/v1/tlsrpt"];
        assert_eq!(of(&["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"]), web);
        assert_eq!(
            of(&["v=spf1 -all", "v=TLSRPTv1 ; x=y ; rua=mailto:reports@example.com;"]),
            mail
        );
        assert_eq!(
            of(&[
                "v=TLSRPTv1;rua=mailto:a@x.example ,\thttps://Y.example:8443?a=b,mailto:a@x.example"
            ]),
            ["mailto:a@x.example", "https://y.example:8443/?a=b"]
        );
        assert_eq!(of(&["v=TLSRPTv1; rua=ftp://x.example, mailto:b@x.example"]).len(), 1);
        assert_eq!(
            of(&["v=TLSRPTv1; rua=MAILTO:a%2Bb@x.example?subject=c"]),
            ["mailto:a+b@x.example"]
        );
    }

    #[test]
    fn what_is_no_single_record_asks_for_nothing() {
        for none in [
            &["v=TLSRPTv1;rua=mailto:a@x.example", "v=TLSRPTv1;rua=mailto:b@x.example"][..],
            &["v=TLSRPTv1"],
            &["v=TLSRPTv1;"],
            &["v=TLSRPTv1;rua="],
            &["v=TLSRPTv10;rua=mailto:a@x.example"],
            &["v=tlsrptv1;rua=mailto:a@x.example"],
            &[" v=TLSRPTv1;rua=mailto:a@x.example"],
            &["rua=mailto:a@x.example;v=TLSRPTv1;"],
            &["v=TLSRPTv1;rua=mailto:nobody"],
            &["v=TLSRPTv1;rua=http://x.example/"],
            &[],
        ] {
            assert_eq!(of(none), [""; 0], "{none:?}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_for_its_reason() {
        let long = format!("mailto:a@{}.example", "a".repeat(URI_OCTETS_MAX));
        for (uri, why) in [
            (long.as_str(), DestinationError::Long),
            ("http://x.example/", DestinationError::Scheme),
            ("mailto:a%@x.example", DestinationError::Address),
            ("mailto:a@x.example,b@x.example", DestinationError::Address),
            ("https://192.0.2.1/", DestinationError::Host),
            ("https://[2001:db8::1]/", DestinationError::Port),
            ("https://user@x.example/", DestinationError::Host),
            ("https:///path", DestinationError::Host),
            ("https://x.example:0/", DestinationError::Port),
            ("https://x.example:https/", DestinationError::Port),
            ("https://x.example/a b", DestinationError::Path),
            ("https://x.example/a\r\nHost: y", DestinationError::Path),
        ] {
            assert_eq!(uri.parse::<Destination>(), Err(why), "{uri}");
        }
        let many: Vec<String> = (0..20).map(|n| format!("mailto:a{n}@x.example")).collect();
        let record = format!("v=TLSRPTv1;rua={}", many.join(","));
        assert_eq!(of(&[&record]).len(), DESTINATIONS_MAX);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_it_writes_and_reads_the_same(
            text in "(v=TLSRPTv1;)?(rua=)?(mailto:|https://)?[a-z0-9.@%:/?#,;=\\PC]{0,60}"
        ) {
            for destination in destinations(&[text.as_str()]) {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }

        #[test]
        fn each_address_reads_back(local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}") {
            let address: Address = format!("{local}@x.example").parse().expect("an address");
            let destination = Destination::Mail(address);
            prop_assert_eq!(destination.to_string().parse(), Ok(destination));
        }
    }
}
