//! Mail that lies in mailboxes: in files, and at a real IMAP server.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bounce_processor::{Config, Fate, ImapMailbox, ImapTls, Importer, Then};
use mail::Report;
use mail::event::EventKind::{Returned, SuppressionAdded};

use crate::doors::certificate;
use crate::others;
use crate::support::{ANN, DOMAIN, Platform, config, dsn, parts};

const UNKNOWN: &str = "550 5.1.1 <ann@example.net>: user unknown";

/// As a mail server leaves it in a mailbox.
fn left(p: &Platform, mail: &str) -> String {
    format!(
        "Return-Path: <>\r\nX-Original-To: {}\r\nDelivered-To: all@example.org\r\n{mail}",
        p.path()
    )
}

#[tokio::test]
async fn what_lies_in_files_is_placed_once_and_the_rest_is_named() {
    let p = Platform::start().await;
    let folder = tempfile::tempdir().unwrap();
    let importer = Importer::open(&config(folder.path()), parts(&p.store)).unwrap();
    let report = left(&p, &dsn(ANN, "5.1.1", UNKNOWN));
    for _ in 0..2 {
        let taken = importer.take(report.as_bytes()).await.unwrap();
        assert_eq!(taken, (Report::Failure, Fate::Placed));
    }
    // Files of other systems end lines as they like.
    let unix = report.replace("\r\n", "\n");
    assert_eq!(importer.take(unix.as_bytes()).await.unwrap().1, Fate::Placed);
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"));
    assert_eq!((p.returned().await, p.kinds().await), (1, vec![Returned, SuppressionAdded]));

    let foreign = format!("Return-Path: <>\r\nTo: x@example.com\r\n{}", dsn(ANN, "5.1.1", UNKNOWN));
    assert_eq!(importer.take(foreign.as_bytes()).await.unwrap().1, Fate::Unmatched);
    let answer = left(&p, "From: ann@example.net\r\nSubject: Re: News\r\n\r\nThank you\r\n");
    assert_eq!(importer.take(answer.as_bytes()).await.unwrap(), (Report::Other, Fate::Answer));
    let letter = b"From: ann@example.net\r\nTo: me@example.com\r\nSubject: hello\r\n\r\nhello\r\n";
    assert_eq!(importer.take(letter).await.unwrap(), (Report::Other, Fate::ForPeople));
    assert!(p.kept().is_empty(), "what is imported stays where it lies");
    p.stop().await;
}

/// Dovecot over a Maildir.
struct Imap {
    child: Child,
    maildir: PathBuf,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Imap {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Root's servers give up their rights to this user; anybody else's keep their own.
fn user() -> (u32, u32) {
    let own = std::fs::metadata("/proc/self").unwrap();
    if own.uid() == 0 { (65_534, 65_534) } else { (own.uid(), own.gid()) }
}

impl Imap {
    fn start() -> Option<Self> {
        let dovecot = others::program_or_skip("dovecot")?;
        let folder = tempfile::tempdir().unwrap();
        let (place, maildir) = (folder.path().display().to_string(), folder.path().join("mail"));
        let tls = certificate(folder.path(), "localhost");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (uid, gid) = user();
        let own = match std::fs::metadata("/proc/self").unwrap().uid() {
            0 => String::new(),
            _ => {
                let name = Command::new("id").arg("-un").output().unwrap().stdout;
                let name = String::from_utf8(name).unwrap();
                let name = name.trim();
                format!("default_internal_user = {name}\ndefault_login_user = {name}\n")
            }
        };
        let conf = format!(
            "protocols = imap\nlisten = 127.0.0.1\nbase_dir = {place}/base\n\
             state_dir = {place}/state\nlog_path = {place}/log\n{own}\
             ssl = required\nssl_cert = <{}\nssl_key = <{}\n\
             mail_location = maildir:{place}/mail\n\
             passdb {{\n driver = static\n args = password=secret\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={place}/mail\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n port = 0\n }}\n \
             inet_listener imaps {{\n port = {port}\n ssl = yes\n }}\n}}\n\
             service anvil {{\n chroot =\n}}\n",
            tls.certificate.display(),
            tls.key.display(),
        );
        let file = folder.path().join("dovecot.conf");
        std::fs::write(&file, conf).unwrap();
        for part in ["new", "cur", "tmp"] {
            std::fs::create_dir_all(maildir.join(part)).unwrap();
            chown(maildir.join(part), Some(uid), Some(gid)).unwrap();
        }
        chown(&maildir, Some(uid), Some(gid)).unwrap();
        // Its workers, who are others, pass through.
        Command::new("chmod").args(["755", &place]).status().unwrap();
        let child = Command::new(dovecot)
            .args(["-F", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, maildir, port, folder })
    }

    fn put(&self, name: &str, mail: &str) {
        let (uid, gid) = user();
        let (draft, place) =
            (self.maildir.join("tmp").join(name), self.maildir.join("new").join(name));
        std::fs::write(&draft, mail).unwrap();
        chown(&draft, Some(uid), Some(gid)).unwrap();
        std::fs::rename(draft, place).unwrap();
    }

    fn mailbox(&self, then: Then) -> ImapMailbox {
        let secret_file = self.folder.path().join("password");
        std::fs::write(&secret_file, "secret\n").unwrap();
        ImapMailbox {
            host: "localhost".into(),
            port: self.port,
            tls: ImapTls::Implicit,
            authorities: self.folder.path().join("cert.pem"),
            user: "bounces".into(),
            secret_file,
            then,
            move_to: if then == Then::Move { "Done".into() } else { String::new() },
            every_s: 5,
            ..ImapMailbox::default()
        }
    }

    /// Mails of a folder, by the end of their names: `:2,S` where they were read.
    fn names(&self, folder: &str) -> Vec<String> {
        let list = |part: &str| -> Vec<String> {
            let entries = std::fs::read_dir(self.maildir.join(folder).join(part));
            let names = entries.into_iter().flatten();
            names.map(|f| f.unwrap().file_name().into_string().unwrap()).collect()
        };
        [list("new"), list("cur")].concat()
    }
}

async fn until(what: &str, imap: &Imap, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        let log = std::fs::read_to_string(imap.folder.path().join("log")).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not so\n{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_mailbox_at_an_imap_server_is_read_and_marked() {
    let Some(imap) = Imap::start() else { return };
    let mailbox = imap.mailbox(Then::Seen);
    let p = Platform::start_with(|c| Config { imap: vec![mailbox], ..c }).await;
    imap.put("1.a.host", &left(&p, &dsn(ANN, "5.1.1", UNKNOWN)));
    let answer = left(&p, "From: ann@example.net\r\nSubject: Re: News\r\n\r\nThank you\r\n");
    imap.put("2.b.host", &answer);
    until("both are read", &imap, async || {
        imap.names("").iter().filter(|name| name.ends_with(":2,S")).count() == 2
    })
    .await;
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"));
    let kept = p.kept_in(".Replies");
    assert_eq!(kept.len(), 1);
    assert!(kept[0].contains("Received: from localhost INBOX\r\n"), "{}", kept[0]);
    p.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_stays_unread_and_what_is_done_is_moved() {
    let Some(imap) = Imap::start() else { return };
    let done = imap.maildir.join(".Done");
    for part in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(done.join(part)).unwrap();
    }
    let (uid, gid) = user();
    for place in [done.clone(), done.join("new"), done.join("cur"), done.join("tmp")] {
        chown(place, Some(uid), Some(gid)).unwrap();
    }
    let mailbox = imap.mailbox(Then::Move);
    let p = Platform::start_with(|c| Config { imap: vec![mailbox], ..c }).await;
    std::fs::remove_dir_all(&p.mailbox).unwrap();
    let office =
        format!("Return-Path: <>\r\nTo: abuse@{DOMAIN}\r\nSubject: hello\r\n\r\nhello\r\n");
    imap.put("1.a.host", &office);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!((imap.names("").len(), imap.names(".Done").len()), (1, 0), "nothing is lost");
    for folder in ["", ".Replies", ".Unmatched"] {
        for part in ["new", "cur", "tmp"] {
            std::fs::create_dir_all(p.mailbox.join(folder).join(part)).unwrap();
        }
    }
    until("it is moved", &imap, async || {
        (imap.names("").len(), imap.names(".Done").len()) == (0, 1)
    })
    .await;
    assert_eq!(p.kept_in("").len(), 1, "and kept once");
    p.stop().await;
}

#[tokio::test]
async fn what_is_done_is_deleted_and_nothing_else() {
    let Some(imap) = Imap::start() else { return };
    let mailbox = imap.mailbox(Then::Delete);
    let p =
        Platform::start_with(|c| Config { imap: vec![mailbox], bytes_max: 64 * 1024, ..c }).await;
    imap.put("1.a.host", &left(&p, &dsn(ANN, "5.1.1", UNKNOWN)));
    let line = "a line of no importance\r\n";
    let long =
        left(&p, &format!("From: ann@example.net\r\nSubject: Re\r\n\r\n{}", line.repeat(4000)));
    imap.put("2.b.host", &long);
    // Somebody else's, who has not made up his mind.
    let (other, place) = (imap.maildir.join("new/3.c.host"), imap.maildir.join("cur/3.c.host:2,T"));
    imap.put("3.c.host", "Subject: keep me\r\n\r\nhello\r\n");
    std::fs::rename(other, place).unwrap();
    until("one is gone and one is marked", &imap, async || {
        let mut names = imap.names("");
        names.sort();
        names.len() == 2 && names[0].starts_with("2.b") && names[0].ends_with(":2,S")
    })
    .await;
    assert!(imap.names("").iter().any(|name| name.starts_with("3.c")), "{:?}", imap.names(""));
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"));
    p.stop().await;
}

#[tokio::test]
async fn settings_of_mailboxes_are_checked_and_a_server_that_is_away_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("password");
    std::fs::write(&secret_file, "secret").unwrap();
    let good = || ImapMailbox {
        host: "localhost".into(),
        // The port of nobody.
        port: 1,
        tls: ImapTls::None,
        user: "me".into(),
        secret_file: secret_file.clone(),
        ..ImapMailbox::default()
    };
    let missing = |path: &Path| ImapMailbox { secret_file: path.to_owned(), ..good() };
    for (mailbox, words) in [
        (ImapMailbox { host: String::new(), ..good() }, ["imap[0].host", "no server"]),
        (ImapMailbox { user: String::new(), ..good() }, ["imap[0].user", "nobody"]),
        (ImapMailbox { then: Then::Move, ..good() }, ["imap[0].move_to", "move"]),
        (ImapMailbox { every_s: 1, ..good() }, ["imap[0].every_s", "5 to 86400"]),
        (missing(Path::new("/none")), ["imap[0].secret_file", "/none"]),
    ] {
        let refused = Platform::refused(|c| Config { imap: vec![mailbox], ..c }).await;
        assert!(words.iter().all(|word| refused.contains(word)), "{words:?}: {refused}");
    }
    let p = Platform::start_with(|c| Config { imap: vec![good()], ..c }).await;
    assert!(p.send(&p.path(), &dsn(ANN, "5.1.1", UNKNOWN)).await.starts_with("250 "));
    p.stop().await;
}
