//! SMTP sessions against servers that behave, misbehave, hang up and attack.

mod certificates;
mod chunk;
mod files;
mod login;
mod order;
mod peer;
mod proxy;
mod tls;

use std::time::{Duration, Instant};

use mail::Phase;
use peer::*;
use relay::smtp::{Envelope, Outcome, Session, Timeouts, TlsClient, TlsPolicy, Trouble};
use rustls::RootCertStore;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_host_with_a_silent_and_a_closed_address_is_reached_by_its_third() {
    let (silent, _listener, _queue) = silence().await;
    let closed = listen().await.1;
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("").await;
        peer.expect("QUIT").await;
    })
    .await;
    let began = Instant::now();
    let client = TlsClient::new(RootCertStore::empty()).expect("tls");
    let patient = Timeouts { connect_s: 20, ..timeouts() };
    let addrs = [silent, closed, addr];
    let target = target(&addrs, &patient, TlsPolicy::Never);
    let session = Session::connect(&target, &client).await.expect("a session");
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for the silent one");
    assert_eq!((session.peer(), session.silent()), (addr, &[silent, closed][..]));
    session.quit().await;
    peer.await.expect("the script");
}

#[tokio::test]
async fn a_server_of_our_own_name_is_left_before_any_mail() {
    let (addr, peer) = server(|mut peer| async move {
        peer.say("220 mx.example ESMTP\r\n").await;
        peer.expect("EHLO relay.example").await;
        peer.say("250-RELAY.example greets you\r\n250 PIPELINING\r\n").await;
        assert_eq!(peer.line().await, "");
    })
    .await;
    let error = connect_with(addr, TlsPolicy::Opportunistic).await.expect_err("a loop");
    assert!(matches!(error.trouble, Some(Trouble::Ourselves(_))), "{error}");
    assert_eq!((error.phase, error.peer), (Phase::Ehlo, Some(addr)));
    peer.await.expect("the script");
}

#[tokio::test]
async fn messages_follow_one_another_over_one_connection() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING SIZE_1000").await;
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let commands = peer.lines(3).await;
            assert_eq!(commands[0], "MAIL FROM:<b-1@example.org> SIZE=29");
            peer.say("250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n").await;
            bodies.push(peer.body().await.expect("a body"));
            peer.say("250 2.0.0 queued as 7\r\n").await;
        }
        peer.expect("QUIT").await;
        peer.say("221 bye\r\n").await;
        assert_eq!(peer.line().await, "");
        bodies
    })
    .await;
    let mut session = connect(addr).await;
    assert_eq!((session.capabilities().pipelining, session.tls()), (true, None));
    for _ in 0..3 {
        let done = send(&mut session).await;
        assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
        assert_eq!(done.reply.expect("a reply").to_string(), "250 2.0.0 queued as 7");
        assert!(done.dot_written && session.is_usable());
    }
    assert_eq!(session.transactions(), 3);
    session.quit().await;
    for body in peer.await.expect("peer") {
        assert_eq!(body, "Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n");
    }
}

#[tokio::test]
async fn a_server_without_pipelining_is_asked_step_by_step() {
    let (addr, peer) = server(|mut peer| async move {
        peer.say("220 old\r\n").await;
        peer.expect("EHLO").await;
        peer.say("502 what\r\n").await;
        peer.expect("HELO relay.example").await;
        peer.say("250 old\r\n").await;
        peer.expect("MAIL FROM:<b-1@example.org>").await;
        peer.say("250 ok\r\n").await;
        peer.expect("RCPT").await;
        peer.say("550 5.1.1 no such user\r\n").await;
        // A refused recipient ends it; RSET comes before the next.
        peer.expect("RSET").await;
        peer.say("250 ok\r\n").await;
        for (command, answer) in
            [("MAIL", "250 ok\r\n"), ("RCPT", "250 ok\r\n"), ("DATA", "354 go\r\n")]
        {
            peer.expect(command).await;
            peer.say(answer).await;
        }
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!((done.phase, done.reply.expect("a reply").code), (Phase::Rcpt, 550));
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_refused_recipient_spoils_nothing_for_the_next() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n550 5.1.1 no such user\r\n503 no recipient\r\n").await;
        peer.expect("RSET").await;
        // This one wants a message although nobody would get it.
        peer.pipeline("250 reset\r\n250 ok\r\n450 4.2.1 later\r\n354 go\r\n").await;
        assert_eq!(peer.body().await.as_deref(), Some(""));
        peer.say("554 5.5.1 no valid recipients\r\n").await;
        peer.expect("RSET").await;
        peer.pipeline("250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!(told(&done), ["mail 250", "rcpt 550", "data 503"]);
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!((done.phase, done.reply.as_ref().expect("a reply").code), (Phase::Rcpt, 450));
    assert_eq!(told(&done), ["mail 250", "mail 250", "rcpt 450", "data 354", "dot 554"]);
    assert!(!done.dot_written);
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_421_in_the_middle_of_a_pipeline_loses_no_reply() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n421 4.7.0 bye\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!((done.phase, done.reply.as_ref().map(|r| r.code)), (Phase::Rcpt, Some(550)));
    assert_eq!(told(&done), ["mail 250", "rcpt 550", "data 421"]);
    assert_eq!(done.replies[2].1.text, "bye");
    assert!(!session.is_usable());
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Failed(Trouble::Closed)) && !done.began);
}

#[tokio::test]
async fn a_421_to_mail_is_the_verdict() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("421 4.7.28 too fast\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused), "{done:?}");
    assert_eq!(done.reply.expect("a reply").to_string(), "421 4.7.28 too fast");
    assert!(!session.is_usable() && !done.dot_written);
}

#[tokio::test]
async fn a_hang_up_is_told_with_its_step() {
    for (answers, phase) in [
        ("", Phase::Mail),
        ("25", Phase::Mail),
        ("250 ok\r\n", Phase::Rcpt),
        ("250 ok\r\n250 ok\r\n35", Phase::Data),
    ] {
        for extensions in ["PIPELINING", ""] {
            let (addr, _peer) = server(move |mut peer| async move {
                peer.greet(extensions).await;
                // All commands are read, so that no reset overtakes the answers.
                if extensions.is_empty() {
                    for part in answers.split_inclusive('\n') {
                        peer.line().await;
                        peer.say(part).await;
                    }
                    if answers.is_empty() || answers.ends_with('\n') {
                        peer.line().await;
                    }
                } else {
                    peer.pipeline(answers).await;
                }
            })
            .await;
            let done = send(&mut connect(addr).await).await;
            assert!(matches!(done.outcome, Outcome::Failed(Trouble::Closed)), "{done:?}");
            assert_eq!((done.phase, done.dot_written), (phase, false), "{answers:?} {extensions}");
        }
    }
}

#[tokio::test]
async fn a_hang_up_before_and_after_the_final_dot_are_two_things() {
    for with_reply in [false, true] {
        let (addr, _peer) = server(move |mut peer| async move {
            peer.greet("PIPELINING").await;
            peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
            peer.body().await.expect("a body");
            if with_reply {
                peer.say("451 4.3.0 try again\r\n").await;
            }
        })
        .await;
        let mut session = connect(addr).await;
        let done = send(&mut session).await;
        assert!(done.dot_written);
        match done.outcome {
            Outcome::NoReplyAfterDot(Trouble::Closed) => {
                assert!(!with_reply && !session.is_usable());
            }
            Outcome::Refused => assert!(with_reply && done.phase == Phase::Dot),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_leaves_within_a_large_message_does_not_have_it() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.lines(10).await;
    })
    .await;
    let mut session = connect(addr).await;
    let large = b"0123456789 0123456789 0123456789 0123456789\r\n".repeat(400_000);
    let done = session.transact(&ENVELOPE, &large, || true).await;
    assert!(matches!(done.outcome, Outcome::Failed(_)), "{:?}", done.outcome);
    assert!(!done.dot_written);
}

#[tokio::test]
async fn the_dot_is_not_written_when_the_lease_is_gone() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await
    })
    .await;
    let mut session = connect(addr).await;
    let done = session.transact(&ENVELOPE, MESSAGE, || false).await;
    assert!(matches!(done.outcome, Outcome::Withheld));
    assert!(!done.dot_written && !session.is_usable());
    session.quit().await;
    assert_eq!(peer.await.expect("peer"), None);
}

#[tokio::test]
async fn the_dot_of_a_large_message_is_not_written_when_the_lease_ends_on_the_way() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await
    })
    .await;
    let mut session = connect(addr).await;
    let large = b"0123456789 0123456789 0123456789 0123456789\r\n".repeat(400_000);
    let asked = std::cell::Cell::new(0);
    let is_ours = || asked.replace(asked.get() + 1) == 0;
    let done = session.transact(&ENVELOPE, &large, is_ours).await;
    assert!(matches!(done.outcome, Outcome::Withheld), "{:?}", done.outcome);
    assert!(!done.dot_written && !session.is_usable() && asked.get() == 2);
    session.quit().await;
    assert_eq!(peer.await.expect("peer"), None);
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_begun() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING SIZE_100").await;
        peer.line().await
    })
    .await;
    let mut session = connect(addr).await;
    let mut of = async |rcpt_to: &str, smtputf8, message: &[u8]| {
        let envelope = Envelope { rcpt_to, smtputf8, ..ENVELOPE };
        let done = session.transact(&envelope, message, || panic!("asked")).await;
        assert_eq!((done.phase, done.began), (Phase::Local, false));
        done.outcome
    };
    assert!(matches!(of("a>\r\nDATA", false, MESSAGE).await, Outcome::BadPath));
    assert!(matches!(of("", false, MESSAGE).await, Outcome::BadPath));
    assert!(matches!(of("a@b.example", true, MESSAGE).await, Outcome::Utf8NotOffered));
    assert!(matches!(of("a@b.example", false, b"a\n.\r\n").await, Outcome::Malformed(_)));
    let large = b"12345678\r\n".repeat(11);
    assert!(matches!(of("a@b.example", false, &large).await, Outcome::TooBig { octets_max: 100 }));
    assert!(session.is_usable());
    session.quit().await;
    assert_eq!(peer.await.expect("peer"), "QUIT");
}

#[tokio::test]
async fn what_was_said_while_idle_is_heard_before_anything_is_sent() {
    for (said, code) in [("421 4.4.2 idle too long\r\n", Some(421)), ("", None)] {
        let (addr, peer) = server(move |mut peer| async move {
            peer.greet("PIPELINING").await;
            peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
            peer.body().await.expect("a body");
            peer.say(&format!("250 ok\r\n{said}")).await;
        })
        .await;
        let mut session = connect(addr).await;
        assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
        peer.await.expect("peer");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let done = send(&mut session).await;
        assert!(!done.began && !session.is_usable());
        assert_eq!(done.reply.map(|r| r.code), code);
        match done.outcome {
            Outcome::Refused => assert!(code.is_some()),
            Outcome::Failed(Trouble::Closed) => assert!(code.is_none()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn greetings_are_heard_out_or_given_up() {
    let cases: &[(&str, Phase, &str)] = &[
        ("554 5.7.1 blocked\r\n", Phase::Banner, "banner: 554 5.7.1 blocked"),
        ("421-busy\r\n421 later\r\n", Phase::Banner, "banner: 421 busy later"),
        ("", Phase::Banner, "banner: the connection was closed"),
        ("SSH-2.0-x\r\n", Phase::Banner, "banner: not a reply: \"SSH-2.0-x\""),
        ("220 hi\r\n421 4.3.2 closing\r\n", Phase::Ehlo, "ehlo: 421 4.3.2 closing"),
        ("220 hi\r\n550 go away\r\n", Phase::Ehlo, "ehlo: 550 go away"),
        ("220 hi\r\n354 go\r\n", Phase::Ehlo, "ehlo: a reply out of place: 354 go"),
    ];
    for (said, phase, expected) in cases {
        let said = (*said).to_owned();
        let (addr, _peer) = server(move |mut peer| async move {
            peer.say(&said).await;
            if said.starts_with("220") {
                peer.line().await;
            }
        })
        .await;
        let error = connect_with(addr, TlsPolicy::Never).await.expect_err(expected);
        assert_eq!((error.phase, error.to_string().as_str()), (*phase, *expected));
    }
}

#[tokio::test]
async fn endless_lines_and_silence_end() {
    let (addr, _peer) = server(|mut peer| async move {
        let line = "x".repeat(4096);
        peer.say("220 ").await;
        while peer.0.get_mut().write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    let error = connect_with(addr, TlsPolicy::Never).await.expect_err("an endless banner");
    assert!(matches!(error.trouble, Some(Trouble::TooLong)), "{error}");

    let (addr, _peer) = server(|mut peer| async move {
        peer.say("220 hi\r\n").await;
        peer.line().await;
        peer.line().await
    })
    .await;
    let error = connect_with(addr, TlsPolicy::Never).await.expect_err("silence");
    assert_eq!(error.to_string(), "ehlo: no answer in time");

    let (listener, addr) = listen().await;
    drop(listener);
    let error = connect_with(addr, TlsPolicy::Never).await.expect_err("nobody");
    assert_eq!(error.phase, Phase::Connect);
}
