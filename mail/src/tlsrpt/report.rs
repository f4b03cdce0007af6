//! The report of a day to a domain, as RFC 8460, 4.4 writes it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Failure, Policy, PolicyCounts, PolicyKind};
use super::day::Day;
use crate::Domain;

/// What went wrong with TLS (RFC 8460, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    /// The exchanger does not offer STARTTLS, or refused it.
    StarttlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate has expired.
    CertificateExpired,
    /// No authority that is known gave the certificate, or its chain is wrong.
    CertificateNotTrusted,
    /// Anything else, told in words.
    ValidationFailure,
    /// None of the TLSA records is of use.
    TlsaInvalid,
    /// DNS does not answer for the TLSA records, or what it answers is not proved.
    DnssecInvalid,
    /// Our side demands DANE, and there is none. Nothing here demands it.
    DaneRequired,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The certificate of the policy's host is not good.
    StsWebpkiInvalid,
}

impl ResultType {
    /// The word of the RFC.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitter {
    /// The domain that reports come from.
    pub domain: Domain,
    /// In words.
    pub organization: String,
    /// How to reach whoever reads answers.
    pub contact: String,
}

/// A report. Written as JSON by serde.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    organization_name: String,
    date_range: DateRange,
    contact_info: String,
    report_id: String,
    policies: Vec<PolicyReport>,
    #[serde(skip, default)]
    about: About,
}

/// What names it and its file, and stands in it only in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct About {
    day: Day,
    domain: String,
    submitter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyReport {
    policy: PolicyTold,
    summary: Summary,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<FailureDetails>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyTold {
    policy_type: PolicyKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policy_string: Vec<String>,
    policy_domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mx_host: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FailureDetails {
    result_type: ResultType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    receiving_mx_hostname: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    failed_session_count: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    failure_reason_code: String,
}

impl Report {
    /// The report of a day's sessions to a domain. The same again has the same name.
    #[must_use]
    pub fn new(from: &Submitter, day: Day, domain: &Domain, counts: &Counts) -> Self {
        let told = |(policy, counts)| PolicyReport::new(policy, counts, domain);
        Self {
            organization_name: from.organization.clone(),
            date_range: DateRange {
                start_datetime: format!("{day}T00:00:00Z"),
                end_datetime: format!("{day}T23:59:59Z"),
            },
            contact_info: from.contact.clone(),
            report_id: format!("{day}.{domain}@{}", from.domain),
            policies: counts.policies().map(told).collect(),
            about: About {
                day,
                domain: domain.as_str().to_owned(),
                submitter: from.domain.as_str().to_owned(),
            },
        }
    }

    /// The JSON (RFC 8460, 4.4).
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers are JSON")
    }

    /// What names it among all reports.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.report_id
    }

    /// The name of its file, compressed (RFC 8460, 5.1).
    #[must_use]
    pub fn file_name(&self) -> String {
        let About { day, domain, submitter } = &self.about;
        let (start, end) = (day.start().secs(), day.end().secs() - 1);
        format!("{submitter}!{domain}!{start}!{end}.json.gz")
    }

    /// The subject of its mail (RFC 8460, 5.3).
    #[must_use]
    pub fn subject(&self) -> String {
        let About { domain, submitter, .. } = &self.about;
        format!("Report Domain: {domain} Submitter: {submitter} Report-ID: <{}>", self.report_id)
    }

    /// What people read who open its mail.
    #[must_use]
    pub fn summary(&self) -> String {
        let About { day, domain, submitter } = &self.about;
        let sum = |of: fn(&Summary) -> u64| -> u64 {
            self.policies.iter().map(|told| of(&told.summary)).fold(0, u64::saturating_add)
        };
        let good = sum(|summary| summary.total_successful_session_count);
        let failed = sum(|summary| summary.total_failure_session_count);
        format!(
            "This is an aggregate TLS report (RFC 8460) from {submitter} about mail to {domain}\n\
             on {day} (UTC). Sessions as the domain wants them: {good}; failed: {failed}.\n\
             The attached file has the details. Questions: {}\n",
            self.contact_info
        )
    }
}

impl PolicyReport {
    fn new(policy: &Policy, counts: &PolicyCounts, domain: &Domain) -> Self {
        let told = |(failure, count): (&Failure, &u64)| FailureDetails {
            result_type: failure.result,
            sending_mta_ip: failure.sending_ip,
            receiving_mx_hostname: failure.mx.clone(),
            receiving_ip: failure.receiving_ip,
            failed_session_count: *count,
            failure_reason_code: failure.reason.clone(),
        };
        Self {
            policy: PolicyTold {
                policy_type: policy.kind,
                policy_string: policy.strings.clone(),
                policy_domain: domain.as_str().to_owned(),
                mx_host: policy.mx.clone(),
            },
            summary: Summary {
                total_successful_session_count: counts.successes,
                total_failure_session_count: counts.failed(),
            },
            failure_details: counts.failures.iter().map(told).collect(),
        }
    }
}
