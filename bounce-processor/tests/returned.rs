//! From mail to consequence, over SMTP and a real Redis.

use mail::classify::Signal;
use mail::event::EventKind::{Complained, Reported, Returned, SuppressionAdded, Unsubscribed};
use mail::{Category, DeliveryId, Hygiene};
use store::LearnedRules;

use crate::support::{ANN, DELIVERY, DOMAIN, Platform, arf, dsn};

const UNKNOWN: &str = "550 5.1.1 <ann@example.net>: user unknown";

#[tokio::test]
async fn a_dead_mailbox_is_suppressed_counted_once_and_told() {
    let p = Platform::start().await;
    let mail = dsn(ANN, "5.1.1", UNKNOWN);
    for _ in 0..3 {
        assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    }
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"));
    assert_eq!(p.returned().await, 1, "three reports of one failure count once");
    assert_eq!(p.kinds().await, [Returned, SuppressionAdded]);
    let events = p.events().await;
    let event = events.iter().find(|e| e.kind == Returned).unwrap();
    assert_eq!((event.delivery, event.campaign), (Some(DELIVERY), Some(p.campaign)));
    assert_eq!((event.recipient.as_str(), event.category), (ANN, Some(Category::NoMailbox)));
    let reply = event.reply.as_ref().unwrap();
    assert_eq!((reply.code, event.hygiene), (550, Some(Hygiene::Suppress)));
    assert!(p.store.take_feedback(10).await.unwrap().is_empty(), "nothing for those who send");
    let (_, counts) = p.store.campaign_counts(p.campaign).await.unwrap();
    assert_eq!(counts.returned_dead, 1, "the campaign's gate hears of it once");
    p.stop().await;
}

#[tokio::test]
async fn a_full_mailbox_counts_and_is_not_suppressed() {
    let p = Platform::start().await;
    let mail = dsn("ANN@Example.NET", "5.2.2", "552 5.2.2 Mailbox full");
    assert!(p.send(&p.path().to_uppercase(), &mail).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 1));
    let (_, counts) = p.store.campaign_counts(p.campaign).await.unwrap();
    assert_eq!(counts.returned_dead, 0, "a full mailbox says nothing about the list");
    assert!(!p.store.address_history(Some("acme"), ANN).await.unwrap().is_empty());
    p.stop().await;
}

#[tokio::test]
async fn what_speaks_of_the_sender_reaches_the_relays_with_its_campaign() {
    let p = Platform::start().await;
    let said = "421 4.7.28 unusual rate of unsolicited mail originating from your DKIM domain";
    assert!(p.send(&p.path(), &dsn(ANN, "4.7.28", said)).await.starts_with("250 "));
    let feedback = p.store.take_feedback(10).await.unwrap();
    assert_eq!(feedback.len(), 1);
    let heard = (feedback[0].signal, feedback[0].campaign, feedback[0].domain.as_str());
    assert_eq!(heard, (Some(Signal::SenderDomain), Some(p.campaign), "example.net"));
    assert!(feedback[0].said.contains("your DKIM domain"), "{}", feedback[0].said);
    p.stop().await;
}

#[tokio::test]
async fn a_stranger_in_the_report_never_reaches_a_list() {
    let p = Platform::start().await;
    let mail = dsn("victim@example.com", "5.1.1", "550 5.1.1 user unknown");
    assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed("victim@example.com").await, None);
    assert_eq!(p.suppressed(ANN).await, None);
    assert!(p.store.address_history(Some("acme"), "victim@example.com").await.unwrap().is_empty());
    let events = p.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].recipient.as_str()), (Returned, ""));
    assert!(p.store.take_feedback(10).await.unwrap().is_empty());

    // Forwarded, and Ann's own address stands in the quoted header: it counts, no more.
    let other = DeliveryId { seq: 7, ..DELIVERY };
    let quoted = "--x\r\nContent-Type: text/rfc822-headers\r\n\r\n\
                  From: news@example.com\r\nTo: Ann <ann@example.net>\r\n\r\n--x--\r\n";
    let mail = mail.replace("--x--\r\n", quoted);
    assert!(p.send(&p.path_of(other, ANN), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed(ANN).await, None);
    assert!(!p.store.address_history(Some("acme"), ANN).await.unwrap().is_empty());
    p.stop().await;
}

#[tokio::test]
async fn a_forged_return_path_is_refused() {
    let p = Platform::start().await;
    let mail = dsn(ANN, "5.1.1", UNKNOWN);
    let path = p.path();
    let forged = if path.as_bytes()[10] == b'k' { "m" } else { "k" };
    let forged = format!("{}{forged}{}", &path[..10], &path[11..]);
    let stranger = mail::verp::ReturnPathKeys::new(vec![('a', [9; 32])]).unwrap();
    let stranger = stranger.encode(DELIVERY, p.campaign, &ANN.parse().unwrap());
    for to in [forged, format!("{stranger}@{DOMAIN}"), format!("b-@{DOMAIN}")] {
        assert!(p.send(&to, &mail).await.starts_with("550 5.1.1"), "{to}");
    }
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 0));
    assert!(p.events().await.is_empty());
    p.stop().await;
}

#[tokio::test]
async fn a_complaint_suppresses_at_once_wherever_it_comes_in() {
    let p = Platform::start().await;
    let mail = arf("abuse", &format!("Original-Rcpt-To: <{ANN}>\r\n"), "Subject: News");
    assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("complaint"));
    assert_eq!(p.kinds().await, [Complained, SuppressionAdded]);
    let counters = p.store.campaign_counters(p.campaign).await.unwrap();
    assert_eq!(counters.complained, 1);

    // At abuse@, found by the return path that it quotes; the recipient by the quoted To.
    let bob = DeliveryId { seq: 9, ..DELIVERY };
    let path = p.path_of(bob, "bob@example.net");
    let quoted = format!("Return-Path: <{path}>\r\nTo: bob@example.net\r\nSubject: News");
    let mail = arf("abuse", "", &quoted);
    assert!(p.send(&format!("Abuse@{DOMAIN}"), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed("bob@example.net").await.as_deref(), Some("complaint"));

    // With the recipient struck out everywhere but in the link that we signed.
    let eve = DeliveryId { seq: 10, ..DELIVERY };
    let link = mail::unsubscribe::unsubscribe_path(&p.links, eve, p.campaign, "eve@example.net");
    let quoted = format!("List-Unsubscribe: <https://example.org{link}>\r\nSubject: News");
    let mail = arf("abuse", "", &quoted);
    assert!(p.send(&format!("fbl@{DOMAIN}"), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed("eve@example.net").await.as_deref(), Some("complaint"));
    assert!(p.kept().is_empty());
    p.stop().await;
}

#[tokio::test]
async fn a_complaint_that_proves_nothing_is_kept_for_a_person() {
    let p = Platform::start().await;
    let mail = arf("abuse", "", "Return-Path: <b-forged@example.org>\r\nTo: ann@example.net");
    assert!(p.send(&format!("abuse@{DOMAIN}"), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed(ANN).await, None);
    assert!(p.events().await.is_empty());
    assert_eq!(p.kept_in(".Unmatched").len(), 1);

    // A person who hands on a report is no report.
    let quoted = format!("Return-Path: <{}>\r\n{}", p.path(), dsn(ANN, "5.1.1", UNKNOWN));
    let office = format!("postmaster@{DOMAIN}");
    assert!(p.send_from("eve@example.net", &office, &quoted).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await, p.kept_in("").len()), (None, 1));

    // From nobody it is one, as much as at the return path that it quotes.
    assert!(p.send(&office, &quoted).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await.as_deref(), p.returned().await), (Some("no-mailbox"), 1));
    assert_eq!(p.kept().len(), 2);
    p.stop().await;
}

#[tokio::test]
async fn a_report_that_names_no_delivery_of_ours_is_kept_apart() {
    let p = Platform::start().await;
    let mail = dsn(ANN, "5.1.1", UNKNOWN);
    assert!(p.send(&format!("postmaster@{DOMAIN}"), &mail).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 0));
    assert_eq!((p.kept_in(".Unmatched").len(), p.kept_in("").len()), (1, 0));

    // It came to a return path, and is about somebody else.
    let mail = dsn("eve@example.com", "5.1.1", UNKNOWN);
    assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 1));
    let kept = p.kept_in(".Unmatched");
    assert_eq!(kept.len(), 2);
    let about =
        format!("X-Malleposte-Delivery: {DELIVERY}\r\nX-Malleposte-Campaign: {}\r\n", p.campaign);
    assert!(kept.iter().any(|mail| mail.contains(&about)), "{kept:?}");
    p.stop().await;
}

#[tokio::test]
async fn a_mail_to_the_address_of_the_header_unsubscribes() {
    let p = Platform::start().await;
    let link = mail::unsubscribe::unsubscribe_path(&p.links, DELIVERY, p.campaign, ANN);
    let mailto = mail::unsubscribe::unsubscribe_mailto(&link, DOMAIN);
    let (address, subject) = mailto.split_once("?subject=").unwrap();
    let subject = subject.replace("%20", " ");
    // Ann writes from another address than she was written to, by a program or by hand.
    let mail = format!("From: Ann <ann@work.example>\r\nSubject: {subject}\r\n\r\n");
    for _ in 0..2 {
        assert!(p.send_from("ann@work.example", address, &mail).await.starts_with("250 "));
    }
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("unsubscribed"));
    assert_eq!(p.kinds().await, [Unsubscribed, SuppressionAdded]);
    assert!(p.kept().is_empty());

    // What only a person can understand is kept for one; what a machine answers is no wish.
    let mail = "From: bob@example.net\r\nSubject: please no more\r\n\r\n";
    assert!(p.send_from("bob@example.net", address, mail).await.starts_with("250 "));
    let absent = format!(
        "From: {ANN}\r\nSubject: Automatic reply: {subject}\r\n\
                          Auto-Submitted: auto-replied\r\n\r\nI am on leave.\r\n"
    );
    assert!(p.send(address, &absent).await.starts_with("250 "));
    assert_eq!(p.kept_in(".Replies").len(), 2);
    let forged = format!("u-{}@{DOMAIN}", "2".repeat(41));
    assert!(p.send_from("bob@example.net", &forged, mail).await.starts_with("250 "));
    assert_eq!(p.suppressed("bob@example.net").await, None);
    p.stop().await;
}

#[tokio::test]
async fn an_opt_out_unsubscribes() {
    let p = Platform::start().await;
    let mail = arf("opt-out", &format!("Original-Rcpt-To: <{ANN}>\r\n"), "Subject: News");
    assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("unsubscribed"));
    assert_eq!(p.kinds().await, [Unsubscribed, SuppressionAdded]);
    p.stop().await;
}

#[tokio::test]
async fn an_absence_changes_nothing_and_is_told_once() {
    let p = Platform::start().await;
    let mail = "From: Ann <ann@example.net>\r\nTo: <news@example.com>\r\n\
                Subject: Automatic reply: News\r\nAuto-Submitted: auto-replied\r\n\r\n\
                I am out of the office until Monday.\r\n";
    for _ in 0..2 {
        assert!(p.send(&p.path(), mail).await.starts_with("250 "));
    }
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 0));
    assert!(p.store.address_history(Some("acme"), ANN).await.unwrap().is_empty());
    let events = p.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].note.as_str()), (Reported, "auto-reply"));
    assert!(p.kept().is_empty());

    let delayed = dsn(ANN, "4.4.1", "451 4.4.1 no answer").replace("failed", "delayed");
    assert!(p.send(&p.path(), &delayed).await.starts_with("250 "));
    assert_eq!(p.kinds().await, [Reported, Reported]);
    assert_eq!((p.suppressed(ANN).await, p.returned().await), (None, 0));
    p.stop().await;
}

#[tokio::test]
async fn a_person_is_read_by_a_person() {
    let p = Platform::start().await;
    let mail = "From: Ann <ann@example.net>\r\nSubject: Re: News\r\n\r\n\
                Thank you, when does the shop open?\r\n..dotted\r\n";
    assert!(p.send(&p.path(), mail).await.starts_with("250 "));
    assert!(p.send(&format!("POSTMASTER@{DOMAIN}"), mail).await.starts_with("250 "));
    assert!(p.send("postmaster", mail).await.starts_with("250 "));
    let kept = p.kept();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|m| m.contains("when does the shop open?\r\n.dotted\r\n")));
    assert!(kept.iter().all(|m| m.starts_with("Return-Path: <>\r\n")));
    assert_eq!(p.kinds().await, [Reported]);
    p.stop().await;
}

#[tokio::test]
async fn without_redis_mail_is_put_off_and_nothing_is_lost() {
    let mut p = Platform::start().await;
    let mail = dsn(ANN, "5.1.1", UNKNOWN);
    p.redis.kill();
    let answer = p.send(&p.path(), &mail).await;
    assert!(answer.starts_with("451 4.3.0"), "{answer}");
    p.redis.restart(&["--appendonly", "yes", "--appendfsync", "always"]);
    assert!(p.send(&p.path(), &mail).await.starts_with("250 "));
    assert_eq!((p.suppressed(ANN).await.as_deref(), p.returned().await), (Some("no-mailbox"), 1));
    p.stop().await;
}

#[tokio::test]
async fn without_a_mailbox_mail_for_people_is_put_off() {
    let p = Platform::start().await;
    std::fs::remove_dir_all(&p.mailbox).unwrap();
    let answer = p.send(&format!("abuse@{DOMAIN}"), "Subject: hello\r\n\r\nhello").await;
    assert!(answer.starts_with("451 4.3.0"), "{answer}");
    p.stop().await;
}

#[tokio::test]
async fn what_a_person_named_is_known_from_then_on() {
    let p = Platform::start().await;
    let said = "550 this box is taking a rest";
    let send = async |seq| {
        let other = DeliveryId { seq, ..DELIVERY };
        let mail = dsn(ANN, "5.0.0", said);
        assert!(p.send(&p.path_of(other, ANN), &mail).await.starts_with("250 "));
        let events = p.events().await;
        let event = events.iter().find(|e| e.delivery == Some(other) && e.kind == Returned);
        event.unwrap().category
    };
    assert_eq!(send(1).await, Some(Category::Undetermined));
    let text = "[[rule]]\nid = \"rest\"\ncategory = \"mailbox-disabled\"\n\
                any = [\"this box is taking a rest\"]\nmatches = [\"550 this box is taking a rest\"]\n";
    let rules = LearnedRules { text: text.into() };
    let none = LearnedRules::default();
    assert!(p.store.replace_learned_rules(&none, &rules).await.unwrap());
    assert!(!p.store.replace_learned_rules(&none, &rules).await.unwrap(), "they are others now");
    let began = std::time::Instant::now();
    for seq in 2.. {
        if send(seq).await == Some(Category::MailboxDisabled) {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(40), "nobody looked");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    p.stop().await;
}
