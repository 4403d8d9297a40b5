//! What a clean-up may leave.

/// Directories of the container runtime, empty, and its locks: it stays on a host that leaves the network.
const RUNTIMES: [&str; 9] = [
    "/run/twill",
    "/run/twill/containers",
    "/run/twill/lock",
    "/var/lib/twill/containers",
    "/var/lib/twill/endpoint",
    "/var/lib/twill/endpoint/boot",
    "/var/lib/twill/endpoint/lock",
    "/var/lib/twill/names",
    "/var/lib/twill",
];

/// What a clean-up has forgotten, or taken from others, among these lines of a comparison.
pub(super) fn left(changes: &[String]) -> Vec<&str> {
    let stays = |line: &str| {
        let Some(file) = line.strip_prefix("+ file ") else { return false };
        RUNTIMES.contains(&file) || file.starts_with("/sys/fs/cgroup/") && file.ends_with("/twill")
    };
    let is = |sign: char, words: &str| {
        let of_sign = changes.iter().filter_map(|line| line.strip_prefix(sign));
        of_sign.map(unnumbered).any(|line| line == words)
    };
    let lines = changes.iter().map(String::as_str).filter(|line| !stays(line));
    lines
        .filter(|line| !(is('+', &unnumbered(&line[1..])) && is('-', &unnumbered(&line[1..]))))
        .collect()
}

/// The line of an interface without what is another when the interface was made again: its numbers, and
/// its hardware address.
fn unnumbered(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["address", _number, rest @ ..] => rest.join(" "),
        ["link", name, _mac, rest @ ..] if name.starts_with("eth0@") => rest.join(" "),
        _other => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplink_made_again_is_no_leftover_and_a_directory_of_the_runtime_neither() {
        let lines = [
            "+ address 9: eth0 inet 192.0.2.1/24",
            "+ link eth0@if8 d6:b8:85:1c:89:4f <UP>",
            "+ file /run/twill/containers",
            "+ file /sys/fs/cgroup/pids/twill",
            "- address 2: eth0 inet 192.0.2.1/24",
            "- link eth0@if5 ba:ca:0f:30:70:b3 <UP>",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(left(&lines), [""; 0]);
        assert_eq!(left(&lines[..2]), lines[..2], "it was not there before");
        for line in ["+ file /run/twill/containers/1", "+ link flannel.1 02:00:00:00:00:01 <UP>"] {
            assert_eq!(left(&[line.to_owned()]), [line]);
        }
    }
}
