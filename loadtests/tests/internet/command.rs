//! The command `loadtests internet`, as a person or a script runs it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn it_says_where_it_listens_and_in_the_end_what_happened() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtests"))
        .args(["internet", "--scenario", "throughput", "--seconds", "2", "--json"])
        .args(["--txt", "s1._domainkey.news.example=v=DKIM1; p=AAAA"])
        .args(["--mx", "back.example=mx.back.example", "--a", "mx.back.example=127.0.3.1"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut json = async || {
        let line = lines.next_line().await.expect("output").expect("a line");
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON")
    };
    let start = json().await;
    assert_ne!(start["smtp_port"], 0);
    let sink = start["providers"]["sink"].as_str().expect("an address");
    let answer = {
        let stream = tokio::net::TcpStream::connect(sink).await.expect("a connection");
        BufReader::new(stream).lines().next_line().await.expect("a banner")
    };
    assert_eq!(answer.as_deref(), Some("220 mx.sink.pretend.test ESMTP"));
    let at = start["dns"].as_str().expect("an address").parse().expect("an address");
    let dns = crate::internet::dns::resolver_at(at, std::time::Duration::from_millis(500));
    let hosts = crate::internet::dns::mx(&dns, "back.example").await.expect("an answer");
    assert_eq!(hosts, [(10, "mx.back.example.".to_owned())]);
    assert_eq!(crate::internet::dns::a(&dns, "mx.back.example").await.expect("one").len(), 1);
    let key = dns.txt_lookup("s1._domainkey.news.example.").await.expect("an answer");
    assert_eq!(key.answers()[0].data.to_string(), "v=DKIM1; p=AAAA");
    let end = json().await;
    assert_eq!(end["providers"]["sink"]["connections"], 1);
    assert!(child.wait().await.expect("it ends").success());
}

#[tokio::test]
async fn anything_but_loopback_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtests"))
        .args(["internet", "--listen", "192.0.2.1"])
        .output()
        .await
        .expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("192.0.2.1 is not loopback"));
}

#[tokio::test]
async fn recipients_come_as_lines_of_json() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtests"))
        .args(["recipients", "--number", "3", "--seed", "9"])
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.lines().count(), 3);
    for line in text.lines() {
        let recipient: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(recipient["email"].as_str().is_some_and(|email| email.contains('@')));
    }
}
