//! All that a container could leave on a host, as lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::world::World;

/// What is there now.
pub(crate) fn look(world: &World) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for root in ["lib", "run", "pool"] {
        walk(&world.path(root), &mut |path| lines.insert(format!("file {path}")));
    }
    walk_groups(Path::new("/sys/fs/cgroup"), &mut lines);
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    lines.extend(points.map(|point| format!("mount {point}")));
    for link in fs::read_dir("/sys/class/net").unwrap() {
        lines.insert(format!("link {}", link.unwrap().file_name().display()));
    }
    let rules = World::run(&["sh", "-c", "nft -s list ruleset; iptables-legacy-save"]);
    let rules = rules.lines().filter(|line| !line.starts_with(['#', ':']));
    lines.extend(rules.map(|line| format!("rule {line}")));
    lines
}

/// What is in layers is theirs, and the journal of events makes way for a second one when it is full.
fn walk(path: &Path, line: &mut impl FnMut(&str) -> bool) {
    line(&path.display().to_string());
    let is_closed = path
        .file_name()
        .is_some_and(|name| ["fs", "merged", "events"].iter().any(|closed| name == *closed));
    let Ok(entries) = fs::read_dir(path) else { return };
    if path.is_symlink() || is_closed {
        return;
    }
    for entry in entries {
        walk(&entry.unwrap().path(), line);
    }
}

fn walk_groups(path: &Path, lines: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            // Others may run tests of their own beside it.
            if path.components().any(|part| part.as_os_str() == "twill") {
                lines.insert(format!("group {}", path.display()));
            }
            walk_groups(&path, lines);
        }
    }
}
