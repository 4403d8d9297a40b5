//! `twill cp`: files out of a container, or into it.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use crate::bundle::rootfs::Inside;
use crate::commands::{Code, each};
use crate::container::Store;
use crate::copy::root::Root;
use crate::copy::{self, Owner, Place};
use crate::{Error, Paths, human, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill cp web:/etc/nginx.conf .        out of a container, whether it runs or not
  twill cp site/. web:/var/www          what is in a directory, into one
  twill cp web:/var/log - | tar t       as an archive, to standard output
  tar c . | twill cp - web:/srv         and from standard input

What is copied is root's, unless -a is given. Links of a container lead nowhere out of it.")]
pub struct Args {
    /// Keep owners and groups
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link leads to, not the link
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Say nothing when all went well
    #[arg(short, long)]
    pub quiet: bool,
    /// CONTAINER:PATH, a path of the host, or - for an archive on standard input
    #[arg(allow_hyphen_values = true)]
    pub from: String,
    /// The same; - for an archive on standard output
    #[arg(allow_hyphen_values = true)]
    pub to: String,
}

/// One of the two ends.
#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    Container(String, PathBuf),
    Host(PathBuf),
    Stream,
}

impl End {
    /// A path that begins with a slash or a dot is the host's, whatever colons are in it.
    fn parse(text: &str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
                // Docker takes all paths of a container from its root.
                Self::Container(name.to_owned(), Path::new("/").join(path))
            }
            _ => Self::Host(text.into()),
        }
    }
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let owner = if args.archive { Owner::Same } else { Owner::Root };
    let ends = (End::parse(&args.from), End::parse(&args.to));
    let open = |name: &str| -> Result<_, Error> { Root::open(&store, &each::one(&store, name)?) };
    let place = |root, path, shown| Place { root, path, shown };
    let count = match &ends {
        (End::Container(..), End::Container(..)) => {
            return Err(Error::Usage("copying between containers is not supported".into()).into());
        }
        (End::Container(name, path), End::Stream) => {
            if io::stdout().is_terminal() {
                let refused = "refusing to write an archive to a terminal: use a file or a pipe";
                return Err(Error::Usage(refused.into()).into());
            }
            let root = open(name)?;
            let found = place(root.inside(), path, &args.from).find(args.follow_link)?;
            // What is in an archive keeps its owner, as with Docker.
            copy::to_stream(&found, Owner::Same, io::stdout().lock())?;
            return Ok(Code::OK);
        }
        (End::Stream, End::Container(name, path)) => {
            let root = open(name)?;
            copy::from_stream(io::stdin().lock(), &place(root.inside(), path, &args.to))?;
            return Ok(Code::OK);
        }
        (End::Container(name, path), End::Host(to)) => {
            // Before the root of one that rests is mounted: what the host sees, seen from here.
            let (host, to) = (host()?, absolute(to)?);
            let root = open(name)?;
            let found = place(root.inside(), path, &args.from).find(args.follow_link)?;
            copy::between(&found, owner, &place(&host, &to, &args.to))?
        }
        (End::Host(from), End::Container(name, path)) => {
            let (host, from) = (host()?, absolute(from)?);
            let found = place(&host, &from, &args.from).find(args.follow_link)?;
            let root = open(name)?;
            copy::between(&found, owner, &place(root.inside(), path, &args.to))?
        }
        _ => {
            let neither = "must specify at least one container source";
            return Err(Error::Usage(neither.into()).into());
        }
    };
    if !args.quiet {
        output::note(format_args!("Successfully copied {} to {}", human::size(count), args.to));
    }
    Ok(Code::OK)
}

fn host() -> Result<Inside, Error> {
    Inside::open(Path::new("/"))
}

/// A slash or a dot at the end stays: it says what is meant.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::env::current_dir()?.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_a_copy() {
        let container = |name: &str, path: &str| End::Container(name.into(), path.into());
        for (text, want) in [
            ("-", End::Stream),
            ("web:/etc", container("web", "/etc")),
            ("web:etc/.", container("web", "/etc/.")),
            ("web:/a:b", container("web", "/a:b")),
            ("web:", container("web", "/")),
            ("./web:etc", End::Host("./web:etc".into())),
            ("/web:etc", End::Host("/web:etc".into())),
            ("../a:b", End::Host("../a:b".into())),
            (":x", End::Host(":x".into())),
            ("file", End::Host("file".into())),
        ] {
            assert_eq!(End::parse(text), want, "{text}");
        }
    }
}
