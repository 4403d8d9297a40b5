use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::world::World;

/// A person at a terminal of 30 lines and 90 columns, who typed a command.
struct Person {
    screen: File,
    terminal: OwnedFd,
    command: Child,
}

impl Person {
    fn types(world: &World, arguments: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let screen = openpt(flags).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = world.command(arguments);
        let command = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        Self { screen: screen.into(), terminal, command }
    }

    fn presses(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until a text has appeared.
    fn sees(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        let mut piece = [0; 1024];
        while !seen.contains(wanted) {
            let length = self.screen.read(&mut piece).unwrap();
            seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        seen
    }

    fn waits(&mut self) -> i32 {
        let code = self.command.wait().unwrap().code().unwrap();
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "the terminal is as it was");
        code
    }
}

#[test]
fn a_shell_in_a_new_container() {
    let Some(world) = World::new() else { return };
    let mut person =
        Person::types(&world, &["run", "--rm", "-it", "--network", "none", "bb", "sh"]);
    person.sees("# ");
    person.presses("tty; stty size; echo $TERM $((40+2))\r");
    let seen = person.sees("xterm 42");
    assert!(seen.contains("/dev/pts/0") && seen.contains("30 90"), "{seen}");
    // In the foreground before it speaks: the key cannot come too early.
    person.presses("sh -c 'echo now $((1+1)); exec sleep 100'\r");
    person.sees("now 2");
    person.presses("\x03echo interrupted $?\r");
    person.sees("interrupted 130");
    person.presses("exit 7\r");
    assert_eq!(person.waits(), 7);
    world.assert_nothing_left();
}

#[test]
fn ctrl_p_ctrl_q_leaves_it_running() {
    let Some(world) = World::new() else { return };
    let mut person =
        Person::types(&world, &["run", "--name", "it", "-it", "--network", "none", "bb", "sh"]);
    person.sees("# ");
    person.presses("\x10\x11");
    assert_eq!(person.waits(), 0);
    assert_eq!(world.inspect("it", "/State/Status"), "running");
    let mut again = Person::types(&world, &["attach", "it"]);
    again.presses("echo $((40+3)); exit 6\r");
    again.sees("43");
    assert_eq!(again.waits(), 6);
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_shell_in_a_running_container() {
    let Some(world) = World::new() else { return };
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sleep", "1000"]).ok();
    let mut person = Person::types(&world, &["exec", "-it", "it", "sh"]);
    person.sees("# ");
    person.presses("tty; stty size; exit 5\r");
    let seen = person.sees("30 90");
    assert!(seen.contains("/dev/pts/0"), "{seen}");
    assert_eq!(person.waits(), 5);
    // Without -t the caller's terminal stays outside.
    let mut person = Person::types(
        &world,
        &["exec", "it", "sh", "-c", "readlink /proc/self/fd/1; tty; echo over"],
    );
    let seen = person.sees("over");
    assert!(seen.contains("pipe:") && seen.contains("not a tty"), "{seen}");
    assert_eq!(person.waits(), 0);
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}
