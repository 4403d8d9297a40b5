//! What a container could make of its host, and what a caller leaves open.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::world::{Said, World, eventually, strike};

fn start(world: &World, script: &str) {
    let head = ["run", "-d", "--name", "it", "--network", "none", "bb", "sh", "-c"];
    world.twill(&[head.as_slice(), &[script]].concat()).ok();
}

fn end(world: &World) {
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn no_directory_of_the_host_is_a_working_directory() {
    let Some(world) = World::new() else { return };
    start(&world, "sleep 1000");
    let left_open = File::open("/").unwrap();
    fcntl_setfd(&left_open, FdFlags::empty()).unwrap();
    for number in 0..20 {
        let directory = format!("/proc/self/fd/{number}");
        let mut command = world.command(&["exec", "-i", "-w", &directory, "it", "ls", "etc/plain"]);
        let said = Said::new(command.stdin(File::open("/").unwrap()).output().unwrap());
        // Where it is the container's own root, its own file is found.
        assert!(said.code == 0 || said.err.starts_with("twill: chdir to cwd"), "{}", said.err);
    }
    end(&world);
}

#[test]
fn no_process_hands_out_a_program_that_can_be_written() {
    let Some(world) = World::new() else { return };
    start(&world, "sleep 1000");
    world.twill(&["exec", "-d", "it", "sh", "-c", "exec sleep 777"]).ok();
    // The shell was there when `exec` ended; what it becomes may come later.
    let sleeper = || {
        let processes = world.twill(&["top", "it", "-o", "pid,args"]).ok();
        processes
            .lines()
            .find_map(|line| line.trim().strip_suffix("sleep 777").map(|pid| pid.trim().to_owned()))
    };
    eventually("it sleeps", || sleeper().is_some());
    let status = fs::read_to_string(format!("/proc/{}/status", sleeper().unwrap())).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    for pid in [world.monitor("it").to_string(), parent.to_owned()] {
        // Opening it tells nothing: as long as it runs, it is busy.
        let through = statvfs(format!("/proc/{pid}/exe")).unwrap();
        assert!(through.f_flag.contains(StatVfsMountFlags::RDONLY));
    }
    end(&world);
}

#[test]
fn what_the_caller_left_open_is_not_kept() {
    let Some(world) = World::new() else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setfd(&writer, FdFlags::empty()).unwrap();
    start(&world, "sleep 1000");
    world.twill(&["exec", "-d", "it", "sleep", "1000"]).ok();
    drop(writer);
    let mut set = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut set, 5_000_u16), Ok(1), "somebody still has it");
    end(&world);
}

#[test]
fn a_program_whose_name_fills_a_pipe_is_not_found() {
    let Some(world) = World::new() else { return };
    let name = "x".repeat(100_000);
    let child = world.spawn(&["run", "--network", "none", "bb", &name], Stdio::null());
    let said = finish(child);
    said.fails(127, "executable file not found in $PATH");
    let directory = format!("/{}", "x/".repeat(50_000));
    let child =
        world.spawn(&["run", "--network", "none", "-w", &directory, "bb", "true"], Stdio::null());
    finish(child).fails(125, "File name too long");
    world.assert_nothing_left();
}

#[test]
fn signals_pass_input_that_nobody_reads() {
    let Some(world) = World::new() else { return };
    let mut child = feed_without_end(&world);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    eventually("the signal arrives", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(7));
    end(&world);
}

#[test]
fn a_monitor_rests_when_its_feeder_is_killed() {
    let Some(world) = World::new() else { return };
    let mut child = feed_without_end(&world);
    let monitor = world.monitor("it");
    strike(child.id().cast_signed());
    child.wait().unwrap();
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let fields: Vec<u64> = stat.split(' ').filter_map(|field| field.parse().ok()).collect();
        // Without the name and the letter of the state, fields 14 and 15 are these.
        fields[11] + fields[12]
    };
    let (before, began) = (ticks(), Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        _ = poll(&mut [], 100_u8);
    }
    assert!(ticks() - before < 20, "{} ticks of about 100", ticks() - before);
    end(&world);
}

/// A container that never reads, and a client that has written all that goes into it.
fn feed_without_end(world: &World) -> Child {
    let script = "trap 'exit 7' INT; touch /ready; while :; do sleep 0.05; done";
    let head = ["run", "-i", "--name", "it", "--network", "none", "bb", "sh", "-c", script];
    let mut child = world.spawn(&head, Stdio::piped());
    eventually("it runs", || world.twill(&["exec", "it", "ls", "/ready"]).code == 0);
    let stdin = child.stdin.take().unwrap();
    rustix::io::ioctl_fionbio(&stdin, true).unwrap();
    let mut stdin = stdin;
    eventually("nothing more goes in", || {
        let full = stdin.write(&[b'x'; 4096]).is_err();
        if full {
            _ = poll(&mut [], 200_u8);
        }
        full && stdin.write(b"x").is_err()
    });
    child.stdin = Some(stdin);
    child
}

fn finish(mut child: Child) -> Said {
    eventually("it ends", || child.try_wait().unwrap().is_some());
    Said::new(child.wait_with_output().unwrap())
}

#[test]
fn links_of_an_image_that_lead_nowhere_lead_to_its_own_files() {
    let Some(world) = World::new() else { return };
    let (tree, archive) = (world.path("tree"), world.path("links.tar"));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let outside = world.path("outside");
    symlink("../run/systemd/resolve/stub-resolv.conf", tree.join("etc/resolv.conf")).unwrap();
    symlink(outside.join("hosts"), tree.join("etc/hosts")).unwrap();
    symlink(outside.join("work"), tree.join("work")).unwrap();
    let (tree, file) = (tree.to_str().unwrap(), archive.to_str().unwrap());
    World::run(&["tar", "-C", tree, "-cf", file, "."]);
    world.twill(&["import", file, "links"]).ok();
    let run = ["run", "--rm", "--network", "none", "links", "/bin/busybox"];
    let hosts = world.twill(&[run.as_slice(), &["cat", "/etc/hosts"]].concat()).ok();
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    let resolver = ["test", "-s", "/run/systemd/resolve/stub-resolv.conf"];
    world.twill(&[run.as_slice(), &resolver].concat()).ok();
    world
        .twill(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-w",
            "/work/x",
            "links",
            "/bin/busybox",
            "true",
        ])
        .ok();
    assert!(!outside.exists(), "nothing is made on the host");
    world.assert_nothing_left();
}

#[test]
fn an_image_without_its_own_dev_proc_and_sys_is_refused() {
    let Some(world) = World::new() else { return };
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("ptmx"), "of the host").unwrap();
    for name in ["dev", "proc", "sys"] {
        let (tree, archive) = (world.path(&format!("tree-{name}")), world.path("links.tar"));
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
        symlink(&outside, tree.join(name)).unwrap();
        let (tree, file) = (tree.to_str().unwrap(), archive.to_str().unwrap());
        World::run(&["tar", "-C", tree, "-cf", file, "."]);
        world.twill(&["import", file, "links"]).ok();
        let run = ["run", "--rm", "--network", "none", "links", "/bin/busybox", "true"];
        world.twill(&run).fails(125, &format!("the image's /{name} is not a directory"));
    }
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["ptmx"], "nothing is made or removed on the host");
    world.assert_nothing_left();
}
