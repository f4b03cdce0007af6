//! What strangers write is hostile: scripts, control characters, letters that turn the line around,
//! megabytes. It comes in by replies and by mail, and is tame wherever it is shown.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Customer, Desk, one_site, until};

const DOMAIN: &str = "evil.pretend.example";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 37);
const WORDS: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}\u{1b}[2J\u{7} =cmd|'/C calc'!A0";
/// A harmless piece of it, which must be seen.
const MARK: &str = "alert(1)";
/// More than any line that we show is long.
const LONGEST: usize = 16 * 1024;

#[test]
fn heavy_what_strangers_write_is_tame_wherever_it_is_shown() {
    let own = "log = { format = 'human', level = 'debug' }\n";
    let desk = Desk::start(&one_site("127.0.0.36"), Ipv4Addr::new(127, 0, 1, 18), own, "");
    let zone = desk.internet.zone();
    zone.add_mx(DOMAIN, 10, "mx.evil.pretend.test");
    zone.add_a("mx.evil.pretend.test", ADDRESS);
    let port = desk.internet.smtp_port();
    let listener = desk.runtime.block_on(TcpListener::bind((ADDRESS, port))).unwrap();
    desk.runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up is no concern of a stranger's.
            tokio::spawn(async move { talk(stream).await.unwrap_or_default() });
        }
    });
    let customer = desk.customer();
    let campaign = customer.send(DOMAIN, 5);
    until(Duration::from_secs(60), "what has an end has it", || {
        let progress = customer.campaign(&campaign)["progress"].clone();
        let n = |name: &str| progress[name].as_u64();
        (n("failed")? + n("delivered")? >= 3 && n("deferrals")? >= 2).then_some(())
    });
    for mail in mails() {
        desk.bring("postmaster@returns.malleposte.test", &mail);
    }

    recipients_are_told_of(&desk, &campaign);
    commands_are_tame(&desk, &campaign);
    answers_are_tame(&desk, &customer, &campaign);
    let log = desk.up.told();
    assert!(log.contains("failed") && log.contains("delivered"), "the log tells what happens");
    is_tame("the log", &log);
    desk.ends_within(Duration::from_secs(20));
}

fn recipients_are_told_of(desk: &Desk, campaign: &str) {
    let stories: Vec<String> = (0..5).map(|n| format!("u{n}@{DOMAIN}")).collect();
    let whole = until(Duration::from_secs(20), "history has them", || {
        let whole = desk.well(&["trace", "--campaign", campaign, "--limit", "0", "--json"]);
        let told = stories.iter().all(|address| whole.contains(address.as_str()));
        (told && whole.contains(MARK)).then_some(whole)
    });
    is_tame("trace --campaign --json", &whole);
    for (n, address) in stories.iter().enumerate() {
        for words in [&["trace", address][..], &["trace", address, "--json"]] {
            // What was taken has no words in history, and a megabyte is no reply.
            let look = if n < 3 { is_shown } else { is_tame };
            look(&words.join(" "), &desk.well(words));
        }
        let (_, out, err) = desk.ask(&["why", address]);
        is_tame("why", &(out + &err));
    }
}

fn commands_are_tame(desk: &Desk, campaign: &str) {
    let commands: &[&[&str]] = &[
        &["queue"],
        &["queue", "--json"],
        &["queue", "show", campaign],
        &["queue", "orders"],
        &["queue", "rests"],
        &["queue", "asides"],
        &["site", "show", "mx.evil.pretend.test", "--json"],
        &["stats", "--by", "site,category"],
        &["stats", "--by", "site,category", "--format", "csv"],
        &["stats", "--by", "source,domain", "--json"],
        &["suppressions", "export"],
        &["alarms"],
        &["alarms", "--json"],
    ];
    for words in commands {
        is_tame(&words.join(" "), &desk.well(words));
    }
    let telling: &[&[&str]] = &[
        &["trace", "--text", MARK],
        &["bounces", "unmatched"],
        &["bounces", "unmatched", "--json"],
        &["bounces", "learn"],
        &["bounces", "learn", "--json"],
    ];
    for words in telling {
        is_shown(&words.join(" "), &desk.well(words));
    }
    let csv = desk.well(&["suppressions", "export"]);
    assert!(csv.contains(&format!("u0@{DOMAIN}")), "{csv}");
}

fn answers_are_tame(desk: &Desk, customer: &Customer, campaign: &str) {
    for path in [
        format!("/trace?campaign={campaign}"),
        format!("/campaigns/{campaign}"),
        "/suppressions".to_owned(),
        "/stats?by=site,category&since=1h".to_owned(),
    ] {
        is_tame(&path, &customer.get(&path).to_string());
    }
    let page = ureq::get(&format!("http://{}/metrics", desk.metrics())).call().unwrap();
    is_tame("metrics", &page.into_body().read_to_string().unwrap());
}

/// It is there, and tame.
fn is_shown(what: &str, text: &str) {
    assert!(text.contains(MARK), "{what} does not show it: {text}");
    is_tame(what, text);
}

/// Neither control characters nor letters that turn the line around, and no endless lines.
fn is_tame(what: &str, text: &str) {
    for line in text.split('\n') {
        let wild = |c: char| {
            (c.is_control() && c != '\t')
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(wild), "{what}: {line:?}");
        // In JSON they are written with escapes.
        for escape in ["\\u00", "\\r", "\\b", "\\f"] {
            assert!(!line.contains(escape), "{what}: {escape} in {line}");
        }
        assert!(line.len() <= LONGEST, "{what}: a line of {} octets", line.len());
    }
}

/// Mail that comes back: a report without proof, and an answer of a person.
fn mails() -> [Vec<u8>; 2] {
    let megabyte = "x".repeat(1 << 20);
    let report = format!(
        "From: {WORDS} <mailer-daemon@evil.pretend.example>\r\nSubject: Undelivered {WORDS}\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\n\
         {WORDS}\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {WORDS}\r\n\r\n\
         Final-Recipient: rfc822; someone@{DOMAIN}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 {WORDS}\r\n {megabyte}\r\n\r\n--b--\r\n"
    );
    let answer = format!(
        "From: {WORDS} <someone@evil.pretend.example>\r\nSubject: Re: {WORDS}\r\n\r\n{WORDS}\r\n"
    );
    // One line of a mail may have 64 KB.
    let folded = report.replace(&"x".repeat(1000), &format!("{}\r\n ", "x".repeat(998)));
    [folded.into_bytes(), answer.into_bytes()]
}

/// A mail server whose every answer does harm.
async fn talk(stream: TcpStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let megabyte = "x".repeat(1 << 20);
    let (mut to, mut is_data) = (String::new(), false);
    write.write_all(format!("220 {WORDS}\r\n").as_bytes()).await?;
    while let Some(line) = lines.next_line().await? {
        if is_data && line != "." {
            continue;
        }
        let verb = line.get(..4).unwrap_or(".").to_ascii_uppercase();
        let local = to.split_once('@').map_or("", |(local, _)| local);
        let reply = match verb.as_str() {
            "EHLO" => format!("250-{WORDS}\r\n250 SIZE"),
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                match to.split('@').next() {
                    Some("u0") => format!("550 5.1.1 no such user {WORDS}"),
                    Some("u1") => format!("451 4.3.0 {WORDS}"),
                    Some("u4") => format!("550 5.1.1 {WORDS} {megabyte}"),
                    _ => format!("250 {WORDS}"),
                }
            }
            "DATA" => {
                is_data = true;
                format!("354 {WORDS}")
            }
            "." => {
                is_data = false;
                match local {
                    "u2" => format!("554 {WORDS}"),
                    _ => format!("250 2.0.0 queued as {WORDS}"),
                }
            }
            "QUIT" => format!("221 {WORDS}"),
            _ => format!("250 {WORDS}"),
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}
