//! Reports that are no failures: complaints and authentication reports (RFC 5965,
//! RFC 6591) with their sparse relatives, DMARC aggregates, TLS reports. Which kind
//! it is, is told by names and types; nothing is unpacked here.

use serde::Serialize;

use super::fields;
use super::mime::Parts;
use super::original::all_addresses;
use crate::category::Report;
use crate::classify::cut;
use crate::reply::clean_text;

/// Octets of a bare file that tell what it is.
const HEAD_OCTETS: usize = 4096;

/// The fields of a feedback report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Feedback {
    /// `abuse`, `fraud`, `opt-out`, `auth-failure` …, in lower case; empty when not said.
    pub kind: String,
    /// The program that made it.
    pub user_agent: Option<String>,
    /// The envelope sender, as far as told.
    pub mail_from: Option<String>,
    /// The envelope recipients, as far as told.
    pub recipients: Vec<String>,
    /// The address that the message came from.
    pub source_ip: Option<String>,
    /// The domain that it is about.
    pub domain: Option<String>,
}

/// A file without a mail around it: an aggregate as XML or gzip, a TLS report as JSON.
pub(super) fn bare(raw: &[u8]) -> Option<Report> {
    let head = &raw[..raw.len().min(HEAD_OCTETS)];
    if head.starts_with(&[0x1f, 0x8b]) || head.starts_with(b"PK\x03\x04") {
        // Both formats carry the file's name near their head.
        let text = String::from_utf8_lossy(&head[..head.len().min(512)]).to_lowercase();
        return report_file(&text);
    }
    let is_open = |b: &&u8| b.is_ascii_graphic();
    if !matches!(head.iter().find(is_open), Some(b'<' | b'{')) {
        return None;
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.starts_with('<') && text.contains("<feedback") && text.contains("<report_metadata") {
        return Some(Report::DmarcAggregate);
    }
    let tls =
        text.starts_with('{') && text.contains("\"policies\"") && text.contains("\"report-id\"");
    tls.then_some(Report::TlsReport)
}

/// By a file's name (RFC 7489, 7.2.1.1; RFC 8460, 5.1): parts divided by `!`.
fn report_file(name: &str) -> Option<Report> {
    let parted = name.matches('!').count() >= 3;
    if parted && name.contains(".json") {
        Some(Report::TlsReport)
    } else if parted && (name.contains(".xml") || name.contains(".zip") || name.contains(".gz")) {
        Some(Report::DmarcAggregate)
    } else {
        None
    }
}

/// An aggregate of one kind or the other, by mail.
pub(super) fn aggregate(parts: &Parts) -> Option<Report> {
    let any = |word: &str| parts.attached.iter().any(|a| a.contains(word));
    if parts.report_type == "tlsrpt"
        || any("application/tlsrpt")
        || parts.field("tls-report-domain").is_some()
    {
        return Some(Report::TlsReport);
    }
    if let Some(kind) = parts.attached.iter().find_map(|a| report_file(a)) {
        return Some(kind);
    }
    let subject = parts.subject_folded();
    let named = subject.starts_with(" report domain:") || subject.contains("report-id:");
    let packed = ["/gzip", "x-gzip", "/zip", "x-zip", "/xml", "octet-stream", ".xml", ".gz"];
    if named && packed.iter().any(|w| any(w)) {
        return Some(Report::DmarcAggregate);
    }
    let inside = parts.texts.iter().find_map(|t| bare(cut(t, HEAD_OCTETS).as_bytes()));
    inside.filter(|_| parts.attached.len() <= 2)
}

/// A complaint, an opt-out or an authentication report.
pub(super) fn feedback(parts: &Parts) -> Option<(Report, Feedback)> {
    let text = parts.feedback.as_deref();
    let formal = text.is_some() || parts.report_type == "feedback-report";
    if formal {
        let mut read = text.map(read_fields).unwrap_or_default();
        if read.recipients.is_empty() {
            read.recipients = noted_recipients(parts);
        }
        return Some((kind_of(&read.kind, parts), read));
    }
    let (subject, body) = (parts.subject_folded(), parts.said());
    if is_about_dmarc(subject, body) {
        return Some((
            Report::AuthReport,
            Feedback { kind: "auth-failure".to_owned(), ..Feedback::default() },
        ));
    }
    // JMRP and its like: the message as an attachment, the news in the subject.
    let sparse = parts.original.is_some()
        && (subject.contains("complaint about message from")
            || subject.contains("abuse report")
            || subject.contains("spam report")
            || subject.contains("email feedback report for ip")
            || body.contains("this is an email abuse report"));
    let told = || {
        let recipients = noted_recipients(parts);
        Feedback { kind: "abuse".to_owned(), recipients, ..Feedback::default() }
    };
    sparse.then(|| (Report::Complaint, told()))
}

/// Whether it reports a failed authentication in words of its own. Nearly no mail has this one word.
fn is_about_dmarc(subject: &str, body: &str) -> bool {
    let names = |text: &str| memchr::memmem::find(text.as_bytes(), b"dmarc").is_some();
    let in_subject =
        names(subject) && (subject.contains("failure report") || subject.contains("forensic"));
    let in_body = || {
        names(body)
            && (body.contains("has failed the published dmarc policy")
                || body.contains("did not meet the sending domain's dmarc policy")
                || body.contains("authentication failure report"))
    };
    in_subject || in_body()
}

/// The recipients that the loop noted in the header of the message itself.
fn noted_recipients(parts: &Parts) -> Vec<String> {
    const NOTED: &[&str] =
        &["x-hmxmroriginalrecipient", "x-original-rcpt-to", "x-original-recipient"];
    let header = fields::parse_header(parts.original.as_deref().unwrap_or_default());
    let is_noted = |field: &&fields::Field| NOTED.iter().any(|name| field.is(name));
    header.iter().filter(is_noted).flat_map(|f| all_addresses(&f.value)).take(50).collect()
}

fn read_fields(text: &str) -> Feedback {
    let fields = fields::parse(text);
    let one = |name| fields::get(&fields, name);
    let recipients =
        fields.iter().filter(|f| f.is("original-rcpt-to") || f.is("removal-recipient"));
    Feedback {
        kind: one("feedback-type").unwrap_or_default().trim().to_ascii_lowercase(),
        user_agent: one("user-agent").map(clean_text),
        mail_from: one("original-mail-from").and_then(fields::address),
        recipients: recipients.flat_map(|f| all_addresses(&f.value)).take(50).collect(),
        source_ip: one("source-ip").map(clean_text),
        domain: one("reported-domain").map(clean_text),
    }
}

fn kind_of(word: &str, parts: &Parts) -> Report {
    match word {
        "opt-out" | "opt-out-list" => Report::OptOut,
        "auth-failure" | "dmarc" => Report::AuthReport,
        // Somebody took the message out of the spam folder.
        "not-spam" => Report::Other,
        "" if parts.subject_folded().contains("dmarc") => Report::AuthReport,
        _ => Report::Complaint,
    }
}
