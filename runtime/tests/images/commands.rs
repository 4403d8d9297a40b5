//! The commands as people type them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::archives::{Picture, Tar, docker, gzip, picture};
use crate::support::Lab;

/// Starts `twill` on the store of the lab.
pub(crate) fn twill(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = command(lab, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test starts the program that it tests")]
fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
    command.env("TWILL_ROOT", lab.paths.root()).env("TWILL_RUN_ROOT", lab.paths.run_root());
    command.args(arguments);
    command
}

/// Waits for a program that should end well.
#[track_caller]
pub(crate) fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// What a program printed.
pub(crate) trait Printed {
    fn text(&self) -> String;
}

impl Printed for Output {
    fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

#[track_caller]
pub(crate) fn run(lab: &Lab, arguments: &[&str]) -> String {
    finish(twill(lab, arguments)).text()
}

#[track_caller]
pub(crate) fn fed(lab: &Lab, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = twill(lab, arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A refusal may come before everything is read.
    drop(stdin.write_all(input));
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, message: &str) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), text.as_str()), (Some(code), message));
    assert!(output.stdout.is_empty(), "stdout is for data: {output:?}");
}

#[test]
fn images_come_are_listed_and_go() {
    let Some(lab) = Lab::new() else { return };
    let archive = docker(&[picture("bb:1")]);
    let id = picture("bb:1").id();
    assert_eq!(fed(&lab, &["load"], &gzip(&archive)).text(), "Loaded image: bb:1\n");
    fs::write(lab.beside("bb.tar"), archive).unwrap();
    let file = lab.beside("bb.tar");
    let file = file.to_str().unwrap();
    assert_eq!(run(&lab, &["load", "-q", "-i", file]), "Loaded image: bb:1\n");
    assert_eq!(run(&lab, &["tag", "bb:1", "web"]), "");
    let table = run(&lab, &["images"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split("  ").filter(|cell| !cell.is_empty()).count(), 5, "{table}");
    assert!(lines[1].starts_with(&format!("bb           1         {}   ", id.short())), "{table}");
    assert!(lines[2].starts_with("web          latest    ") && lines[2].ends_with("4B"), "{table}");
    assert_eq!(run(&lab, &["images", "-q"]), format!("{}\n", id.short()));
    assert_eq!(run(&lab, &["images", "-q", "--no-trunc", "web"]), format!("{id}\n"));
    assert_eq!(run(&lab, &["images", "-q", "web:2"]), "");
    let row: serde_json::Value =
        serde_json::from_str(&run(&lab, &["images", "--format", "json", "bb"])).unwrap();
    assert_eq!((&row["Repository"], &row["Tag"]), (&"bb".into(), &"1".into()));
    assert_eq!(run(&lab, &["rmi", "web"]), "Untagged: web:latest\n");
    assert_eq!(run(&lab, &["rmi", "bb:1"]), format!("Untagged: bb:1\nDeleted: {id}\n"));
    assert_eq!(run(&lab, &["images"]).lines().count(), 1);
}

#[test]
fn a_person_sees_how_far_a_load_has_come_and_a_program_does_not() {
    let Some(lab) = Lab::new() else { return };
    let file = lab.beside("bb.tar");
    let layer = Tar::new().file("large", &vec![7; 3_000_000]).bytes();
    let large = Picture { layers: vec![layer], names: vec!["bb:1"] };
    fs::write(&file, docker(&[large])).unwrap();
    let file = file.to_str().unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    for (arguments, shown) in [(&["load", "-i", file][..], true), (&["load", "-qi", file], false)] {
        let mut screen: fs::File = openpt(flags).unwrap().into();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
        let output =
            command(&lab, arguments).env("TERM", "xterm").stderr(terminal).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "Loaded image: bb:1\n");
        let mut seen = Vec::new();
        // The end of a terminal that nobody has is an error.
        drop(screen.read_to_end(&mut seen));
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert_eq!(seen.contains(": Loading [===") && seen.contains("3.00 MB"), shown, "{seen}");
        run(&lab, &["rmi", "bb:1"]);
    }
    let output = finish(twill(&lab, &["load", "-i", file]));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn an_import_says_the_id_of_its_image() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new().file("bin/sh", b"#!").bytes();
    let change = r#"CMD ["/bin/sh"]"#;
    let output = fed(&lab, &["import", "-c", change, "-c", "ENV A=b", "-", "fs:1"], &tar);
    let image = lab.store.resolve("fs:1").unwrap();
    assert_eq!(output.text(), format!("{}\n", image.id));
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["/bin/sh"]);
    assert_eq!(config.env().clone().unwrap(), ["A=b"]);
    assert!(image.created.is_some());
}

#[test]
fn what_goes_wrong_is_one_line_and_a_way_out() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.contents();
    let climbing = Tar::new().file("../x", b"x").bytes();
    refused(
        &fed(&lab, &["import", "-", "fs"], &climbing),
        1,
        "twill: cannot use standard input: entry '../x' climbs out of the archive with '..'\n\
         hint: pack it again from inside the root directory: `tar -C DIR -cf FILE .`\n",
    );
    let whole = docker(&[picture("bb:1")]);
    refused(
        &fed(&lab, &["load"], &whole[..1000]),
        1,
        "twill: cannot use standard input: it is cut off after 1000 bytes\n\
         hint: make or fetch the archive again\n",
    );
    refused(
        &fed(&lab, &["load", "-i", "/nosuch.tar"], b""),
        1,
        "twill: cannot open /nosuch.tar: No such file or directory (os error 2)\n",
    );
    refused(
        &fed(&lab, &["rmi", "nosuch"], b""),
        1,
        "twill: no such image: nosuch:latest\n\
         hint: `twill images` lists what is here, `twill load -i FILE` adds to it\n",
    );
    refused(
        &fed(&lab, &["import", "-c", "RUN x", "-", "fs"], b""),
        1,
        "twill: invalid change 'RUN x': the instruction is not one that an import can apply\n\
         hint: known are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR\n",
    );
    refused(
        &fed(&lab, &["import", "-", "Fs"], b""),
        1,
        "twill: invalid image name 'Fs': the name may hold only lower-case letters, digits and \
         single '.', '_', '-', '/'\n",
    );
    assert_eq!(fed(&lab, &["load", "--bogus"], b"").status.code(), Some(125));
    assert_eq!(lab.contents(), before);
}

#[test]
fn of_several_images_the_good_ones_go() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("a:1"), picture("b:1")])).unwrap();
    let output = fed(&lab, &["rmi", "a:1", "nosuch", "b:1"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.text().matches("Deleted: ").count(), 2);
    assert!(lab.store.list().unwrap().is_empty());
}
