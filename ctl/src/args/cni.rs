//! The command line of `twillctl cni`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Cni {
    /// Write the configuration by which container runtimes join pods to this host's subnet
    ///
    /// The file is there in one piece or not at all. One of that name that says the same stays; one that install
    /// has written for another network or under another name is replaced; any other one is left alone, unless --force is given.
    #[command(after_help = "\
Examples:
  twillctl cni install
  twillctl --network-name green cni install
  twillctl cni install --directory /etc/kubernetes/cni/net.d --file 05-twill.conflist")]
    Install(Install),
    /// Look whether runtimes can join pods: the configuration, the plugin, the subnet; exit code 6 if something is in the way
    Check(Check),
}

#[derive(Args, Debug)]
pub(crate) struct Place {
    /// Where runtimes look for configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) directory: PathBuf,

    /// The file's name: most runtimes take the first one in the order of names. Ends in .conflist; [default: 10-twill.conflist, or
    /// 20-twill-NAME.conflist with --network-name]
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub(crate) file: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) place: Place,

    /// What runtimes call the network: a letter or a digit, then letters, digits, `_`, `.` and `-`
    /// [default: twill, or that of --network-name]
    #[arg(long, value_name = "NAME", value_parser = network_name)]
    pub(crate) name: Option<String>,

    /// The bridge that pods join [default: twill0, or twill-NAME with --network-name]
    #[arg(long, value_name = "NAME", value_parser = interface)]
    pub(crate) bridge: Option<String>,

    /// Overwrite a file that somebody else has written, or edited
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Where runtimes look for plugins, separated by colons
    #[arg(
        long,
        value_name = "DIRS",
        value_delimiter = ':',
        default_value = "/opt/cni/bin:/usr/lib/cni:/usr/local/lib/cni:/usr/libexec/cni"
    )]
    pub(crate) cni_path: Vec<PathBuf>,
}

fn file_name(text: &str) -> Result<String, String> {
    let stem = text.strip_suffix(".conflist").unwrap_or_default();
    let plain = !stem.is_empty() && !text.contains('/');
    plain
        .then(|| text.to_owned())
        .ok_or_else(|| "not a file name that ends in .conflist".to_owned())
}

fn network_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let wanted = "not a letter or a digit and then letters, digits, `_`, `.` and `-`";
    let fits = begins && text.bytes().all(allowed);
    fits.then(|| text.to_owned()).ok_or_else(|| wanted.to_owned())
}

/// As the kernel allows it.
pub(crate) fn interface(text: &str) -> Result<String, String> {
    let forbidden = |letter: char| matches!(letter, '/' | ':' | '\0') || letter.is_whitespace();
    let fits = (1..=15).contains(&text.len()) && !matches!(text, "." | "..");
    let wanted = || "not the name of an interface: 1 to 15 bytes, no `/`, `:` or space".to_owned();
    (fits && !text.contains(forbidden)).then(|| text.to_owned()).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, fits) in [("10-twill.conflist", true), ("a.conf", false), (".conflist", false)] {
            assert_eq!(file_name(text).is_ok(), fits, "{text}");
        }
        assert!(file_name("../a.conflist").is_err());
        for (text, fits) in
            [("twill", true), ("0a_.-", true), ("-a", false), ("", false), ("a b", false)]
        {
            assert_eq!(network_name(text).is_ok(), fits, "{text}");
        }
        for (text, fits) in
            [("twill0", true), ("a:b", false), ("..", false), ("twill-0123456789", false)]
        {
            assert_eq!(interface(text).is_ok(), fits, "{text}");
        }
    }
}
