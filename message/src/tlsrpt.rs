//! The mail that brings a TLS report (RFC 8460, 5.3): a text for people, and the report itself,
//! compressed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use mail::tlsrpt::{Report, Submitter};
use mail::{Address, Domain, Timestamp};

use crate::header::{mailbox, unstructured};
use crate::notice::base64_lines;

/// The media type of a report as it is sent, by mail or to a web server (RFC 8460, 6.5).
pub const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// From whom, to whom, about whom.
#[derive(Debug, Clone, Copy)]
pub struct TlsReportMail<'a> {
    /// The report.
    pub report: &'a Report,
    /// Who reports.
    pub submitter: &'a Submitter,
    /// The address that it comes from.
    pub from: &'a Address,
    /// The address that asked for it.
    pub to: &'a Address,
    /// The domain that it is about.
    pub domain: &'a Domain,
    /// When it is sent.
    pub date: Timestamp,
}

/// Compressed, the same each time.
#[must_use]
pub fn gzip(json: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::best());
    let written = encoder.write_all(json.as_bytes()).and_then(|()| encoder.finish());
    written.expect("memory takes what is written")
}

/// The whole message, unsigned. `gzipped` is the report's JSON.
#[must_use]
pub fn tls_report_mail(mail: &TlsReportMail<'_>, gzipped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(gzipped.len() / 3 * 4 + 3000);
    let TlsReportMail { report, submitter, from, to, domain, date } = mail;
    mailbox(&mut out, "From", Some(&submitter.organization), from.as_str());
    mailbox(&mut out, "To", None, to.as_str());
    unstructured(&mut out, "Subject", &report.subject());
    unstructured(&mut out, "Date", &date.rfc5322());
    unstructured(&mut out, "Message-ID", &format!("<tlsrpt.{}>", report.id()));
    unstructured(&mut out, "TLS-Report-Domain", domain.as_str());
    unstructured(&mut out, "TLS-Report-Submitter", submitter.domain.as_str());
    // A report about broken TLS that broken TLS keeps away helps nobody (RFC 8460, 3; RFC 8689, 5).
    unstructured(&mut out, "TLS-Required", "No");
    // Nobody's holiday is to be told of (RFC 3834, 5).
    unstructured(&mut out, "Auto-Submitted", "auto-generated");
    unstructured(&mut out, "MIME-Version", "1.0");
    // Neither part can hold such a line: the text is ours, and base64 has no underscore.
    let boundary = format!("=_tlsrpt_{}", date.0);
    let name = report.file_name();
    let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
    put(&format!(
        "Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    ));
    put(&text_part(&report.summary()));
    put(&format!(
        "--{boundary}\r\nContent-Type: {MEDIA_TYPE};\r\n name=\"{name}\"\r\n\
         Content-Disposition: attachment;\r\n filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    ));
    put(&base64_lines(gzipped));
    put(&format!("--{boundary}--\r\n"));
    out
}

/// Lines end in CRLF; what is not ASCII, which is an organization's contact, goes in base64.
fn text_part(text: &str) -> String {
    let text = text.replace('\n', "\r\n");
    match text.is_ascii() {
        true => format!("\r\n{text}"),
        false => {
            let encoded = base64_lines(text.as_bytes());
            format!("Content-Transfer-Encoding: base64\r\n\r\n{encoded}")
        }
    }
}
