//! Chains as rcgen makes them against sets of records.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;

use super::*;

const HOST: &str = "mx.example";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate for a name, given by this authority until this year.
fn given(by: &Authority, name: &str, until: i32) -> CertificateDer<'static> {
    let mut params = CertificateParams::new([name.to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    params.signed_by(&key, by).expect("a certificate").der().clone()
}

/// The record that is about a certificate.
fn record(usage: u8, selector: u8, matching: u8, of: &CertificateDer<'_>) -> Tlsa {
    let parsed = ParsedCertificate::try_from(of).expect("a certificate");
    let spki = parsed.subject_public_key_info();
    let selected = if selector == 0 { of.as_ref() } else { spki.as_ref() };
    let data = match matching {
        1 => digest(&SHA256, selected).as_ref().to_vec(),
        2 => digest(&SHA512, selected).as_ref().to_vec(),
        _ => selected.to_vec(),
    };
    Tlsa { usage, selector, matching, data }
}

fn verdict(tlsa: &[Tlsa], names: &[&str], chain: &[CertificateDer<'_>]) -> Result<(), String> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let wish = DaneWish { tlsa: usable(tlsa), names };
    // 2026-01-01.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_767_225_600));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    judge(&wish, chain, now, &algorithms).map_err(|why| why.to_string())
}

const ALL: [(u8, u8); 6] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];

#[test]
fn the_servers_own_certificate_counts_whatever_its_name_and_dates() {
    let by = authority("unknown");
    for leaf in [given(&by, HOST, 2040), given(&by, "other.example", 2040), given(&by, HOST, 2020)]
    {
        for (selector, matching) in ALL {
            let record = record(3, selector, matching, &leaf);
            assert_eq!(verdict(&[record], &[HOST], std::slice::from_ref(&leaf)), Ok(()));
        }
    }
}

#[test]
fn another_certificate_does_not() {
    let by = authority("unknown");
    let (leaf, other) = (given(&by, HOST, 2040), given(&by, HOST, 2040));
    let why = Err("its certificate is not the one that its DNS names".to_owned());
    for (selector, matching) in ALL {
        let wrong = record(3, selector, matching, &other);
        assert_eq!(
            verdict(std::slice::from_ref(&wrong), &[HOST], std::slice::from_ref(&leaf)),
            why
        );
        // One of several is enough: keys are rolled that way.
        let right = record(3, 1, 1, &leaf);
        assert_eq!(verdict(&[wrong, right], &[HOST], std::slice::from_ref(&leaf)), Ok(()));
    }
    assert_eq!(verdict(&[record(3, 1, 1, &leaf)], &[HOST], &[]), why);
}

#[test]
fn an_authority_counts_for_the_names_it_gave() {
    let by = authority("named");
    for (selector, matching) in ALL {
        let records = [record(2, selector, matching, by.der())];
        let chain = [given(&by, HOST, 2040), by.der().clone()];
        assert_eq!(verdict(&records, &[HOST], &chain), Ok(()), "{selector} {matching}");
        // The domain's name will do, and a wildcard's.
        assert_eq!(verdict(&records, &["other.example", HOST], &chain), Ok(()));
        let wild = [given(&by, "*.one.example", 2040), by.der().clone()];
        assert_eq!(verdict(&records, &["mx.one.example"], &wild), Ok(()));
    }
}

#[test]
fn an_authority_does_not_count_for_other_names_or_after_the_end() {
    let by = authority("named");
    let records = [record(2, 0, 1, by.der())];
    let told = |leaf| verdict(&records, &[HOST], &[leaf, by.der().clone()]).expect_err("refused");
    let head = "its DNS names an authority in its chain, but its certificate";
    assert_eq!(told(given(&by, "other.example", 2040)), format!("{head} is for another name"));
    assert_eq!(told(given(&by, HOST, 2020)), format!("{head} has expired"));
    // An authority that is shown, and has not given it.
    let stranger = authority("stranger");
    let chain = [given(&stranger, HOST, 2040), by.der().clone()];
    assert!(verdict(&records, &[HOST], &chain).is_err());
}

#[test]
fn a_whole_authority_need_not_be_shown_and_a_digest_must() {
    let by = authority("named");
    let chain = [given(&by, HOST, 2040)];
    assert_eq!(verdict(&[record(2, 0, 0, by.der())], &[HOST], &chain), Ok(()));
    assert!(verdict(&[record(2, 0, 1, by.der())], &[HOST], &chain).is_err());
}

#[test]
fn what_mail_has_no_use_for_is_left_out() {
    let leaf = given(&authority("unknown"), HOST, 2040);
    let digest = record(3, 1, 1, &leaf);
    let cut = Tlsa { data: digest.data[..31].to_vec(), ..digest.clone() };
    let useless = [
        Tlsa { usage: 0, ..digest.clone() },
        Tlsa { usage: 1, ..digest.clone() },
        Tlsa { usage: 4, ..digest.clone() },
        Tlsa { selector: 2, ..digest.clone() },
        Tlsa { matching: 3, ..digest.clone() },
        Tlsa { matching: 2, ..digest.clone() },
        Tlsa { matching: 0, data: Vec::new(), ..digest.clone() },
        cut,
    ];
    assert!(usable(&useless).is_empty());
    assert_eq!(usable(&[useless[0].clone(), digest.clone()]), [digest]);
}
