use proptest::prelude::*;

use super::*;

fn policies() -> impl Strategy<Value = Policy> {
    let kinds = [PolicyKind::Tlsa, PolicyKind::Sts, PolicyKind::NoPolicyFound];
    (prop::sample::select(kinds.to_vec()), prop::collection::vec("[a-c]", 0..2))
        .prop_map(|(kind, strings)| Policy { strings, ..Policy::bare(kind) })
}

fn failures() -> impl Strategy<Value = Failure> {
    let results = vec![
        ResultType::StarttlsNotSupported,
        ResultType::CertificateExpired,
        ResultType::TlsaInvalid,
    ];
    (prop::sample::select(results), "[a-d]?", 0_u8..3).prop_map(|(result, mx, last)| Failure {
        mx,
        receiving_ip: (last > 0).then(|| IpAddr::from([192, 0, 2, last])),
        ..Failure::bare(result)
    })
}

const SMALL: Limits = Limits { policies: 2, failures: 3 };

fn counts() -> impl Strategy<Value = Counts> {
    let one = (policies(), prop::option::of(failures()), 1_u64..1000);
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let mut counts = Counts::default();
        for (policy, failure, sessions) in all {
            let mut one = PolicyCounts::default();
            match failure {
                Some(failure) => drop(one.failures.insert(failure, sessions)),
                None => one.successes = sessions,
            }
            counts.merge_within(Counts(BTreeMap::from([(policy, one)])), SMALL);
        }
        counts
    })
}

fn merged(a: &Counts, b: &Counts) -> Counts {
    let mut both = a.clone();
    both.merge_within(b.clone(), SMALL);
    both
}

proptest! {
    #[test]
    fn counts_add_up_to_the_same_in_any_order(a in counts(), b in counts(), c in counts()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }

    #[test]
    fn no_session_is_lost_and_the_bounds_hold(a in counts(), b in counts()) {
        let both = merged(&a, &b);
        prop_assert_eq!(both.successes(), a.successes() + b.successes());
        prop_assert_eq!(both.failed(), a.failed() + b.failed());
        let mut by_result = a.by_result();
        b.by_result().into_iter().for_each(|(result, n)| *by_result.entry(result).or_default() += n);
        prop_assert_eq!(both.by_result(), by_result);
        let own = both.policies().filter(|(policy, _)| !policy.is_bare()).count();
        prop_assert!(own <= SMALL.policies);
        for (_, counts) in both.policies() {
            let own = counts.failures.keys().filter(|failure| !failure.is_bare()).count();
            prop_assert!(own <= SMALL.failures);
        }
    }
}

#[test]
fn beyond_the_bound_failures_are_counted_by_kind() {
    let mut counts = Counts::default();
    for n in 0..1000 {
        let failure = Failure { mx: format!("mx{n}"), ..Failure::bare(ResultType::DnssecInvalid) };
        counts.count(Policy::bare(PolicyKind::Tlsa), Some(failure));
    }
    let (_, tlsa) = counts.policies().next().expect("one");
    assert_eq!((tlsa.failures.len(), tlsa.failed()), (FAILURES_MAX + 1, 1000));
    assert_eq!(tlsa.failures[&Failure::bare(ResultType::DnssecInvalid)], 900);
}

#[test]
fn what_servers_say_is_cut_to_a_bound_and_holds_no_line_end() {
    let failure = Failure::bare(ResultType::ValidationFailure).because(&"é\r\n".repeat(100));
    assert!(failure.reason.len() <= REASON_OCTETS_MAX, "{}", failure.reason.len());
    assert!(!failure.reason.contains(char::is_control));
    let policy = Policy::tlsa((0..200).map(|n| format!("3 1 1 {}{n}", "ab".repeat(5000))));
    assert_eq!((policy.strings.len(), policy.strings[0].len()), (LINES_MAX, LINE_OCTETS_MAX));
}
