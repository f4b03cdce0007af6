//! A sender with nothing but patience, in the roughest scenario: every recipient comes
//! to the end that was meant, and the book agrees.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use loadtests::generator::Generator;
use loadtests::internet::End;
use loadtests::{Internet, Listen, Scenario};
use mail::Category;

use crate::internet::client::{Client, MESSAGE};
use crate::internet::dns::{a, mx, resolver};
use crate::internet::returns::Keeper;

const TRIES: usize = 30;
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, PartialEq, Eq)]
enum Came {
    Delivered,
    Refused,
    NoDomain,
}

/// One attempt; `None` means that another one is worth while.
async fn attempt(dns: &TokioResolver, port: u16, to: &str) -> Option<Came> {
    let domain = to.rsplit_once('@').expect("an address").1;
    let hosts = match mx(dns, domain).await {
        Ok(hosts) if hosts.iter().all(|(_, host)| host == ".") => return Some(Came::NoDomain),
        Ok(hosts) => hosts.into_iter().map(|(_, host)| host).collect(),
        Err(error) if error.is_nx_domain() => return Some(Came::NoDomain),
        Err(error) if error.is_no_records_found() => vec![format!("{domain}.")],
        Err(_) => return None,
    };
    let address: IpAddr = *a(dns, hosts[0].trim_end_matches('.')).await.ok()?.first()?;
    let mut client = Client::connect_to(SocketAddr::new(address, port)).await?;
    if client.reply_or_end().await?.0 != 220 {
        return None;
    }
    let rcpt = format!("RCPT TO:<{to}>\r\n");
    let steps: [&[u8]; 5] = [
        b"EHLO c.example\r\n",
        b"MAIL FROM:<b@back.example>\r\n",
        rcpt.as_bytes(),
        b"DATA\r\n",
        MESSAGE,
    ];
    for step in steps {
        match client.ask(step).await? {
            200..400 => {}
            400..500 => return None,
            _ => return Some(Came::Refused),
        }
    }
    Some(Came::Delivered)
}

async fn persist(dns: &TokioResolver, port: u16, to: &str) -> Came {
    for _ in 0..TRIES {
        if let Some(came) = attempt(dns, port, to).await {
            return came;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{to}: still no end after {TRIES} tries");
}

fn compare(internet: &Internet, to: &str, came: &Came) {
    let entry = internet.book().recipient(to);
    let meant = internet.meant(to);
    match meant.end {
        End::Delivered | End::Returned(_) => {
            let entry = entry.expect("a page");
            assert_eq!(*came, Came::Delivered, "{to}");
            assert!(entry.taken >= 1 && entry.accepted == 1, "{entry:?}");
            assert_eq!(entry.reports.first().copied(), meant.report, "{to}");
        }
        End::Failed(Category::NoDomain) => {
            assert_eq!((came, entry.is_none()), (&Came::NoDomain, true))
        }
        End::Failed(category) => {
            let entry = entry.expect("a page");
            assert_eq!(*came, Came::Refused, "{to}");
            assert_eq!((entry.taken, entry.refused_as()), (0, Some(category)), "{entry:?}");
        }
        End::Unreachable(_) => panic!("{to}: nothing is out of reach for ever in this scenario"),
    }
}

#[tokio::test]
async fn everybody_comes_to_the_end_that_was_meant() {
    let mut scenario = Scenario::named("chaos").expect("a scenario");
    // This sender neither signs nor knows what bulk mail needs; it is only patient.
    (scenario.strict.dkim, scenario.strict.bulk) = (false, false);
    let internet = Internet::start(scenario, Listen::default()).await.expect("it starts");
    let keeper = Keeper::start(2).await;
    internet.send_returns_to(keeper.at);
    let (dns, port) = (Arc::new(resolver(&internet)), internet.smtp_port());
    let recipients: Vec<String> = Generator::new(4, 600).iter().map(|r| r.address).collect();
    let mut senders = tokio::task::JoinSet::new();
    for part in recipients.chunks(60).map(<[String]>::to_vec) {
        let dns = Arc::clone(&dns);
        senders.spawn(async move {
            let mut ends = Vec::new();
            for to in part {
                let came = persist(&dns, port, &to).await;
                ends.push((to, came));
            }
            ends
        });
    }
    let ends: Vec<(String, Came)> = senders.join_all().await.into_iter().flatten().collect();
    for _ in 0..400 {
        if internet.returns_waiting() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    for (to, came) in &ends {
        compare(&internet, to, came);
    }
    let sum = internet.book().summary();
    assert_eq!(ends.len(), 600);
    assert_eq!((sum.deferred, sum.violations, sum.reports_waiting), (0, 0, 0), "{sum:?}");
    assert!(sum.unheard > 0 && sum.duplicates == sum.unheard, "{sum:?}");
    internet.stop().await;
}
