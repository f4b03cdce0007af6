//! Reports about TLS by example: what was counted, in words, beside the JSON that it makes.

use mail::Domain;
use mail::sts;
use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyKind, Report, ResultType, Submitter};
use proptest::prelude::*;

fn submitter() -> Submitter {
    Submitter {
        domain: "sender.example".parse().expect("a domain"),
        organization: "Sénder & Söhne".into(),
        contact: "postmaster@sender.example".into(),
    }
}

fn report(counts: &Counts) -> Report {
    let day: Day = "2026-11-26".parse().expect("a day");
    Report::new(&submitter(), day, &"example.com".parse::<Domain>().expect("a domain"), counts)
}

fn is_as_written(name: &str, counts: &Counts) {
    let path = format!("{}/tests/tlsrpt/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let written = std::fs::read_to_string(&path).expect(&path);
    assert_eq!(format!("{}\n", report(counts).to_json()), written, "{path}");
}

#[test]
fn a_day_under_an_mta_sts_policy() {
    let text = "version: STSv1\nmode: testing\nmx: *.mail.example.com\nmax_age: 86400\n";
    let policy = Policy::sts(&sts::Policy::parse(text).expect("a policy"));
    let mut counts = Counts::default();
    for _ in 0..3 {
        counts.count(policy.clone(), None);
    }
    let expired = Failure {
        sending_ip: Some("2001:db8::9".parse().expect("an address")),
        mx: "mx1.mail.example.com".into(),
        receiving_ip: Some("203.0.113.56".parse().expect("an address")),
        ..Failure::bare(ResultType::CertificateExpired)
    };
    counts.count(policy.clone(), Some(expired.clone()));
    counts.count(policy.clone(), Some(expired));
    let other = Failure {
        mx: "mx.elsewhere.example".into(),
        ..Failure::bare(ResultType::ValidationFailure)
    };
    counts.count(policy, Some(other.because("the policy does not name this exchanger")));
    is_as_written("sts", &counts);
}

#[test]
fn a_day_of_dane_and_of_no_policy() {
    let mut counts = Counts::default();
    counts.count(Policy::tlsa(["3 1 1 ab12".to_owned()]), None);
    counts.count(Policy::bare(PolicyKind::Tlsa), Some(Failure::bare(ResultType::DnssecInvalid)));
    counts.count(Policy::bare(PolicyKind::NoPolicyFound), None);
    is_as_written("dane", &counts);
}

#[test]
fn a_report_has_the_names_that_the_rfc_gives_it() {
    let report = report(&Counts::default());
    assert_eq!(report.file_name(), "sender.example!example.com!1795651200!1795737599.json.gz");
    assert_eq!(
        report.subject(),
        "Report Domain: example.com Submitter: sender.example \
         Report-ID: <2026-11-26.example.com@sender.example>"
    );
}

proptest! {
    #[test]
    fn a_report_parses_back(
        failures in prop::collection::vec(("[a-z.]{0,20}", "\\PC{0,30}", 0_usize..11), 0..20),
        successes in 0_usize..9,
    ) {
        let mut counts = Counts::default();
        (0..successes).for_each(|_| counts.count(Policy::bare(PolicyKind::NoPolicyFound), None));
        let results = [
            "starttls-not-supported", "certificate-host-mismatch", "certificate-expired",
            "certificate-not-trusted", "validation-failure", "tlsa-invalid", "dnssec-invalid",
            "dane-required", "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid",
        ];
        let count = failures.len();
        for (mx, reason, result) in failures {
            let result: ResultType =
                serde_json::from_value(results[result].into()).expect("a word of the RFC");
            let failure = Failure { mx, ..Failure::bare(result) }.because(&reason);
            counts.count(Policy::tlsa([reason]), Some(failure));
        }
        let json = report(&counts).to_json();
        let back: Report = serde_json::from_str(&json).expect("a report");
        prop_assert_eq!(back.to_json(), json.as_str());
        let told: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let sum = |name: &str| -> u64 {
            let policies = told["policies"].as_array().expect("policies");
            policies.iter().map(|told| told["summary"][name].as_u64().expect("a number")).sum()
        };
        prop_assert_eq!(sum("total-failure-session-count"), count as u64);
        prop_assert_eq!(sum("total-successful-session-count"), successes as u64);
    }
}
