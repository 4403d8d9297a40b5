//! What tells one machine from another: a state directory that meets none of what it knows was copied.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What a machine can be known by. One match is enough: hardware is exchanged, and systems boot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Anchors(BTreeSet<String>);

/// The first is the same until the next boot; the others belong to the hardware, and a hypervisor that
/// copies a machine gives the copy others.
const FILES: [(&str, &str); 4] = [
    ("boot", "/proc/sys/kernel/random/boot_id"),
    ("product", "/sys/class/dmi/id/product_uuid"),
    ("board", "/sys/class/dmi/id/board_serial"),
    ("serial", "/sys/firmware/devicetree/base/serial-number"),
];
const LINKS: &str = "/sys/class/net";
/// `NET_ADDR_PERM` of `linux/netdevice.h`: the address is the hardware's own.
const PERMANENT: &str = "0";

impl Anchors {
    pub(super) fn of_this_machine() -> Self {
        let files = FILES.iter().filter_map(|(kind, path)| {
            let text = fs::read_to_string(path).ok()?;
            let text = text.trim_matches(|letter: char| letter == '\0' || letter.is_whitespace());
            says_something(text).then(|| format!("{kind} {text}"))
        });
        Self(files.chain(hardware_addresses()).collect())
    }

    /// Is one of those in the file one of ours? A file that is missing says nothing against it, for
    /// its owner may have exchanged the hardware and deleted it; neither does one that knows no
    /// hardware, as in a container: systems boot.
    pub(super) fn match_those_in(&self, file: &Path) -> bool {
        let Ok(text) = fs::read_to_string(file) else { return true };
        let of_hardware = |line: &str| !line.is_empty() && !line.starts_with("boot ");
        let knows_hardware = text.lines().any(of_hardware);
        !knows_hardware || text.lines().any(|line| self.0.contains(line))
    }

    /// A line each.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Boards without a number say so in many ways, and all of them the same.
fn says_something(text: &str) -> bool {
    let digits: BTreeSet<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    digits.len() > 2 && text.chars().any(|letter| letter.is_ascii_digit())
}

fn hardware_addresses() -> Vec<String> {
    let Ok(links) = fs::read_dir(LINKS) else { return Vec::new() };
    let address = |link: fs::DirEntry| {
        let read = |file: &str| fs::read_to_string(link.path().join(file)).ok();
        let permanent = read("addr_assign_type")?.trim() == PERMANENT;
        let address = read("address")?;
        // Of a device that no driver of hardware made, nothing is permanent.
        let hardware = permanent && link.path().join("device").exists();
        hardware.then(|| format!("link {}", address.trim()))
    };
    links.filter_map(Result::ok).filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_itself() {
        let machine = Anchors::of_this_machine();
        assert!(machine.0.iter().any(|anchor| anchor.starts_with("boot ")), "{machine:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), machine.to_text()).unwrap();
        assert!(machine.match_those_in(file.path()));
    }

    #[test]
    fn a_machine_known_by_its_boot_alone_may_boot() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let row = |text: &str, wanted: bool| {
            fs::write(file.path(), text).unwrap();
            assert_eq!(Anchors::of_this_machine().match_those_in(file.path()), wanted, "{text}");
        };
        row("boot elsewhere\n", true);
        row("\n", true);
        row("boot elsewhere\nproduct 4c4c4544\n", false);
    }

    #[test]
    fn placeholders_are_no_serial_numbers() {
        for text in
            ["", "None", "0", "00000000", "To be filled by O.E.M.", "Default string", "........"]
        {
            assert!(!says_something(text), "{text}");
        }
        for text in ["4c4c4544-0044-3310-8052-b8c04f4d3632", "VMware-56 4d 3a", "PF2XYZ91"] {
            assert!(says_something(text), "{text}");
        }
    }
}
