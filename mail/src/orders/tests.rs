use super::*;

fn order(id: u64, verb: Verb, kind: ScopeKind, name: &str) -> Order {
    Order {
        id,
        verb,
        scope: Scope::new(kind, name).expect("a scope"),
        pool: if verb == Verb::Reroute { format!("pool-{id}") } else { String::new() },
        fixed: Fixed::default(),
        source: String::new(),
        reason: "test".into(),
        by: "me".into(),
        at: Timestamp(1000),
        until: None,
    }
}

const ANN: Subject<'_> = Subject {
    campaign: Some(CampaignId(7)),
    tenant: "acme",
    domain: "example.org",
    site: "mx.example.org",
    source: "out1",
};

#[test]
fn an_order_holds_for_what_it_names_and_nothing_else() {
    let named = [
        (ScopeKind::All, ""),
        (ScopeKind::Campaign, "c7"),
        (ScopeKind::Tenant, "acme"),
        (ScopeKind::Domain, "EXAMPLE.org"),
        (ScopeKind::Site, "mx.example.org"),
        (ScopeKind::Source, "out1"),
    ];
    for (kind, name) in named {
        let orders = Orders::new(vec![order(1, Verb::Suspend, kind, name)], Timestamp(2000));
        assert!(orders.suspends(&ANN).is_some(), "{kind} {name}");
        let nobody = Subject::default();
        assert_eq!(orders.suspends(&nobody).is_some(), kind == ScopeKind::All, "{kind}");
    }
    let other = order(1, Verb::Suspend, ScopeKind::Campaign, "c8");
    assert_eq!(Orders::new(vec![other], Timestamp(0)).suspends(&ANN), None);
}

#[test]
fn what_was_accepted_after_the_order_is_not_failed_by_it() {
    let orders =
        Orders::new(vec![order(1, Verb::Bounce, ScopeKind::Tenant, "acme")], Timestamp(2000));
    assert!(orders.bounces(&ANN, Timestamp(1000)).is_some());
    assert!(orders.bounces(&ANN, Timestamp(1001)).is_none());
}

#[test]
fn the_newest_reroute_decides() {
    let all = vec![
        order(4, Verb::Reroute, ScopeKind::All, ""),
        order(2, Verb::Reroute, ScopeKind::Tenant, "acme"),
    ];
    assert_eq!(Orders::new(all, Timestamp(0)).pool(&ANN), Some("pool-4"));
}

#[test]
fn of_each_dimension_the_newest_fix_of_that_source_and_site_decides() {
    let fix = |id, site: &str, source: &str, rate, connections| Order {
        fixed: Fixed { rate, connections, messages_per_connection: None },
        source: source.into(),
        ..order(id, Verb::Fix, ScopeKind::Site, site)
    };
    let orders = Orders::new(
        vec![
            fix(3, "mx.example.org", "", Some(5.0), None),
            fix(1, "mx.example.org", "", Some(9.0), Some(2)),
            fix(4, "mx.example.org", "out2", Some(1.0), None),
            fix(5, "mx.example.net", "", Some(2.0), None),
        ],
        Timestamp(0),
    );
    let fixed = orders.fixed("out1", "mx.example.org");
    assert_eq!((fixed.rate, fixed.connections), (Some(5.0), Some(2)));
    assert_eq!(orders.fixed("out2", "mx.example.org").rate, Some(1.0));
    assert!(orders.fixed("out1", "mx.example.com").is_nothing());
    assert_eq!(orders.all()[2].to_string(), "fix site mx.example.org for out2 at 1/s");
}

#[test]
fn an_order_ends_at_its_time() {
    let mut suspend = order(1, Verb::Suspend, ScopeKind::All, "");
    suspend.until = Some(Timestamp(5000));
    assert!(!Orders::new(vec![suspend.clone()], Timestamp(4999)).is_empty());
    assert!(Orders::new(vec![suspend], Timestamp(5000)).is_empty());
}

#[test]
fn senseless_orders_are_refused_in_words() {
    let refused = |kind, name: &str| Scope::new(kind, name).expect_err("refused").to_string();
    assert_eq!(refused(ScopeKind::All, "x"), "all takes no name");
    assert_eq!(refused(ScopeKind::Site, ""), "site needs a name");
    assert_eq!(refused(ScopeKind::Campaign, "12"), "\"12\" is not a campaign: write c12");
    assert!(refused(ScopeKind::Domain, "a@b").starts_with("\"a@b\" is not a domain"));
    let relay = Scope::new(ScopeKind::Relay, "relay-a").expect("a relay");
    assert_eq!(
        Verb::Bounce.check(&relay).expect_err("refused").to_string(),
        "bounce relay is not possible; possible: site, tenant, campaign, domain"
    );
    assert_eq!(Verb::Drain.check(&relay), Ok(()));
}
