//! An SMTP client that others wrote.

use crate::internet::client::{HOST, one};
use crate::others::program_or_skip;

#[tokio::test]
async fn swaks_delivers_over_tls() {
    let Some(swaks) = program_or_skip("swaks") else { return };
    let internet = one("tls = \"required\"").await;
    let server = format!("{HOST}:{}", internet.smtp_port());
    let swaks = tokio::process::Command::new(swaks)
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
