//! Reports about TLS to those who ask for them.

use mail::Address;
use mail::tlsrpt::Submitter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Octets of a name or a contact; one of more is a mistake.
const TEXT_OCTETS_MAX: usize = 200;

/// Reports about TLS (RFC 8460) to domains that ask for them in DNS: once a day, how many sessions
/// were as the domain's policy wants them, and what was wrong with the others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsReports {
    /// The address that reports come from; its domain needs a DKIM key here. Empty: nothing is
    /// counted, no report is sent.
    pub from: String,
    /// Who reports, in words. Empty: the domain of `from`.
    pub organization: String,
    /// How to reach whoever answers questions about reports. Empty: `from`.
    pub contact: String,
}

impl TlsReports {
    /// Who reports, and from which address; none where reports are off.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn submitter(&self) -> Result<Option<(Address, Submitter)>, ConfigError> {
        let refuse = |what: String| Err(ConfigError::Setting(what));
        for (key, text) in [("organization", &self.organization), ("contact", &self.contact)] {
            if !text.is_empty() && self.from.is_empty() {
                return refuse(format!(
                    "relay.tls_reports.{key} is given and relay.tls_reports.from is not: \
                     give the address that reports come from"
                ));
            }
            if text.len() > TEXT_OCTETS_MAX || text.chars().any(char::is_control) {
                return refuse(format!(
                    "relay.tls_reports.{key} {text:?} must be one line of at most \
                     {TEXT_OCTETS_MAX} octets"
                ));
            }
        }
        if self.from.is_empty() {
            return Ok(None);
        }
        let wrong = |why: &str| format!("relay.tls_reports.from {:?} {why}", self.from);
        let from: Address = match self.from.parse() {
            Ok(from) => from,
            Err(error) => return refuse(wrong(&format!("is not an address: it {error}"))),
        };
        if from.needs_smtputf8() {
            return refuse(wrong("must be ASCII: not every server takes another"));
        }
        let or = |text: &String, other: &str| match text.as_str() {
            "" => other.to_owned(),
            text => text.to_owned(),
        };
        let domain = from.domain();
        let organization = or(&self.organization, domain.as_str());
        let contact = or(&self.contact, from.as_str());
        Ok(Some((from, Submitter { domain, organization, contact })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<(Address, Submitter)>, String> {
        let config: TlsReports = toml::from_str(text).expect(text);
        config.submitter().map_err(|error| error.to_string())
    }

    #[test]
    fn reports_are_off_until_there_is_an_address_to_send_them_from() {
        assert_eq!(of(""), Ok(None));
        let (from, submitter) = of("from = 'tls@example.org'").expect("good").expect("on");
        assert_eq!(from.as_str(), "tls@example.org");
        let told = (submitter.organization.as_str(), submitter.contact.as_str());
        assert_eq!(told, ("example.org", "tls@example.org"));
        let text = "from = 'tls@example.org'\norganization = 'Exämple'\ncontact = 'pm@example.org'";
        let (_, submitter) = of(text).expect("good").expect("on");
        let told = (submitter.organization.as_str(), submitter.contact.as_str());
        assert_eq!(told, ("Exämple", "pm@example.org"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_offender() {
        for (text, why) in [
            ("from = 'nobody'", "from \"nobody\" is not an address: it has no @"),
            ("from = 'é@example.org'", "must be ASCII"),
            ("contact = 'x'", "contact is given and relay.tls_reports.from is not"),
            (
                "from = 'a@example.org'\norganization = \"a\\nb\"",
                "organization \"a\\nb\" must be one",
            ),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
        assert!(toml::from_str::<TlsReports>("form = 'a@example.org'").is_err());
    }
}
