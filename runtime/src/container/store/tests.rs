use jiff::Timestamp;

use super::*;
use crate::container::record::sample;
use crate::container::{Network, Resources};

struct World {
    paths: Paths,
    _directory: tempfile::TempDir,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::new(directory.path().join("lib"), directory.path().join("run"));
    World { paths, _directory: directory }
}

fn record(id: &str) -> Record {
    Record {
        id: id.to_owned(),
        name: String::new(),
        created: Timestamp::now(),
        network: Network::None,
        ..sample()
    }
}

fn id(start: &str) -> String {
    format!("{start:0<64}")
}

#[test]
fn containers_are_found_by_id_then_name_then_prefix() {
    let world = world();
    let store = Store::new(&world.paths);
    assert!(store.list().unwrap().is_empty());
    for (start, name) in [("ab1", "web"), ("ab2", "ab1"), ("cd", "dead")] {
        store.add(record(&id(start)), Some(name)).unwrap();
    }
    let find =
        |query: &str| store.find(query).map(|found| found.record.id).map_err(|e| e.to_string());
    assert_eq!(find("web"), Ok(id("ab1")));
    assert_eq!(find("/web"), Ok(id("ab1")));
    assert_eq!(find(&id("cd")), Ok(id("cd")));
    assert_eq!(find("c"), Ok(id("cd")));
    assert_eq!(find("ab1"), Ok(id("ab2")), "a name comes before the start of an id");
    assert_eq!(find("ab10"), Ok(id("ab1")));
    assert_eq!(find("ab"), Err("Multiple IDs found with provided prefix: ab".into()));
    for nobody in ["we", "ef", "", "../lib", "*", &id("ef")] {
        assert_eq!(find(nobody), Err(format!("No such container: {nobody}")), "{nobody:?}");
    }
}

#[test]
fn a_name_that_is_taken_leaves_nothing_of_the_second() {
    let world = world();
    let store = Store::new(&world.paths);
    store.add(record(&id("a")), Some("web")).unwrap();
    let refused = store.add(record(&id("b")), Some("web")).unwrap_err();
    assert!(matches!(refused, Error::NameTaken { holder, .. } if holder == id("a")));
    assert!(matches!(store.add(record(&id("b")), Some("x")), Err(Error::InvalidName(_))));
    assert_eq!(fs::read_dir(world.paths.containers()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(world.paths.names()).unwrap().count(), 1);
}

#[test]
fn what_is_removed_is_gone_and_its_name_free() {
    let world = world();
    let store = Store::new(&world.paths);
    let first = store.add(record(&id("a")), Some("web")).unwrap();
    store.prepare_run(&first.id).unwrap();
    store.remove(&first).unwrap();
    store.remove(&first).unwrap();
    assert!(!world.paths.run_container(&first.id).exists());
    assert_eq!(fs::read_dir(world.paths.containers()).unwrap().count(), 0);
    let second = store.add(record(&id("b")), Some("web")).unwrap();
    // A late second removal of the first does not take the name from its new owner.
    store.remove(&first).unwrap();
    assert_eq!(store.find("web").unwrap().record.id, second.id);
}

#[test]
fn a_crash_in_the_middle_of_adding_is_swept() {
    let world = world();
    let store = Store::new(&world.paths);
    store.add(record(&id("a")), None).unwrap();
    fs::create_dir(world.paths.containers().join(format!(".{}", id("f")))).unwrap();
    std::os::unix::fs::symlink(id("f"), world.paths.names().join("web")).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(matches!(store.find("web"), Err(Error::NoSuchContainer(_))));
    store.add(record(&id("b")), Some("web")).unwrap();
    assert_eq!(fs::read_dir(world.paths.containers()).unwrap().count(), 2);
}

#[test]
fn a_made_up_name_is_nobody_elses() {
    let world = world();
    let store = Store::new(&world.paths);
    let mut names = std::collections::BTreeSet::new();
    for number in 0..600 {
        let record = Record { auto_remove: true, ..record(&id(&format!("{number:03x}"))) };
        names.insert(store.add(record, None).unwrap().name);
    }
    assert_eq!(names.len(), 600);
}

#[test]
fn states_come_back_as_they_went() {
    let world = world();
    let store = Store::new(&world.paths);
    let record = store.add(record(&id("a")), None).unwrap();
    assert_eq!(store.read(&record.id).unwrap().state, State::default());
    let state = State::default().exited(3, Timestamp::now());
    store.write_state(&record, &state).unwrap();
    assert_eq!(store.read(&record.id).unwrap().state, state);
    fs::write(world.paths.container(&record.id).join("state.json"), "{").unwrap();
    assert!(matches!(store.find(&record.id), Err(Error::Decode { .. })));
}

#[test]
fn a_new_name_is_the_only_one() {
    let world = world();
    let store = Store::new(&world.paths);
    let (first, second) = (id("a"), id("b"));
    store.add(record(&first), Some("web")).unwrap();
    store.add(record(&second), Some("db")).unwrap();
    assert!(matches!(store.rename(&first, "db"), Err(Error::NameTaken { .. })));
    assert!(matches!(store.rename(&first, "web"), Err(Error::SameName)));
    assert!(matches!(store.rename(&first, "-x"), Err(Error::InvalidName(_))));
    assert!(matches!(store.rename(&id("c"), "cache"), Err(Error::NoSuchContainer(_))));
    store.rename(&first, "web-old").unwrap();
    assert_eq!(store.find("web-old").unwrap().record.id, first);
    assert!(matches!(store.find("web"), Err(Error::NoSuchContainer(_))));
    // Whoever knows it by its old name takes it away all the same.
    store.rename(&second, "web").unwrap();
    let stale = Record { name: "db".into(), ..record(&second) };
    store.remove(&stale).unwrap();
    assert_eq!(fs::read_dir(world.paths.names()).unwrap().count(), 1);
}

#[test]
fn links_that_a_crash_left_are_nobodys_names() {
    let world = world();
    let store = Store::new(&world.paths);
    let (first, second) = (id("a"), id("b"));
    store.add(record(&first), Some("web")).unwrap();
    // Died before the record was written, and died before the old link was gone.
    for name in ["new", "old"] {
        std::os::unix::fs::symlink(&first, world.paths.names().join(name)).unwrap();
        assert!(matches!(store.find(name), Err(Error::NoSuchContainer(_))), "{name}");
    }
    store.add(record(&second), Some("new")).unwrap();
    assert_eq!(store.find("new").unwrap().record.id, second);
    store.rename(&second, "old").unwrap();
    assert_eq!(store.find("old").unwrap().record.id, second);
    assert_eq!(store.find("web").unwrap().record.id, first);
}

#[test]
fn what_runs_is_limited_by_all_that_hold() {
    let world = world();
    let store = Store::new(&world.paths);
    let limits = |memory, memory_swap| Resources { memory, memory_swap, ..Resources::default() };
    let record = Record { resources: limits(Some(64), None), ..record(&id("a")) };
    store.add(record, Some("web")).unwrap();
    let mut applied = None;
    let newer = limits(None, Some(96));
    store
        .limit(&id("a"), (&newer, None), |_, all| {
            applied = Some(all.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(applied, Some(limits(Some(64), Some(96))));
    assert_eq!(store.read(&id("a")).unwrap().record.resources, limits(Some(64), Some(96)));
}

#[test]
fn who_does_not_wait_is_told_why() {
    let world = world();
    let store = Store::new(&world.paths);
    let record = store.add(record(&id("a")), None).unwrap();
    let lock = store.lock_container(&record.id).unwrap();
    assert!(matches!(store.try_lock_container(&record.id), Ok(Attempt::Held)));
    drop(lock);
    assert!(matches!(store.try_lock_container(&record.id), Ok(Attempt::Locked(_))));
    store.remove(&record).unwrap();
    assert!(matches!(store.try_lock_container(&record.id), Ok(Attempt::Gone)));
}

#[test]
fn where_no_container_ever_was_there_is_nothing_to_tidy() {
    let world = world();
    make_private(&world.paths.names()).unwrap();
    Store::new(&world.paths).tidy().unwrap();
}
