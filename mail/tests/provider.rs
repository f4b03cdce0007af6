//! The shipped providers against what is known of them, files that must be refused, and replies
//! in any language or none.

use std::collections::BTreeSet;
use std::path::Path;

use mail::Phase;
use mail::classify::{Finding, Said, classify};
use mail::provider::{Faults, File, Grade, Providers, shipped_files};
use mail::throttle::Limits;
use proptest::prelude::*;

/// Exchangers as they stand in DNS, and whose they are.
const EXCHANGERS: &[(&[&str], Option<&str>)] = &[
    (&["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"], Some("gmail")),
    (&["ASPMX.L.Google.com.", "aspmx2.googlemail.com"], Some("gmail")),
    (&["mta5.am0.yahoodns.net"], Some("yahoo")),
    (&["mx-aol.mail.gm0.yahoodns.net"], Some("yahoo")),
    (&["mx1.mail.yahoo.co.jp"], Some("yahoo-japan")),
    (&["outlook-com.olc.protection.outlook.com"], Some("outlook")),
    (&["example-org.mail.protection.outlook.com"], Some("microsoft-365")),
    (&["example-org.a-v1.mx.microsoft"], Some("microsoft-365-dane")),
    (&["mx01.mail.icloud.com", "mx02.mail.icloud.com"], Some("apple")),
    (&["mx1.mxge.comcast.net"], Some("comcast")),
    (&["smtp-in.orange.fr"], Some("orange")),
    (&["smtpz4.laposte.net"], Some("laposte")),
    (&["smtp-in.sfr.fr"], Some("sfr")),
    (&["www.sfr.fr"], None),
    (&["mx1.free.fr", "mx2.free.fr"], Some("free")),
    (&["mx00.gmx.net", "mx01.gmx.net"], Some("gmx")),
    (&["mx-ha02.web.de"], Some("gmx")),
    (&["mx00.mail.com"], Some("mail-com")),
    (&["eu-smtp-inbound-1.mimecast.com", "eu-smtp-inbound-2.mimecast.com"], Some("mimecast")),
    (&["mx3.qq.com"], Some("qq")),
    (&["163mx01.mxmail.netease.com"], Some("netease")),
    (&["mx.kpnmail.nl"], Some("kpn")),
    (&["d1.a.ess.barracudanetworks.com"], Some("barracuda")),
    (&["mx1.netvigator.com"], Some("netvigator")),
    (&["mx.yandex.net"], Some("yandex")),
    // A stranger beside Google's changes nothing; of two providers' nobody's numbers hold.
    (&["aspmx.l.google.com", "backup.example.org"], Some("gmail")),
    (&["aspmx.l.google.com", "mx1.free.fr"], None),
    (&["google.com.example.org"], None),
    (&["notgoogle.com"], None),
    (&["google.com"], None),
    (&["mx.gmail.pretend.test"], None),
    (&[], None),
];

fn told(found: &Finding) -> String {
    let Finding { rule, category, permanence, hygiene, scope, signal, .. } = found;
    let seconds =
        |of: Option<std::time::Duration>| of.map_or("-".into(), |d| d.as_secs().to_string());
    let (hold, retry) = (seconds(found.reaction.hold), seconds(found.reaction.retry));
    format!("{rule} {category} {permanence} {hygiene} {scope} {signal} {hold} {retry}")
}

#[test]
fn exchangers_are_known_by_whole_names_and_by_ends() {
    let known = Providers::shipped();
    for (hosts, expected) in EXCHANGERS {
        let found = known.of_hosts(hosts).map(|provider| provider.name.as_str());
        assert_eq!(found, *expected, "{hosts:?}");
    }
}

#[test]
fn what_is_known_of_replies_decides_at_the_providers_own_sites() {
    let (known, mut wrong, mut seen) = (Providers::shipped(), Vec::new(), 0);
    let lines = include_str!("providers/replies.txt").lines();
    let lines: Vec<&str> = lines.filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    for pair in lines.chunks(2) {
        let [line, expected] = pair else { panic!("{pair:?}: two lines belong together") };
        let (provider, rest) = line.split_once(' ').unwrap();
        let (phase, reply) = rest.split_once(": ").unwrap();
        let said = Said::from_line(Phase::from_word(phase).unwrap(), reply);
        let found = told(&known.get(provider).unwrap().classify(&said));
        if found != expected.trim() {
            wrong.push(format!("{line}\n  found   {found}\n  expected{expected}"));
        }
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shipped_number_says_where_it_is_from_and_only_the_provider_sets_a_ceiling() {
    for provider in Providers::shipped().iter() {
        for bound in provider.bounds.known() {
            let what = format!("{}: {}", provider.name, bound.key);
            assert!(bound.grade.is_some(), "{what} has no source with its grade");
            let is_ceiling = bound.key.ends_with("_max") && bound.key.contains("connections")
                || matches!(
                    bound.key,
                    "rate_max" | "messages_per_hour_max" | "messages_per_day_max"
                );
            assert!(
                !is_ceiling || bound.grade == Some(Grade::A),
                "{what} is a guess, not a ceiling"
            );
        }
        assert_eq!(provider.bounds.narrow(&Limits::default()).check(), Ok(()), "{}", provider.name);
    }
}

#[test]
fn every_file_of_the_folder_is_part_of_the_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/providers");
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let there: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    let known: BTreeSet<String> =
        shipped_files().into_iter().map(|file| file.name + ".toml").collect();
    assert_eq!(there, known);
}

#[test]
fn people_find_a_provider_by_name_domain_exchanger_and_site() {
    let known = Providers::shipped();
    for (text, expected) in [
        ("gmail", Some("gmail")),
        ("Hotmail.com", Some("outlook")),
        ("mta7.am0.yahoodns.net", Some("yahoo")),
        ("(alt1.gmail-smtp-in|gmail-smtp-in).l.google.com", Some("gmail")),
        ("(a.example|b.test)", None),
        ("nobody", None),
        ("", None),
    ] {
        assert_eq!(known.find(text).map(|p| p.name.as_str()), expected, "{text:?}");
    }
}

/// Each with all that is said of it beside it. To add a case, add two files; the expected text is
/// what the failing test prints, once it is right.
#[test]
fn files_that_cannot_be_are_refused_in_whole_with_each_fault() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        cases += 1;
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let told = match Providers::over_shipped(&[File { name: name.clone(), text }]) {
            Ok(_) => "accepted".to_owned(),
            Err(faults) => faults.to_string(),
        };
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        // The words of TOML's parser are its own.
        let is_right = match expected.trim_end().strip_suffix('…') {
            Some(start) => told.starts_with(start),
            None => told == expected.trim_end(),
        };
        if !is_right {
            wrong.push(format!("--- {name}\n{told}"));
        }
    }
    assert!(cases >= 10, "{cases} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn file(name: &str, text: &str) -> File {
    File { name: name.into(), text: text.into() }
}

fn refused(files: &[File]) -> Faults {
    Providers::over_shipped(files).expect_err("refused")
}

#[test]
fn two_files_that_contradict_each_other_are_refused() {
    let why = refused(&[file(
        "other",
        "title = 'Other'\nmx = ['*.google.com']\ndomains = ['gmail.com']",
    )]);
    assert_eq!(
        why.to_string(),
        "other.toml: mx \"*.google.com\" is claimed by gmail.toml, too: take it out of one of them\n\
         other.toml: domain \"gmail.com\" is claimed by gmail.toml, too: take it out of one of them"
    );
    let of = |whose: &str| {
        refused(&[file("a", &format!("title = 'A'\nmx = ['a.example']\nrules_of = '{whose}'"))])
    };
    let told = of("gmial").to_string();
    assert_eq!(
        told,
        "a.toml: rules_of names an unknown provider, \"gmial\": there is no gmial.toml"
    );
    assert!(of("mail-com").to_string().contains("whose rules follow on another's"));
    assert!(of("kpn").to_string().contains("which has no rules"));
    assert!(of("a").to_string().contains("names the provider itself"));
    let why = refused(&[file("microsoft-365", "off = true")]).to_string();
    assert!(
        why.starts_with("microsoft-365-dane.toml: rules_of names an unknown provider"),
        "{why}"
    );
}

#[test]
fn a_name_within_anothers_end_goes_to_the_longer_end_and_a_whole_name_before_all() {
    let text = |mx: &str| format!("title = 'T'\nmx = ['{mx}']");
    let files = [
        file("wide", &text("*.example.net")),
        file("narrow", &text("*.mail.example.net")),
        file("one", &text("mx1.mail.example.net")),
    ];
    let known = Providers::new(&files).unwrap();
    let of = |host: &str| known.of_host(host).map(|provider| provider.name.clone());
    assert_eq!(of("a.example.net").as_deref(), Some("wide"));
    assert_eq!(of("mx2.mail.example.net").as_deref(), Some("narrow"));
    assert_eq!(of("MX1.mail.example.net.").as_deref(), Some("one"));
    assert_eq!(of("example.net"), None);
}

#[test]
fn a_provider_that_is_not_wanted_is_gone_and_an_empty_file_is_refused() {
    let without = Providers::over_shipped(&[file("qq", "off = true # not ours")]).unwrap();
    assert!(without.get("qq").is_none() && without.of_host("mx1.qq.com").is_none());
    assert!(refused(&[file("qq", "")]).to_string().contains("names no exchangers"));
    assert!(refused(&[file("Q Q", "off = true")]).to_string().contains("the name of the file"));
}

/// A rule that names no category leaves the meaning to the general ones and adds what it knows.
#[test]
fn a_rule_without_a_category_adds_to_what_the_general_rules_say() {
    let text = "title = 'P'\nmx = ['mx.p.example']\n\
                [[rule]]\nid = 'slow'\nany = ['slow down']\nretry_s = 600\n\
                matches = ['421 4.7.0 slow down', '550 slow down please']\n\
                [[rule]]\nid = 'full'\nany = ['no room']\nhygiene = 'none'\nretry_s = 3600\n\
                matches = ['552 5.2.2 no room for it']";
    let known = Providers::new(&[file("p", text)]).unwrap();
    let of =
        |line: &str| told(&known.get("p").unwrap().classify(&Said::from_line(Phase::Rcpt, line)));
    assert_eq!(of("550 slow down"), "p/slow rate-limited temporary none source rate - 600");
    assert_eq!(of("552 5.2.2 no room"), "p/full mailbox-full temporary none recipient none - 3600");
}

/// Chinese, Arabic, Hebrew, Russian, Japanese, Thai, a smile, nothing, and noise.
const TONGUES: &[(&str, &str)] = &[
    ("550 用户不存在", "no-mailbox"),
    ("550 5.1.1 المستخدم غير موجود", "no-mailbox"),
    ("452 4.2.2 תיבת הדואר מלאה", "mailbox-full"),
    ("421 превышен лимит", "rate-limited"),
    ("451 4.3.0 しばらくお待ちください", "system"),
    ("554 5.7.1 ข้อความถูกปฏิเสธ", "policy"),
    ("550 🙂", "recipient-refused"),
    ("550", "recipient-refused"),
    ("421", "rate-limited"),
    ("", "undetermined"),
    ("\u{0}\u{1}\u{7f}", "undetermined"),
];

#[test]
fn a_reply_in_any_language_or_none_is_understood_by_its_numbers() {
    for provider in Providers::shipped().iter() {
        for (line, category) in TONGUES {
            let said = Said::from_line(Phase::Rcpt, line);
            let found = provider.classify(&said);
            assert_eq!(found.category.as_str(), *category, "{}: {line}", provider.name);
            assert_eq!(found, classify(&said));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server says, each provider's rules come to a verdict, and nobody's address is
    /// suppressed for a word about the pace.
    #[test]
    fn nothing_that_a_server_says_is_too_much(line in "\\PC{0,300}", code in 200u16..600) {
        for provider in Providers::shipped().iter() {
            for line in [line.clone(), format!("{code} {line}")] {
                let found = provider.classify(&Said::from_line(Phase::Rcpt, &line));
                prop_assert!(found.confidence <= 100);
            }
        }
    }

    /// A file of noise is refused with a fault that names it, or says nothing about anybody.
    #[test]
    fn a_file_of_noise_is_refused(text in "[a-z\\[\\]=\"'\n .*0-9-]{0,200}") {
        if let Err(faults) = Providers::over_shipped(&[file("noise", &text)]) {
            prop_assert!(faults.0.iter().all(|fault| fault.file == "noise.toml"), "{faults}");
        }
    }
}
