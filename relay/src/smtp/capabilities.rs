//! What a server offers, as its answer to EHLO says.

/// What the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: the most octets it takes, 0 for no fixed limit.
    pub size: Option<u64>,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 8689.
    pub require_tls: bool,
}

impl Capabilities {
    /// What the answer to EHLO says (RFC 5321, 4.1.1.1).
    pub(super) fn of(text: &str) -> Self {
        let mut offered = Self::default();
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "SIZE" => offered.size = Some(words.next().map_or(0, |n| n.parse().unwrap_or(0))),
                "STARTTLS" => offered.starttls = true,
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "REQUIRETLS" => offered.require_tls = true,
                "DSN" => offered.dsn = true,
                "CHUNKING" => offered.chunking = true,
                _ => {}
            }
        }
        offered
    }
}
