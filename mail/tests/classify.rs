//! Replies that are commonly misread, each with both verdicts. The rules have their
//! own examples beside them; here stands what must stay true whatever rule decides.

use mail::classify::{Finding, Said, classify};
use mail::{Hygiene, Phase};

/// Phase and reply; category, permanence, hygiene, scope, signal.
const CASES: &[(&str, &str, &str)] = &[
    ("rcpt", "550 5.1.1 user unknown", "no-mailbox permanent suppress recipient none"),
    ("rcpt", "450 4.1.1 <a@b.example>: user unknown", "no-mailbox temporary count recipient none"),
    (
        "rcpt",
        "552 5.1.1 Boite du destinataire pleine. OFR_417",
        "mailbox-full temporary count recipient none",
    ),
    ("rcpt", "552 5.2.2 over quota", "mailbox-full temporary count recipient none"),
    ("mail", "550 Connection frequency limited", "rate-limited temporary none source rate"),
    (
        "mail",
        "550 Domain frequency limited",
        "rate-limited temporary none sender-domain sender-domain",
    ),
    (
        "mail",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. (S3140)",
        "reputation-block permanent none source block",
    ),
    (
        "rcpt",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly.",
        "rate-limited temporary none recipient recipient-busy",
    ),
    (
        "mail",
        "421 Max message per connection reached",
        "rate-limited temporary none connection messages-per-connection",
    ),
    (
        "mail",
        "421 4.7.0 Too many connections from your host",
        "rate-limited temporary none source connections",
    ),
    (
        "mail",
        "421 4.7.28 unusual rate of unsolicited mail originating from your IP address",
        "rate-limited temporary none source rate",
    ),
    (
        "mail",
        "421 4.7.28 unusual rate of unsolicited mail originating from your DKIM domain",
        "rate-limited temporary none sender-domain sender-domain",
    ),
    (
        "dot",
        "421 4.7.28 unusual rate of mail containing one of your URL domains",
        "rate-limited temporary none link-domain link-domain",
    ),
    (
        "mail",
        "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed",
        "reputation-block permanent none source block",
    ),
    (
        "rcpt",
        "450 4.2.0 Greylisted, please come back",
        "greylisted temporary none recipient greylist",
    ),
    ("rcpt", "451 4.7.1 Greylisting in action", "greylisted temporary none recipient greylist"),
    ("dot", "550 5.7.1 message looks like spam", "content permanent none message content"),
    (
        "dot",
        "550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy",
        "auth permanent none sender-domain sender-domain",
    ),
    ("dot", "552 5.3.4 Message too big for system", "too-big permanent none message none"),
    (
        "rcpt",
        "550 5.2.1 The email account that you tried to reach is disabled",
        "mailbox-disabled permanent count recipient none",
    ),
    ("rcpt", "554 5.7.1 relay access denied", "policy permanent none source none"),
    (
        "banner",
        "554 5.7.1 blocked using zen.spamhaus.org",
        "reputation-block permanent none source block",
    ),
    (
        "banner",
        "421 4.3.2 Service not available, try later",
        "system temporary none site site-trouble",
    ),
    ("dns", "host unknown: no such domain", "no-domain permanent count site none"),
    ("connect", "connection timed out", "network temporary none site site-trouble"),
    ("ehlo", "500 5.5.1 Command unrecognized", "protocol permanent none message none"),
    (
        "rcpt",
        "450 4.7.1 Client host rejected: SFR_IN_105",
        "rate-limited temporary none source rate",
    ),
    ("rcpt", "550 Utilisateur inconnu", "no-mailbox permanent suppress recipient none"),
    ("rcpt", "550 Boîte aux lettres pleine", "mailbox-full temporary count recipient none"),
    ("rcpt", "599 what a strange day", "undetermined permanent count recipient none"),
    (
        "rcpt",
        "550 5.1.1 <mailbox.full@b.example>: Recipient address rejected: User unknown",
        "no-mailbox permanent suppress recipient none",
    ),
    ("rcpt", "550 [192.5.1.10] refused", "policy permanent none message none"),
];

#[test]
fn both_verdicts_are_right_for_what_is_commonly_misread() {
    let mut wrong = Vec::new();
    for (phase, reply, expected) in CASES {
        let phase = Phase::from_word(phase).expect("a phase");
        let found = classify(&Said::from_line(phase, reply));
        if written(&found) != *expected {
            wrong.push(format!("{reply:?}: {} by {}, not {expected}", written(&found), found.rule));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn written(f: &Finding) -> String {
    format!("{} {} {} {} {}", f.category, f.permanence, f.hygiene, f.scope, f.signal)
}

#[test]
fn numbers_about_anything_but_the_mailbox_never_suppress() {
    for line in ["550 5.7.1", "451 4.3.0", "554", "421 4.7.0", "552 5.2.2", "550 5.2.1", "550"] {
        let found = classify(&Said::from_line(Phase::Rcpt, line));
        assert_ne!(found.hygiene, Hygiene::Suppress, "{line}");
    }
}

/// Each of them has cost somebody a good recipient: words about us that sound as if
/// they were about the mailbox.
#[test]
fn words_about_the_sender_never_end_the_recipient() {
    let lines = [
        "550 5.1.1 <us@news.example>: Sender address rejected: User unknown in virtual mailbox table",
        "550 Verification failed for <us@news.example> Called: 192.0.2.1 Response: 550 No such user here Sender verify failed",
        "550 Your IP address is not registered with us",
        "554 5.7.1 the host 192.0.2.1 is unknown to this server",
        "553 5.1.8 <us@news.example>... Domain of sender address does not exist",
        "550 5.7.1 recipient rejected: your domain has no valid SPF record",
        "550 5.7.1 Access denied, banned sending IP [192.0.2.1]",
        "550 Message rejected: unknown user agent in header",
        "550 5.7.1 Mail from this address is not accepted, sender unknown",
        "554 No relaying allowed, recipient not in my domains",
        "550 The mailbox of the recipient is over quota and user unknown to the quota service",
        "550 5.4.4 Unable to route: no mail hosts for domain",
        "421 4.7.0 too many unknown users from your IP",
        "550 5.7.1 Rejected: too many attempts to unknown users, IP blocked",
        "450 4.7.1 <news.example>: Helo command rejected: Host not found",
    ];
    let mut wrong = Vec::new();
    for line in lines {
        for phase in [Phase::Rcpt, Phase::Returned] {
            let found = classify(&Said::from_line(phase, line));
            if found.hygiene == Hygiene::Suppress {
                wrong.push(format!("{line:?} by {}", found.rule));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
