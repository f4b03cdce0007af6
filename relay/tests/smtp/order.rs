//! Replies that do not fit what was asked: wrong codes, codes that differ within one reply, replies
//! before commands, and 421 at every point. Nothing is taken for an agreement that is none.

use mail::Phase;
use relay::smtp::{Outcome, Transaction, Trouble};

use crate::smtp::peer::*;

/// A transaction with a server that answers MAIL, RCPT, DATA and the final dot so, each when it
/// comes: whether the session can go on, what came of it, and what the server heard after it.
async fn with_answers(pipelining: bool, answers: [&'static str; 4]) -> (bool, Transaction, String) {
    let (addr, peer) = server(move |mut peer| async move {
        peer.greet(if pipelining { "PIPELINING" } else { "" }).await;
        if pipelining {
            peer.pipeline(&answers[..3].concat()).await;
        } else {
            for answer in &answers[..3] {
                if peer.line().await.is_empty() {
                    return String::new();
                }
                peer.say(answer).await;
            }
        }
        if !answers[3].is_empty() && peer.body().await.is_some() {
            peer.say(answers[3]).await;
        }
        peer.line().await
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    let is_usable = session.is_usable();
    session.quit().await;
    (is_usable, done, peer.await.expect("the script"))
}

const OK: &str = "250 ok\r\n";
const GO: &str = "354 go\r\n";

#[tokio::test]
async fn a_code_that_does_not_fit_the_command_is_no_agreement() {
    for pipelining in [false, true] {
        for (answers, phase) in [
            ([GO, OK, GO, ""], Phase::Mail),
            ([OK, GO, GO, ""], Phase::Rcpt),
            ([OK, OK, OK, ""], Phase::Data),
            (["334 what\r\n", OK, GO, ""], Phase::Mail),
            ([OK, "250-yes\r\n550 no\r\n", GO, ""], Phase::Rcpt),
        ] {
            let (is_usable, done, rest) = with_answers(pipelining, answers).await;
            let trouble = match &done.outcome {
                Outcome::Failed(trouble) => trouble,
                other => panic!("{answers:?}: {other:?}"),
            };
            assert!(
                matches!(trouble, Trouble::OutOfPlace(_) | Trouble::TwoCodes(250, 550)),
                "{trouble}"
            );
            assert_eq!((done.phase, done.dot_written), (phase, false), "{answers:?}");
            assert!(!is_usable && rest.is_empty(), "{answers:?}: {rest:?}");
        }
    }
}

#[tokio::test]
async fn what_answers_the_final_dot_wrongly_may_have_the_message() {
    for pipelining in [false, true] {
        for answer in [GO, "250-taken\r\n451 not taken\r\n"] {
            let (is_usable, done, _) = with_answers(pipelining, [OK, OK, GO, answer]).await;
            match &done.outcome {
                Outcome::NoReplyAfterDot(Trouble::OutOfPlace(_) | Trouble::TwoCodes(250, 451)) => {}
                other => panic!("{answer:?}: {other:?}"),
            }
            assert!(done.dot_written && !is_usable);
        }
    }
}

#[tokio::test]
async fn a_421_after_the_final_dot_is_its_answer_and_ends_the_session() {
    for pipelining in [false, true] {
        let said = "421 4.3.2 going down\r\n";
        let (is_usable, done, rest) = with_answers(pipelining, [OK, OK, GO, said]).await;
        assert!(matches!(done.outcome, Outcome::Refused), "{:?}", done.outcome);
        assert_eq!((done.phase, done.reply.map(|r| r.code)), (Phase::Dot, Some(421)));
        assert!(done.dot_written && !is_usable && rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn a_reply_before_its_command_is_not_taken_for_its_answer() {
    for (together, extensions) in [(true, "PIPELINING"), (false, "PIPELINING"), (false, "")] {
        let (addr, peer) = server(move |mut peer| async move {
            if together {
                // In one packet with the answer to EHLO: all of it is read before MAIL.
                peer.say("220 mx.example ESMTP\r\n").await;
                peer.expect("EHLO").await;
                peer.say("250-mx.example\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n")
                    .await;
            } else {
                peer.greet(extensions).await;
                peer.say("250 2.1.0 ok\r\n").await;
            }
            peer.line().await
        })
        .await;
        let mut session = connect(addr).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let done = send(&mut session).await;
        assert!(matches!(done.outcome, Outcome::Failed(Trouble::OutOfPlace(_))), "{done:?}");
        assert!(!done.began && !done.dot_written && !session.is_usable());
        session.quit().await;
        assert_eq!(peer.await.expect("the script"), "", "nothing was sent");
    }
}
