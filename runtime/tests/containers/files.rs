use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use crate::world::{Said, World, eventually, readable};

fn create(world: &World, script: &str) {
    world.twill(&["create", "--name", "web", "--network", "none", "bb", "sh", "-c", script]).ok();
}

fn write(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn files_go_both_ways_whether_it_runs_or_rests() {
    let Some(world) = World::new() else { return };
    create(&world, "echo hello > /greeting; exec sleep 1000");
    let site = write(&world, "site/index.html", "index");
    write(&world, "site/sub/page", "page");
    let site = site.strip_suffix("/index.html").unwrap();
    let out = world.path("out");
    let out = out.to_str().unwrap();
    let cp = |from: &str, to: &str| world.twill(&["cp", from, to]);
    let read = |path: &str| world.twill(&["cp", &format!("web:{path}"), "-"]);
    // Before it ever ran.
    let said = cp(site, "web:/srv");
    assert!(said.err.starts_with("Successfully copied"), "{}", said.err);
    said.ok();
    cp(&format!("{site}/."), "web:/existing").ok();
    assert!(read("/existing/sub/page").ok().contains("page"));
    assert!(!world.path("run/containers").join(id(&world)).exists());
    world.twill(&["start", "web"]).ok();
    eventually("it has greeted", || read("/greeting").code == 0);
    let cat = |path: &str| world.twill(&["exec", "web", "cat", path]);
    assert_eq!(cat("/srv/index.html").ok(), "index");
    assert_eq!(cat("/srv/sub/page").ok(), "page");
    // While it runs.
    cp("web:/greeting", out).ok();
    assert_eq!(fs::read_to_string(out).unwrap(), "hello\n");
    cp(out, "web:/srv").ok();
    assert_eq!(cat("/srv/out").ok(), "hello");
    cp(site, "web:/srv").ok();
    assert_eq!(cat("/srv/site/sub/page").ok(), "page");
    world.twill(&["stop", "-t", "0", "web"]).ok();
    // When it rests again.
    fs::create_dir(world.path("there")).unwrap();
    cp("web:/srv/site", world.path("there").to_str().unwrap()).ok();
    assert_eq!(fs::read_to_string(world.path("there/site/sub/page")).unwrap(), "page");
    world.twill(&["start", "web"]).ok();
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn archives_go_through_pipes() {
    let Some(world) = World::new() else { return };
    create(&world, "true");
    let bytes = world.command(&["cp", "web:/etc", "-"]).output().unwrap();
    assert!(bytes.status.success());
    let mut archive = tar::Archive::new(bytes.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.contains(&"etc/passwd".to_owned()), "{names:?}");
    world.twill_fed(&["cp", "-", "web:/tmp"], &bytes.stdout).fails(1, "/tmp is not a directory");
    world.twill_fed(&["cp", "-", "web:/"], &bytes.stdout).ok();
    world.twill_fed(&["cp", "-", "web:/"], &bytes.stdout[..700]).fails(1, "cannot unpack");
    world.twill_fed(&["cp", "-", "web:/"], b"rubbish").fails(1, "cannot unpack");
    // Whoever does not read on gets no complaint that could be helped.
    let mut child = world.spawn(&["cp", "web:/bin", "-"], Stdio::null());
    drop(child.stdout.take());
    assert_ne!(Said::new(child.wait_with_output().unwrap()).code, 0);
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_whole_root_is_without_what_the_kernel_shows() {
    let Some(world) = World::new() else { return };
    create(&world, "exec sleep 1000");
    world.twill(&["start", "web"]).ok();
    let output = world.command(&["cp", "web:/", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    let below = |top: &str| names.iter().filter(|name| name.starts_with(top)).count();
    assert_eq!((below("proc/"), below("sys/"), below("dev/pts/")), (1, 1, 1), "{names:?}");
    assert!(below("etc/") > 2);
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn nobody_waits_for_a_copy_that_nobody_reads() {
    let Some(world) = World::new() else { return };
    create(&world, "exec sleep 1000");
    let mut copy = world.spawn(&["cp", "web:/", "-"], Stdio::null());
    assert!(readable(&copy), "it has begun");
    assert!(world.twill(&["ps", "-a"]).ok().contains("Created"));
    world.twill(&["start", "web"]).fails(1, "being copied: try again");
    assert!(copy.try_wait().unwrap().is_none(), "it is still at it");
    drop(copy.stdout.take());
    copy.wait().unwrap();
    world.twill(&["start", "web"]).ok();
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn owners_are_roots_unless_they_are_to_stay() {
    let Some(world) = World::new() else { return };
    create(&world, "true");
    let file = write(&world, "file", "x");
    std::os::unix::fs::chown(&file, Some(33), Some(44)).unwrap();
    let owner = |name: &str| {
        let upper = format!("lib/containers/{}/upper/{name}", id(&world));
        let metadata = world.path(&upper).metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    world.twill(&["cp", &file, "web:/plain"]).ok();
    world.twill(&["cp", "-aq", &file, "web:/same"]).ok();
    assert_eq!((owner("plain"), owner("same")), ((0, 0), (33, 44)));
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

fn id(world: &World) -> String {
    world.twill(&["inspect", "-f", "{{.Id}}", "web"]).ok()
}

#[test]
fn no_link_of_a_container_leads_out_of_it() {
    let Some(world) = World::new() else { return };
    let secret = write(&world, "outside/secret", "of the host");
    let outside = secret.strip_suffix("/secret").unwrap();
    let script = format!(
        "ln -s {outside} /way; ln -s {secret} /file; ln -s /proc/1/root/../.. /magic; \
         ln -s ../../../../../../..{outside} /up; mkdir /d; ln -s {secret} /d/x; exec sleep 1000"
    );
    world
        .twill(&["run", "-d", "--name", "web", "--network", "none", "bb", "sh", "-c", &script])
        .ok();
    let ready = || world.twill(&["exec", "web", "test", "-L", "/d/x"]).code == 0;
    eventually("the links are there", ready);
    let evil = write(&world, "evil", "overwritten");
    let attempt = || {
        for from in ["web:/file", "web:/way/secret", "web:/up/secret", "web:/d/x"] {
            let said = world.twill(&["cp", "-L", from, "-"]);
            assert!(!said.out.contains("of the host"), "{from}");
            assert_eq!(said.code, 1, "{from}");
        }
        for to in ["web:/file", "web:/way", "web:/way/secret", "web:/up/secret", "web:/d/x"] {
            drop(world.twill(&["cp", &evil, to]));
            assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host", "{to}");
            let names = fs::read_dir(outside).unwrap().count();
            assert_eq!(names, 1, "{to}");
        }
        let said = world.twill(&["cp", "web:/d", "-"]);
        assert!(!said.out.contains("of the host"));
    };
    attempt();
    world.twill(&["stop", "-t", "0", "web"]).ok();
    attempt();
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn copies_that_cannot_be() {
    let Some(world) = World::new() else { return };
    create(&world, "true");
    let file = write(&world, "file", "x");
    let directory = world.path("outdir");
    fs::create_dir(&directory).unwrap();
    let cp = |from: &str, to: &str| world.twill(&["cp", from, to]);
    cp("web:/nosuch", directory.to_str().unwrap()).fails(1, "Could not find the file web:/nosuch");
    cp(&file, "web:/nosuch/").fails(1, "no such directory");
    cp(&file, "web:/nosuch/x").fails(1, "Could not find the file /nosuch");
    cp(directory.to_str().unwrap(), "web:/etc/passwd").fails(1, "cannot copy directory");
    cp("/nosuch", "web:/").fails(1, "Could not find the file /nosuch");
    cp("web:/a", "web:/b").fails(1, "copying between containers is not supported");
    cp("/a", "/b").fails(1, "must specify at least one container source");
    cp("nosuch:/a", ".").fails(1, "No such container: nosuch");
    cp("web:/etc/passwd/", ".").fails(1, "Could not find the file web:/etc/passwd/");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn changes_are_told_from_what_the_image_has() {
    let Some(world) = World::new() else { return };
    let script = "echo x >> /etc/passwd; rm /etc/plain; mkdir /new; echo x > /new/file; rm -r /nosuch; \
                  chmod 700 /bin; exec sleep 1000";
    create(&world, script);
    assert_eq!(world.twill(&["diff", "web"]).ok(), "", "it never ran");
    world.twill(&["start", "web"]).ok();
    let want = "C /bin\nC /etc\nC /etc/passwd\nD /etc/plain\nA /new\nA /new/file";
    let mut got = String::new();
    eventually("all is changed", || {
        got = world.twill(&["diff", "web"]).ok();
        got.starts_with("C /bin")
    });
    assert_eq!(got, want);
    world.twill(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(world.twill(&["container", "diff", "web"]).ok(), want);
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}
