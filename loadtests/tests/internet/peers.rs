//! An SMTP client that others wrote.

use std::process::Command;

use crate::client::{HOST, one};

#[tokio::test]
async fn swaks_delivers_over_tls() {
    if Command::new("swaks").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing may be left out: swaks");
        eprintln!("SKIPPED, and proves nothing: swaks is not installed (apt-get install swaks)");
        return;
    }
    let internet = one("tls = \"required\"").await;
    let server = format!("{HOST}:{}", internet.smtp_port());
    let swaks = tokio::process::Command::new("swaks")
        .args(["--server", &server, "--tls", "--from", "a@news.example"])
        .args(["--to", "ann@one.example", "--body", ".a leading dot\n"])
        .output()
        .await
        .expect("swaks runs");
    let said = String::from_utf8_lossy(&[swaks.stdout, swaks.stderr].concat()).into_owned();
    assert!(swaks.status.success(), "{said}");
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.taken, ann.accepted), (1, 1));
    assert_eq!(internet.book().live()["one"].encrypted, 1);
}
