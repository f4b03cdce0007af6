//! The formats inside returned mail, each in its frame at once, so that a fuzzer needs not find the frame first: the first octet
//! says which, the others are what stands in it. It promises what the reader of returned mail promises.

use super::returned;

/// What comes before and what comes after.
const FRAMES: &[(&str, &str)] = &[
    // A delivery status notification (RFC 3464), and one with UTF-8 addresses (RFC 6533).
    (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n\
         Final-Recipient: rfc822; a@b.example\nAction: failed\n",
        "\n--b--\n",
    ),
    (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: message/global-delivery-status\n\n",
        "\n--b--\n",
    ),
    // A complaint (RFC 5965), and the header of the message that it is about.
    (
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n",
        "\n--b\nContent-Type: message/rfc822\n\nTo: a@b.example\n\nhello\n--b--\n",
    ),
    (
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n\
         --b\nContent-Type: text/rfc822-headers\n\n",
        "\n--b--\n",
    ),
    // A DMARC aggregate (RFC 7489) and a TLS report (RFC 8460): by the file's name, in the text, and bare.
    ("Content-Type: application/gzip; name=\"", "\"\nContent-Transfer-Encoding: base64\n\nH4sI\n"),
    ("Content-Type: application/tlsrpt+gzip; x=", "\nTLS-Report-Domain: b.example\n\nH4sI\n"),
    (
        "Subject: Report domain: b.example\nContent-Type: application/zip\n\nPK\u{3}\u{4}",
        "!a!b!c.xml",
    ),
    ("<?xml version=\"1.0\"?>\n<feedback><report_metadata>", "</report_metadata></feedback>"),
    ("{\"policies\": [", "], \"report-id\": \"1\"}"),
    // Words of a mail system, plain and as HTML; a walk through parts.
    (
        "From: MAILER-DAEMON@b.example\nSubject: Undelivered mail\n\nYour message could not be \
         delivered to <a@b.example>:\n",
        "\n",
    ),
    (
        "From: MAILER-DAEMON@b.example\nSubject: Undelivered mail\nContent-Type: text/html\n\n\
         <p>Your message could not be delivered to a@b.example: ",
        "</p>",
    ),
    ("Content-Type: multipart/mixed; boundary=b\n\n--b\n", "\n--b--\n"),
    ("From: a@b.example\nSubject: ", "\n\nOut of office\n"),
];

/// Panics where a promise is broken.
pub(super) fn run(octets: &[u8]) {
    let Some((which, rest)) = octets.split_first() else { return };
    let (before, after) = FRAMES[usize::from(*which) % FRAMES.len()];
    returned::run(&[before.as_bytes(), rest, after.as_bytes()].concat());
}
