//! The networks side by side under one prefix.

use tokio::time::timeout;
use twill_core::ids::{NetworkName, Revision};
use twill_core::networks::Networks;
use twill_core::networks::catalogue::{Catalogue, Home};
use twill_store::{Directory, Past, Scope, Seen, Sight, Store, Survey, Watch};

use crate::support::PATIENCE;
use crate::world::{World, contract};

contract! {
    all_configurations_below_a_name_are_found_and_nothing_else,
    a_survey_tells_of_every_network_that_comes_and_goes,
    a_survey_finds_what_changed_while_history_was_forgotten,
    the_past_is_the_same_another_one_or_forgotten,
}

async fn all_configurations_below_a_name_are_found_and_nothing_else(world: impl World) {
    let store = world.store();
    assert_eq!(names(&store.networks().await.unwrap()), ([""; 0].map(str::to_owned).to_vec(), 0));
    for key in [
        "config",
        "subnets/10.88.1.0-24",
        "twill/nodes/x",
        "blue/config",
        "blue/subnets/10.88.1.0-24",
        "blue/subnets/config",
        "blue/config/config",
        "green/a",
        "green/config",
        "green/twill/nodes/x",
        "red/subnets/10.90.1.0-24",
        "red-2/config",
        "a b/config",
        "deep/er/config",
        "configuration/x",
    ] {
        world.put_raw(key, "{}").await;
    }
    world.put_raw("blue/config", "{}").await;
    let all = store.networks().await.unwrap();
    // The one that was there first goes first, however often it was written.
    let wanted = ["blue", "green", "red-2"].map(str::to_owned).to_vec();
    assert_eq!(names(&all), (wanted, 1), "one of them has no name: {all:?}");
    assert_eq!(all.revision, store.leases().await.unwrap().revision);
}

async fn a_survey_tells_of_every_network_that_comes_and_goes(world: impl World) {
    let store = world.store();
    world.put_raw("blue/config", "{}").await;
    let mut survey = Survey::new(store.clone());
    assert_eq!(names(&sight(&mut survey).await).0, ["blue"]);
    let from = store.networks().await.unwrap().revision;
    let mut watch = store.watch(from, Scope::Networks).await.unwrap();
    world.put_raw("blue/subnets/10.88.1.0-24", "{}").await;
    world.put_raw("green/config", "not JSON").await;
    let first = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert!(matches!(first, Seen::Network(_)), "leases are not told: {first:?}");
    assert_eq!(names(&until(&mut survey, 2).await).0, ["blue", "green"]);
    world.delete_raw("blue/config").await;
    assert_eq!(names(&until(&mut survey, 1).await).0, ["green"]);
    world.put_raw("blue/config", "{}").await;
    let last = until(&mut survey, 2).await;
    assert_eq!(names(&last).0, ["green", "blue"], "it comes for the first time");
    assert_eq!(last, store.networks().await.unwrap(), "told as it would be found");
}

async fn a_survey_finds_what_changed_while_history_was_forgotten(world: impl World) {
    let store = world.store();
    world.put_raw("blue/config", "{}").await;
    let mut survey = Survey::new(store.clone());
    assert_eq!(names(&sight(&mut survey).await).0, ["blue"]);
    // Its watch does not stand yet.
    world.delete_raw("blue/config").await;
    world.put_raw("green/config", "{}").await;
    world.compact().await;
    assert_eq!(names(&sight(&mut survey).await).0, ["green"]);
}

async fn the_past_is_the_same_another_one_or_forgotten(world: impl World) {
    let store = world.store();
    world.put_raw("green/config", "{}").await;
    world.put_raw("blue/config", "{}").await;
    let written = store.networks().await.unwrap().revision;
    let blue: NetworkName = "blue".parse().unwrap();
    let past = async |at: i64| store.past(&blue, Revision(at)).await.unwrap();
    assert_eq!(past(written.0).await, Past::Same);
    assert_eq!(past(written.0 - 1).await, Past::Other, "that was green");
    world.put_raw("blue/config", "{ }").await;
    assert_eq!(past(written.0).await, Past::Same, "it was another one then");
    world.delete_raw("blue/config").await;
    assert_eq!(past(written.0).await, Past::Same, "and was deleted");
    assert_eq!(past(written.0 + 2).await, Past::Other, "nothing was written then");
    assert_eq!(past(written.0 + 1000).await, Past::Other, "that is still to come");
    world.compact().await;
    assert_eq!(past(written.0).await, Past::Forgotten);
}

async fn until<S: Directory>(survey: &mut Survey<S>, count: usize) -> Catalogue {
    loop {
        let all = sight(survey).await;
        if names(&all).0.len() == count {
            return all;
        }
    }
}

async fn sight<S: Directory>(survey: &mut Survey<S>) -> Catalogue {
    match timeout(PATIENCE, survey.next()).await.unwrap() {
        Sight::All(all, _deleted) => all,
        Sight::Away(error) => panic!("etcd is there all the time: {error}"),
    }
}

/// Those that a host could be in, and how many have no name for that.
fn names(all: &Catalogue) -> (Vec<String>, usize) {
    let verdict = all.judge(&Networks::default(), &Home::new());
    (verdict.order.iter().map(ToString::to_string).collect(), verdict.unfit.len())
}
