//! Postfix as receiver: TLS, CHUNKING and DATA, unknown recipients, sizes, SMTPUTF8.

use loadtests::postfix::Postfix;
use mail::Phase;

use super::*;

/// A Postfix that stores the mail of `ann` and of `jürgen` in Maildirs.
async fn start(more: &str) -> Option<(Postfix, TlsClient)> {
    if !is_startable(Postfix::is_installed(), "postfix") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cert, key, client) = certificate(folder.path());
    let root = folder.path().display().to_string();
    std::fs::create_dir(folder.path().join("box")).unwrap();
    std::os::unix::fs::chown(folder.path().join("box"), Some(65534), Some(65534)).unwrap();
    let main = format!(
        "maillog_file = {root}/log\n\
         maillog_file_prefixes = {root}\n\
         smtpd_tls_security_level = may\n\
         smtpd_tls_cert_file = {}\n\
         smtpd_tls_key_file = {}\n\
         virtual_mailbox_domains = peer.example\n\
         virtual_mailbox_base = {root}/box\n\
         virtual_mailbox_maps = inline:{{ {{ ann@peer.example = ann/ }}, {{ jürgen@peer.example = juergen/ }} }}\n\
         virtual_uid_maps = static:65534\n\
         virtual_gid_maps = static:65534\n\
         virtual_minimum_uid = 1\n\
         virtual_mailbox_limit = 0\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         {more}",
        cert.display(),
        key.display(),
    );
    Some((Postfix::start(folder, free_address(), &main).await.unwrap(), client))
}

fn ann(postfix: &Postfix) -> PathBuf {
    postfix.folder().join("box/ann/new")
}

#[tokio::test]
async fn postfix_stores_what_was_sent_over_verified_tls_whole_and_in_steps() {
    let Some((postfix, client)) = start("").await else { return };
    for (n, chunking) in [true, false].into_iter().enumerate() {
        let mut session = connect(postfix.address(), TlsPolicy::Verified, &client, chunking).await;
        let offered = session.capabilities();
        assert!(offered.chunking && offered.pipelining && offered.dsn && offered.smtputf8);
        let tls = session.tls().unwrap();
        assert_eq!((tls.version.as_str(), &tls.verified), ("TLSv1.3", &Ok(())));
        assert_eq!(tls.resumed, n > 0, "the second is resumed");
        send_all(&mut session, "ann@peer.example").await;
        session.quit().await;
    }
    assert_all(stored(&ann(&postfix), messages().len() * 2).await, 2);
    assert!(!postfix.log().contains("improper command pipelining"), "{}", postfix.log());
    postfix.stop().await.unwrap();
}

#[tokio::test]
async fn postfix_stores_messages_with_files_as_they_were_sent() {
    let Some((postfix, _)) = start("message_size_limit = 60000000").await else { return };
    let messages = [with_files(1, 5_000), with_files(2, 2_000_000)];
    for chunking in [true, false] {
        let mut session = connect(postfix.address(), TlsPolicy::Never, &stranger(), chunking).await;
        for message in &messages {
            let done = session.transact(&envelope("ann@peer.example"), message, || true).await;
            assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}\n{}", postfix.log());
        }
        session.quit().await;
    }
    let sent = messages.iter().flat_map(|message| {
        let text = String::from_utf8(message.joined()).unwrap();
        vec![text[text.find("X-Number: ").unwrap()..].to_owned(); 2]
    });
    let (found, sent) = (stored(&ann(&postfix), 4).await, sent.collect::<Vec<_>>());
    assert!(found == sent, "{} and {} octets", found.concat().len(), sent.concat().len());
    postfix.stop().await.unwrap();
}

#[tokio::test]
async fn postfix_refuses_one_recipient_and_takes_the_next() {
    let Some((postfix, _)) = start("").await else { return };
    for chunking in [true, false] {
        let mut session = connect(postfix.address(), TlsPolicy::Never, &stranger(), chunking).await;
        for _ in 0..2 {
            let done = send(&mut session, "nobody@peer.example", &messages()[0]).await;
            assert!(matches!(done.outcome, Outcome::Refused), "{done:?}\n{}", postfix.log());
            let reply = done.reply.unwrap();
            assert_eq!((done.phase, reply.code), (Phase::Rcpt, 550), "{reply}");
            let done = send(&mut session, "ann@peer.example", &messages()[5]).await;
            assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}\n{}", postfix.log());
        }
        session.quit().await;
    }
    let found = stored(&ann(&postfix), 4).await;
    assert_eq!(found, vec![messages()[5].clone(); 4]);
    postfix.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_for_postfix_is_not_begun() {
    let Some((postfix, _)) = start("message_size_limit = 20000").await else { return };
    let mut session = connect(postfix.address(), TlsPolicy::Never, &stranger(), true).await;
    let done = send(&mut session, "ann@peer.example", &messages()[9]).await;
    assert!(matches!(done.outcome, Outcome::TooBig { octets_max: 20_000 }) && !done.began);
    let done = send(&mut session, "ann@peer.example", &messages()[0]).await;
    assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}\n{}", postfix.log());
    session.quit().await;
    postfix.stop().await.unwrap();
}

#[tokio::test]
async fn addresses_in_any_script_go_where_they_are_taken_and_nowhere_else() {
    let Some((postfix, _)) = start("smtputf8_enable = yes").await else { return };
    let mut session = connect(postfix.address(), TlsPolicy::Never, &stranger(), true).await;
    let done = send(&mut session, "jürgen@peer.example", &messages()[3]).await;
    assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}\n{}", postfix.log());
    session.quit().await;
    let found = stored(&postfix.folder().join("box/juergen/new"), 1).await;
    assert_eq!(found, [messages()[3].clone()]);
    postfix.stop().await.unwrap();

    let Some((postfix, _)) = start("smtputf8_enable = no").await else { return };
    let mut session = connect(postfix.address(), TlsPolicy::Never, &stranger(), true).await;
    let done = send(&mut session, "jürgen@peer.example", &messages()[3]).await;
    assert!(matches!(done.outcome, Outcome::Utf8NotOffered) && !done.began);
    session.quit().await;
    postfix.stop().await.unwrap();
}
