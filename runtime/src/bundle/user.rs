//! `-u user[:group]` as numbers, by the container's own passwd and group files.

use crate::error::{Error, Result};

/// Who a process in a container is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All groups, the first one among them: a file that its group may not read stays closed to those who drop it.
    pub groups: Vec<u32>,
    /// Where `HOME` points.
    pub home: String,
}

/// The two files of the container's root file system; empty when there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Databases<'a> {
    /// `/etc/passwd`.
    pub passwd: &'a str,
    /// `/etc/group`.
    pub group: &'a str,
}

/// Finds out who `wish` is: `user`, `user:group`, each a name or a number; empty for root.
///
/// As in Docker, a number needs no entry, a name does; further groups are those that list the
/// user, unless a group was asked for.
pub fn resolve(wish: &str, files: Databases<'_>) -> Result<Identity> {
    let (user, group) =
        wish.split_once(':').map_or((wish, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let entry = entries(files.passwd).find(|fields| matches(fields, user));
    let uid = match &entry {
        Some(fields) => number(fields, 2),
        None => id(user),
    };
    let unknown = |what: &str, name: &str| {
        Error::Usage(format!(
            "unable to find {what} {name}: no matching entries in {} file",
            if what == "user" { "passwd" } else { "group" }
        ))
    };
    let uid = uid.ok_or_else(|| unknown("user", user))?;
    let name = entry.as_ref().map(|fields| fields[0]);
    let mut gid = entry.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(0);
    let mut groups = Vec::new();
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        let found = entries(files.group).find(|fields| matches(fields, group));
        let found = found.map_or_else(|| id(group), |fields| number(&fields, 2));
        gid = found.ok_or_else(|| unknown("group", group))?;
    } else if let Some(name) = name {
        let lists = |fields: &Vec<&str>| {
            fields.get(3).is_some_and(|all| all.split(',').any(|one| one == name))
        };
        groups =
            entries(files.group).filter(lists).filter_map(|fields| number(&fields, 2)).collect();
        groups.dedup();
    }
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    let home = entry.as_ref().and_then(|fields| fields.get(5)).filter(|home| !home.is_empty());
    Ok(Identity { uid, gid, groups, home: (*home.unwrap_or(&"/")).to_owned() })
}

/// The number of one further group.
pub fn group(wish: &str, files: Databases<'_>) -> Result<u32> {
    let found = entries(files.group).find(|fields| matches(fields, wish));
    found.map_or_else(|| id(wish), |fields| number(&fields, 2)).ok_or_else(|| {
        Error::Usage(format!("unable to find group {wish}: no matching entries in group file"))
    })
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

fn matches(fields: &[&str], wanted: &str) -> bool {
    fields[0] == wanted || fields.get(2) == Some(&wanted)
}

fn number(fields: &[&str], index: usize) -> Option<u32> {
    id(fields.get(index)?.trim())
}

/// Docker's range. To the kernel the highest number of 32 bits means "stay who you are": root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Databases<'_> = Databases {
        passwd: "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\nnohome:x:40:40::\n\
                 rogue:x:4294967295:0::/:/bin/sh\n",
        group: "root:x:0:\nwww:x:33:\nadm:x:4:www,other\ntty:x:5:other,www\n",
    };

    #[test]
    fn users() {
        check("", Some((0, 0, &[0], "/root")));
        check("root", Some((0, 0, &[0], "/root")));
        check("0", Some((0, 0, &[0], "/root")));
        check("www", Some((33, 33, &[33, 4, 5], "/var/www")));
        check("33", Some((33, 33, &[33, 4, 5], "/var/www")));
        check("www:tty", Some((33, 5, &[5], "/var/www")));
        check("www:7", Some((33, 7, &[7], "/var/www")));
        check("1234", Some((1234, 0, &[0], "/")));
        check("1234:www", Some((1234, 33, &[33], "/")));
        check(":adm", Some((0, 4, &[4], "/root")));
        check("nohome", Some((40, 40, &[40], "/")));
        check("nobody", None);
        check("www:nobody", None);
        check("-1", None);
        check("4294967296", None);
        check("4294967295", None);
        check("2147483648", None);
        check("2147483647", Some((2_147_483_647, 0, &[0], "/")));
        check("www:4294967295", None);
        check("rogue", None);
    }

    #[test]
    fn further_groups() {
        for (wish, want) in [("tty", Some(5)), ("5", Some(5)), ("777", Some(777)), ("nobody", None)]
        {
            assert_eq!(group(wish, FILES).ok(), want, "{wish}");
        }
    }

    #[test]
    fn without_files_numbers_do() {
        let got = resolve("1000:1000", Databases::default()).unwrap();
        assert_eq!((got.uid, got.gid, got.home.as_str()), (1000, 1000, "/"));
        assert!(resolve("web", Databases::default()).is_err());
    }

    #[track_caller]
    fn check(wish: &str, want: Option<(u32, u32, &[u32], &str)>) {
        let got = resolve(wish, FILES).ok();
        let got = got.as_ref().map(|i| (i.uid, i.gid, i.groups.as_slice(), i.home.as_str()));
        assert_eq!(got, want, "{wish:?}");
    }
}
