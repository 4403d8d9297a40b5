use super::*;
use crate::ids::Revision;

/// Two configurations, and what they cannot share.
const PAIRS: [(&str, &str, &str, Option<&str>); 12] = [
    ("nothing in common", A, r#""10.89.0.0/16","Backend":{"Type":"vxlan","VNI":2}"#, None),
    ("one address in common", A, r#""10.0.0.0/8","Backend":{"Type":"host-gw"}"#, RANGE),
    ("the same segment", A, r#""10.89.0.0/16","Backend":{"Type":"vxlan","VNI":1}"#, SEGMENT),
    (
        "the same identifier on another port, and one device",
        A,
        r#""10.89.0.0/16","Backend":{"Type":"vxlan","Port":4789}"#,
        Some("both need the device flannel.1"),
    ),
    (
        "one port with group policy and without",
        A,
        r#""10.89.0.0/16","Backend":{"Type":"vxlan","VNI":2,"GBP":true}"#,
        Some("one uses UDP port 8472 with group policy, the other without"),
    ),
    ("udp beside vxlan", A, r#""10.89.0.0/16""#, None),
    ("udp on the port of vxlan", A, r#""10.89.0.0/16","Backend":{"Type":"udp","Port":8472}"#, PORT),
    ("and the other way", r#""10.89.0.0/16","Backend":{"Type":"udp","Port":8472}"#, A, PORT),
    ("udp twice", r#""10.88.0.0/16""#, r#""10.89.0.0/16""#, Some("both use UDP port 8285")),
    (
        "udp twice, on two ports",
        r#""10.88.0.0/16""#,
        r#""10.89.0.0/16","Backend":{"Type":"udp","Port":8286}"#,
        None,
    ),
    (
        "plain routes twice",
        r#""10.88.0.0/16","Backend":{"Type":"host-gw"}"#,
        r#""10.89.0.0/16","Backend":{"Type":"host-gw"}"#,
        None,
    ),
    ("leases alone", r#""10.88.0.0/16","Backend":{"Type":"alloc"}"#, A, RANGE_TWICE),
];

const A: &str = r#""10.88.0.0/16","Backend":{"Type":"vxlan"}"#;
const RANGE: Option<&str> = Some("10.0.0.0/8 overlaps 10.88.0.0/16");
const RANGE_TWICE: Option<&str> = Some("10.88.0.0/16 overlaps 10.88.0.0/16");
const SEGMENT: Option<&str> = Some("both use vxlan 1 on port 8472");
const PORT: Option<&str> = Some("both use UDP port 8472");

#[test]
fn what_two_networks_cannot_share() {
    for (name, first, second, wanted) in PAIRS {
        let mut ledger = ledger();
        ledger.claim(&named("a"), claims(first)).expect(name);
        let found = ledger.claim(&named("b"), claims(second)).err();
        let text = found.as_ref().map(ToString::to_string);
        let wanted =
            wanted.map(|why| format!("network b cannot be served beside network a: {why}"));
        assert_eq!(text, wanted, "{name}");
        if let Some(conflict) = found {
            assert!(conflict.hint().contains("--network-name b network set --"), "{name}");
            assert_eq!(ledger.devices_beside(&named("a")).next(), None, "{name}: b has nothing");
        }
    }
}

#[test]
fn who_has_something_keeps_it_until_it_wants_something_else() {
    let mut ledger = ledger();
    let other = r#""10.89.0.0/16","Backend":{"Type":"vxlan","VNI":2}"#;
    ledger.claim(&named("a"), claims(A)).unwrap();
    ledger.claim(&named("b"), claims(other)).unwrap();
    let before = ledger.clone();
    ledger.claim(&named("b"), claims(A)).unwrap_err();
    assert_eq!(ledger.claims, before.claims, "a refusal changes nothing");
    ledger.claim(&named("a"), claims(other)).unwrap_err();
    // On its way, a network has both.
    let third = r#""10.90.0.0/16","Backend":{"Type":"vxlan","VNI":3}"#;
    let both = claims(third).and(["10.88.0.0/16".parse().unwrap()]);
    ledger.claim(&named("a"), both).unwrap();
    assert!(ledger.is_taken_beside(&named("b"), "10.88.7.0/24".parse().unwrap()));
    ledger.claim(&named("a"), claims(third)).unwrap();
    assert!(!ledger.is_taken_beside(&named("b"), "10.88.7.0/24".parse().unwrap()));
    ledger.claim(&named("b"), claims(A)).unwrap();
    assert_eq!(ledger.devices_beside(&named("a")).collect::<Vec<_>>(), ["flannel.1"]);
    ledger.release(&named("b"));
    ledger.claim(&named("a"), claims(A)).unwrap();
}

#[test]
fn an_earlier_backend_is_in_use_as_well() {
    let config = config(A);
    let mut serving = Serving::new(config.backend.clone(), Revision(1));
    let after = self::config(r#""10.88.0.0/16","Backend":{"Type":"udp"}"#);
    serving.adopt(after.backend.clone(), Revision(2));
    let mut ledger = ledger();
    ledger.claim(&named("a"), Claims::of(&after, &serving)).unwrap();
    let same = r#""10.89.0.0/16","Backend":{"Type":"vxlan"}"#;
    ledger.claim(&named("b"), claims(same)).unwrap_err();
    serving.retire(|_since| false);
    ledger.claim(&named("a"), Claims::of(&after, &serving)).unwrap();
    ledger.claim(&named("b"), claims(same)).unwrap();
}

#[test]
fn ports_are_those_of_every_backend() {
    let config = config(r#""10.88.0.0/16","Backend":{"Type":"vxlan","Port":4789}"#);
    let mut serving = Serving::new(config.backend.clone(), Revision(1));
    for (backend, revision) in
        [(r#"{"Type":"udp","Port":8286}"#, 2), (r#"{"Type":"wireguard"}"#, 3)]
    {
        let after = self::config(&format!(r#""10.88.0.0/16","Backend":{backend}"#));
        serving.adopt(after.backend, Revision(revision));
    }
    assert_eq!(Claims::of(&config, &serving).udp_ports(), [4789, 8286, 51820].into());
}

#[test]
fn the_first_named_goes_first() {
    let mut ledger = ledger();
    let turns = |ledger: &Ledger| ["a", "b", "c"].map(|name| ledger.is_its_turn(&named(name)));
    assert_eq!(turns(&ledger), [true, false, false]);
    ledger.had(&named("b"), claims(A));
    assert_eq!(turns(&ledger), [true, false, false]);
    // What b had when the host was up last is b's, though a is named first.
    ledger.claim(&named("a"), claims(A)).unwrap_err();
    assert_eq!(turns(&ledger), [true, true, true], "who was refused has had its turn");
    let mut ledger = self::ledger();
    ledger.pass(&named("a"));
    assert_eq!(turns(&ledger), [true, true, false]);
    ledger.claim(&named("b"), claims(A)).unwrap();
    assert_eq!(turns(&ledger), [true, true, true]);
    // Of what two had, by a mistake of somebody's, the first has it.
    ledger.had(&named("c"), claims(A));
    assert_eq!(ledger.devices_beside(&named("b")).next(), None);
}

#[test]
fn a_network_that_is_forgotten_holds_nobody_up_and_comes_for_the_first_time() {
    let mut ledger = ledger();
    ledger.claim(&named("a"), claims(A)).unwrap();
    ledger.claim(&named("b"), claims(A)).unwrap_err();
    ledger.forget(&named("a"));
    ledger.claim(&named("b"), claims(A)).unwrap();
    // It comes again, behind the others.
    ledger.arrange(["b", "c", "a"].map(named).into());
    let turns = |ledger: &Ledger| ["a", "b", "c"].map(|name| ledger.is_its_turn(&named(name)));
    assert_eq!(turns(&ledger), [false, true, true]);
    ledger.pass(&named("c"));
    assert_eq!(turns(&ledger), [true, true, true]);
    ledger.claim(&named("a"), claims(A)).unwrap_err();
    // One that nobody has arranged waits for all who are.
    ledger.forget(&named("c"));
    assert!(ledger.is_its_turn(&named("c")));
}

#[test]
fn lists_of_names() {
    for (text, names) in
        [("", &[][..]), ("blue", &["blue"]), ("b,a", &["b", "a"]), (" a , b-2 ", &["a", "b-2"])]
    {
        let networks: Networks = text.parse().expect(text);
        assert_eq!(networks.names(), names.iter().map(|name| named(name)).collect::<Vec<_>>());
        assert_eq!(networks.to_string(), names.join(","));
        let admits = |name| networks.admit(&named(name));
        assert_eq!(admits("a"), names.is_empty() || names.contains(&"a"), "{text}");
        assert_eq!(networks.place(&named("other")), names.len(), "{text}");
    }
    for (text, why) in [
        ("a,a", "network a is named twice"),
        ("a,", "not a name for a network"),
        ("a,b/c", "`b/c`"),
        ("config", "not a name for a network"),
    ] {
        let error = text.parse::<Networks>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

fn ledger() -> Ledger {
    Ledger::new(["a", "b", "c"].map(named).into())
}

fn named(name: &str) -> NetworkName {
    name.parse().expect(name)
}

fn claims(text: &str) -> Claims {
    let config = config(text);
    let mut serving = Serving::new(config.backend.clone(), Revision(1));
    serving.name_by_port();
    Claims::of(&config, &serving)
}

/// What comes behind `"Network":`.
fn config(text: &str) -> NetworkConfig {
    NetworkConfig::parse(format!("{{\"Network\":{text}}}").as_bytes()).expect(text)
}
