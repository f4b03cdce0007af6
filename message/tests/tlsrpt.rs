//! The mail of a TLS report, as it is written down, and as mail-parser and flate2 read it.

use std::io::Read;

use flate2::read::GzDecoder;
use mail::tlsrpt::{Counts, Failure, Policy, PolicyKind, Report, ResultType, Submitter};
use mail::{Address, Domain, Timestamp};
use mail_parser::{MessageParser, MimeHeaders};
use message::tlsrpt::{TlsReportMail, gzip, tls_report_mail};

fn message(organization: &str, counts: &Counts) -> (Report, Vec<u8>) {
    let submitter = Submitter {
        domain: "sender.example".parse().unwrap(),
        organization: organization.into(),
        contact: "postmaster@sender.example".into(),
    };
    let domain: Domain = "example.com".parse().unwrap();
    let (from, to): (Address, Address) =
        ("tls@sender.example".parse().unwrap(), "reports@example.com".parse().unwrap());
    let report = Report::new(&submitter, "2026-11-26".parse().unwrap(), &domain, counts);
    let mail = TlsReportMail {
        report: &report,
        submitter: &submitter,
        from: &from,
        to: &to,
        domain: &domain,
        date: Timestamp(1_795_741_200_000),
    };
    let octets = tls_report_mail(&mail, &gzip(&report.to_json()));
    (report, octets)
}

fn counts() -> Counts {
    let mut counts = Counts::default();
    let policy = Policy::bare(PolicyKind::NoPolicyFound);
    counts.count(policy.clone(), None);
    let failure = Failure {
        mx: "mx.example.com".into(),
        receiving_ip: Some("192.0.2.9".parse().unwrap()),
        ..Failure::bare(ResultType::StarttlsNotSupported)
    };
    counts.count(policy, Some(failure.because("454 not now")));
    counts
}

/// The compressed file is left out: compressors differ, and the next test reads it.
#[test]
fn the_mail_is_as_it_is_written_down() {
    let (_, octets) = message("Sender Ltd", &counts());
    let text = String::from_utf8(octets).unwrap();
    let (head, rest) = text.rsplit_once("base64\r\n\r\n").unwrap();
    let (_, end) = rest.split_once("\r\n--").unwrap();
    let cut = format!("{head}base64\r\n\r\n...\r\n--{end}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tlsrpt/report.eml");
    let written = std::fs::read_to_string(path).unwrap().replace('\n', "\r\n");
    assert_eq!(cut, written);
}

#[test]
fn others_read_the_report_in_it() {
    for organization in ["Sender Ltd", "Sénder, \"Söhne\"", "a\r\nBcc: b@c.example"] {
        let (report, octets) = message(organization, &counts());
        let parsed = MessageParser::default().parse(&octets).unwrap();
        let kind = parsed.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("tlsrpt"));
        assert_eq!(parsed.header_raw("TLS-Report-Domain").unwrap().trim(), "example.com");
        assert_eq!(parsed.header_raw("TLS-Report-Submitter").unwrap().trim(), "sender.example");
        assert_eq!(parsed.header_raw("TLS-Required").unwrap().trim(), "No");
        assert!(parsed.header_raw("Bcc").is_none());
        assert!(parsed.body_text(0).unwrap().contains("example.com"));
        let file = parsed.attachment(0).unwrap();
        assert_eq!(file.attachment_name(), Some(report.file_name().as_str()));
        let kind = file.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("application", Some("tlsrpt+gzip")));
        let mut json = String::new();
        GzDecoder::new(file.contents()).read_to_string(&mut json).unwrap();
        assert_eq!(json, report.to_json());
        let from = parsed.from().unwrap().first().unwrap();
        assert_eq!(from.address(), Some("tls@sender.example"));
    }
}

#[test]
fn compressed_twice_is_the_same() {
    let json = "{\"a\": 1}".repeat(1000);
    assert_eq!(gzip(&json), gzip(&json));
    assert!(gzip(&json).len() < 200);
}
