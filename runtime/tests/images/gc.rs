//! What nobody needs goes away, and nothing else, whoever is killed beside it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use twill::image::Store;

use crate::archives::{Picture, Tar, docker};
use crate::commands::{finish, run, twill};
use crate::support::Lab;

const LOADERS: usize = 4;

/// A layer that all have, and one of its own.
fn picture(name: &'static str) -> Picture {
    let base = Tar::new().file("base", &vec![7; 40_000]).bytes();
    let own = Tar::new().file("own", name.as_bytes()).bytes();
    Picture { layers: vec![base, own], names: vec![name] }
}

/// When a load is killed: each of these is there a little later than the one before.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Begun,
    Unpacked,
    Stored,
    Ended,
}

impl Moment {
    fn has_come(self, lab: &Lab, child: &mut Child, picture: &Picture) -> bool {
        let layers = lab.paths.layers();
        let mine = format!("{}-", child.id());
        let working = || {
            let all = fs::read_dir(layers.join(".staging")).unwrap();
            let mut all = all.map(|entry| entry.unwrap().path());
            all.find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&mine))
            })
        };
        let configuration = || lab.paths.images().join(format!("{}.json", picture.id().hex()));
        let ended = child.try_wait().unwrap().is_some();
        ended
            || match self {
                Self::Begun => working().is_some(),
                Self::Unpacked => {
                    working().is_some_and(|path| path.join("layer-0/layer.json").exists())
                }
                Self::Stored => configuration().exists(),
                Self::Ended => false,
            }
    }
}

#[test]
fn loads_that_are_killed_and_prunes_beside_them_leave_whole_images_only() {
    const NAMES: [&str; LOADERS] = ["one:1", "two:1", "three:1", "four:1"];
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("keep:1")])).unwrap();
    run(&lab, &["create", "--network", "none", "--name", "it", "keep:1", "sh"]);
    let kept = lab.contents();
    let at_work = AtomicUsize::new(LOADERS);
    thread::scope(|scope| {
        for name in NAMES {
            let (lab, at_work) = (&lab, &at_work);
            scope.spawn(move || {
                load_and_kill(lab, name);
                at_work.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while at_work.load(Ordering::Relaxed) > 0 {
                    let said = run(&lab, &["image", "prune", "-af"]);
                    assert!(said.ends_with('\n') && !said.contains("keep:1"), "{said}");
                }
            });
        }
        scope.spawn(|| {
            while at_work.load(Ordering::Relaxed) > 0 {
                let _hold = lab.store.hold().unwrap();
                for image in lab.store.list().unwrap() {
                    assert_eq!(fs::read(image.layers[0].join("base")).unwrap().len(), 40_000);
                    assert!(image.layers[1].join("own").exists());
                }
            }
        });
    });
    // The last of them may have been killed.
    Store::open(&lab.paths).unwrap();
    run(&lab, &["image", "prune", "-af"]);
    let left: Vec<_> = lab.contents().difference(&kept).cloned().collect();
    assert!(left.iter().all(|path| is_journal(path)), "{left:?}");
    assert!(kept.is_subset(&lab.contents()), "what the container has is there");
    lab.assert_staging_is_empty();
    let df = run(&lab, &["system", "df", "--format", "{{.Type}} {{.Size}} {{.Reclaimable}}"]);
    assert!(df.starts_with("Images 40kB 0B (0%)\n"), "{df}");
    run(&lab, &["rm", "it"]);
}

fn load_and_kill(lab: &Lab, name: &'static str) {
    let file = lab.beside(name);
    fs::write(&file, docker(&[picture(name)])).unwrap();
    for _ in 0..4 {
        for moment in [Moment::Begun, Moment::Unpacked, Moment::Stored, Moment::Ended] {
            let mut load = twill(lab, &["load", "-i", file.to_str().unwrap()]);
            while !moment.has_come(lab, &mut load, &picture(name)) {
                thread::yield_now();
            }
            load.kill().unwrap();
            load.wait().unwrap();
        }
    }
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().contains("events")
}

#[test]
fn whoever_reads_a_saved_image_slowly_holds_up_nobody() {
    let Some(lab) = Lab::new() else { return };
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let large =
        Picture { layers: vec![Tar::new().file("large", &large).bytes()], names: vec!["large:1"] };
    let id = large.id();
    lab.load(docker(&[large])).unwrap();
    let mut save = twill(&lab, &["save", "large:1"]);
    let mut archive = vec![0; 1000];
    let mut stdout = save.stdout.take().unwrap();
    stdout.read_exact(&mut archive).unwrap();
    // It waits for us, the others do not wait for it.
    lab.load(docker(&[picture("other:1")])).unwrap();
    assert!(run(&lab, &["rmi", "large:1"]).contains("Deleted"));
    stdout.read_to_end(&mut archive).unwrap();
    finish(save);
    assert_eq!(lab.load(archive).unwrap()[0].id, id);
    run(&lab, &["rmi", "large:1"]);
    run(&lab, &["image", "prune", "-f"]);
    assert_eq!(lab.store.usage().unwrap().len(), 2, "the layers of the other one");
}

#[test]
fn each_image_container_and_volume_is_listed_with_what_it_takes() {
    let Some(lab) = some_of_each() else { return };
    let images =
        "{{range .Images}}{{println .Repository .Size .SharedSize .UniqueSize .Containers}}{{end}}";
    let said = run(&lab, &["system", "df", "-v", "--format", images]);
    let mut rows: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    rows.sort_unstable();
    assert_eq!(rows, ["also 40kB 40kB 5B 1", "two 40kB 40kB 5B 0"]);
    let said = run(&lab, &["system", "df", "-v"]);
    let titles: Vec<&str> = said.lines().filter(|line| line.contains(" usage:")).collect();
    assert_eq!(titles.len(), 4, "{said}");
    assert_eq!((titles[0], titles[3]), ("Images space usage:", "Build cache usage: 0B"));
    let cells = |start: &str| {
        let line = said.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join("|")
    };
    for row in [
        "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE|SHARED SIZE|UNIQUE SIZE|CONTAINERS",
        "CONTAINER ID|IMAGE|COMMAND|LOCAL VOLUMES|SIZE|CREATED|STATUS|NAMES",
        "VOLUME NAME|LINKS|SIZE",
        "spare|0|300B",
        "data|1|0B",
    ] {
        assert_eq!(cells(row.split('|').next().unwrap()), row, "{said}");
    }
    run(&lab, &["rm", "it"]);
}

#[test]
fn what_takes_how_much_is_counted_once_and_what_goes_is_what_is_reclaimed() {
    let Some(lab) = some_of_each() else { return };
    // A load that was killed between its layers and its configuration.
    lab.load(docker(&[picture("three:1")])).unwrap();
    let configuration = format!("{}.json", picture("three:1").id().hex());
    fs::remove_file(lab.paths.images().join(configuration)).unwrap();
    let images = || {
        let format = "{{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}";
        let said = run(&lab, &["system", "df", "--format", format]);
        said.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(images(), "2 1 40kB 12B (0%)");
    let pruned = run(&lab, &["image", "prune", "-af"]);
    assert!(pruned.ends_with("Total reclaimed space: 12B\n"), "the shared layer stays: {pruned}");
    assert_eq!(images(), "1 1 40kB 0B (0%)");
    run(&lab, &["rm", "it"]);
    let pruned = run(&lab, &["system", "prune", "-af"]);
    assert!(pruned.ends_with("Total reclaimed space: 40kB\n"), "{pruned}");
    assert!(lab.store.usage().unwrap().is_empty());
}

/// Two images that share a layer, a container of one of them with a volume, and a volume of nobody.
fn some_of_each() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.load(docker(&[picture("one:1"), picture("two:1")])).unwrap();
    run(&lab, &["tag", "one:1", "also:1"]);
    run(&lab, &["create", "--network", "none", "--name", "it", "-v", "data:/data", "one:1", "sh"]);
    run(&lab, &["volume", "create", "spare"]);
    fs::write(lab.paths.root().join("volumes/spare/_data/file"), [7; 300]).unwrap();
    Some(lab)
}
