use super::*;

/// What stands in etcd, what the host knows, and what follows.
struct Row {
    name: &'static str,
    /// Name, created, written.
    there: &'static [(&'static str, i64, i64)],
    revision: i64,
    only: &'static str,
    home: &'static [(&'static str, Known)],
    order: &'static [&'static str],
    gone: &'static [&'static str],
    doubted: &'static [&'static str],
}

const ROWS: [Row; 12] = [
    Row { name: "nothing anywhere", ..NOTHING },
    Row {
        name: "two come, the older one first",
        there: &[("blue", 7, 7), ("green", 5, 8)],
        order: &["green", "blue"],
        ..NOTHING
    },
    Row {
        name: "of two that came in one transaction, by their names",
        there: &[("green", 5, 5), ("blue", 5, 9)],
        order: &["blue", "green"],
        ..NOTHING
    },
    Row {
        name: "one that the host is in stays, whatever was written",
        there: &[("blue", 5, 9)],
        home: &[("blue", Known::At(Revision(5)))],
        order: &["blue"],
        ..NOTHING
    },
    Row {
        name: "one whose configuration was deleted is left",
        home: &[("blue", Known::At(Revision(5)))],
        gone: &["blue"],
        ..NOTHING
    },
    Row {
        name: "of the very moment at which it was seen, it was deleted as well",
        home: &[("blue", Known::At(Revision(10)))],
        gone: &["blue"],
        ..NOTHING
    },
    Row {
        name: "an etcd of an earlier time proves nothing",
        home: &[("blue", Known::At(Revision(11)))],
        order: &["blue"],
        doubted: &["blue"],
        ..NOTHING
    },
    Row {
        name: "nor does it later, when it has caught up",
        revision: 1000,
        home: &[("blue", Known::Doubted)],
        order: &["blue"],
        doubted: &["blue"],
        ..NOTHING
    },
    Row {
        name: "until its configuration is there again",
        there: &[("blue", 9, 9)],
        home: &[("blue", Known::Doubted)],
        order: &["blue"],
        ..NOTHING
    },
    Row {
        name: "what the administrator does not want is nobody's trouble",
        there: &[("blue", 5, 5), ("green", 6, 6), ("red", 4, 4)],
        only: "red,blue",
        order: &["red", "blue"],
        ..NOTHING
    },
    Row {
        name: "the option says who goes first, and who is missing is not waited for",
        there: &[("blue", 5, 5), ("red", 7, 7)],
        only: "green,red,blue",
        order: &["red", "blue"],
        ..NOTHING
    },
    Row {
        name: "one in doubt goes last",
        there: &[("zebra", 9, 9)],
        home: &[("ant", Known::Doubted)],
        order: &["zebra", "ant"],
        doubted: &["ant"],
        ..NOTHING
    },
];

const NOTHING: Row = Row {
    name: "",
    there: &[],
    revision: 10,
    only: "",
    home: &[],
    order: &[],
    gone: &[],
    doubted: &[],
};

#[test]
fn what_follows_for_a_host() {
    for row in &ROWS {
        let mut catalogue = Catalogue::new(Revision(row.revision));
        for (name, created, written) in row.there {
            catalogue.insert(name, entry(*created, *written));
        }
        let home = row.home.iter().map(|(name, known)| (named(name), *known)).collect();
        let verdict = catalogue.judge(&row.only.parse().unwrap(), &home);
        let texts = |names: &[&str]| names.iter().map(|name| named(name)).collect::<Vec<_>>();
        assert_eq!(verdict.order, texts(row.order), "{}", row.name);
        assert_eq!(verdict.gone, texts(row.gone), "{}", row.name);
        let doubted: Vec<_> = verdict.doubted().into_iter().collect();
        assert_eq!(doubted, texts(row.doubted), "{}", row.name);
    }
}

#[test]
fn names_that_are_none_are_told_and_hold_nobody_up() {
    let mut catalogue = Catalogue::new(Revision(9));
    let long = "x".repeat(64);
    for name in ["", "..", "a b", "-a", "subnets", "twill", "ö", "a\nb", "\u{1b}[2J", &long] {
        catalogue.insert(name, entry(1, 1));
    }
    catalogue.insert("blue", entry(2, 2));
    let verdict = catalogue.judge(&Networks::default(), &Home::new());
    assert_eq!(verdict.order, [named("blue")]);
    assert_eq!(verdict.unfit.len(), 10);
    for error in &verdict.unfit {
        let text = error.to_string();
        assert!(text.contains("is not a name for a network"), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

/// Every world of two networks to every other one, and every host in it.
#[test]
fn nothing_is_left_without_a_proof_and_nothing_that_is_there_is_missing() {
    let states = [None, Some(entry(1, 1)), Some(entry(1, 3)), Some(entry(4, 4)), Some(entry(2, 5))];
    let known = [
        None,
        Some(Known::At(Revision(1))),
        Some(Known::At(Revision(3))),
        Some(Known::At(Revision(5))),
        Some(Known::Doubted),
    ];
    let mut worlds = 0;
    for now in 1..=6 {
        let entries = states.iter().filter(|it| it.is_none_or(|entry| entry.written.0 <= now));
        let entries: Vec<_> = entries.collect();
        for (a, b) in entries.iter().flat_map(|a| entries.iter().map(move |b| (a, b))) {
            for (one, other) in known.iter().flat_map(|a| known.iter().map(move |b| (a, b))) {
                for only in ["", "a", "b,a"] {
                    check((now, [**a, **b]), [*one, *other], only);
                    worlds += 1;
                }
            }
        }
    }
    assert!(worlds > 4000, "{worlds}");
}

#[track_caller]
fn check((now, there): (i64, [Option<Entry>; 2]), known: [Option<Known>; 2], only: &str) {
    let only: Networks = only.parse().unwrap();
    let mut catalogue = Catalogue::new(Revision(now));
    let mut home = Home::new();
    for ((text, entry), known) in ["a", "b"].into_iter().zip(there).zip(known) {
        if let Some(entry) = entry {
            catalogue.insert(text, entry);
        }
        if let Some(known) = known.filter(|_known| only.admit(&named(text))) {
            home.insert(named(text), known);
        }
    }
    let verdict = catalogue.judge(&only, &home);
    for (text, entry) in ["a", "b"].into_iter().zip(there) {
        let name = named(text);
        let stays = verdict.home.contains_key(&name);
        let case =
            || format!("{text} at {now} of {catalogue:?} by {only} in {home:?}: {verdict:?}");
        assert_eq!(stays, verdict.order.contains(&name), "{}", case());
        assert!(!(stays && verdict.gone.contains(&name)), "{}", case());
        match (entry, home.get(&name)) {
            _ if !only.admit(&name) => assert!(!stays, "{}", case()),
            (Some(entry), _) => {
                assert_eq!(verdict.home[&name], Known::At(entry.written), "{}", case());
            }
            (None, None) => assert!(!stays && !verdict.gone.contains(&name), "{}", case()),
            (None, Some(Known::At(seen))) => {
                let proof = seen.0 <= now;
                assert_eq!(verdict.gone.contains(&name), proof, "{}", case());
                assert_eq!(stays, !proof, "{}", case());
            }
            (None, Some(Known::Doubted)) => assert!(stays, "{}", case()),
        }
    }
    let again = catalogue.judge(&only, &verdict.home);
    let settled = Verdict { gone: Vec::new(), ..verdict.clone() };
    assert_eq!(again, settled, "a second look changes nothing");
}

#[test]
fn what_happens_is_folded_whatever_comes_twice() {
    let mut catalogue = Catalogue::new(Revision(3));
    let put = |name: &str, created, written| Turn::Put(name.to_owned(), entry(created, written));
    let gone = |name: &str, at| Turn::Gone(name.to_owned(), Revision(at));
    let names = |catalogue: &Catalogue| catalogue.entries.keys().cloned().collect::<Vec<_>>();
    for turn in [put("blue", 4, 4), put("green", 5, 5), put("blue", 4, 6), gone("green", 7)] {
        catalogue.fold(turn.clone());
        catalogue.fold(turn);
    }
    assert_eq!((names(&catalogue), catalogue.revision), (vec!["blue".to_owned()], Revision(7)));
    catalogue.fold(gone("blue", 5));
    assert_eq!(names(&catalogue), ["blue"], "that was before it was written");
    catalogue.fold(gone("blue", 8));
    catalogue.fold(put("blue", 9, 9));
    assert_eq!((names(&catalogue), catalogue.revision), (vec!["blue".to_owned()], Revision(9)));
}

fn entry(created: i64, written: i64) -> Entry {
    Entry { created: Revision(created), written: Revision(written) }
}

fn named(name: &str) -> NetworkName {
    name.parse().expect(name)
}
