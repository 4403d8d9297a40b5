//! What the programs of one port know each other by.
//!
//! They are put in one after the other, and whoever does it may be killed in between: then what sends to the
//! lift is an earlier process's, and what looks after the lift is not. So all of them have the same numbers, for
//! as long as there are any.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The network of the packets that are lifted, and their priority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) network: u32,
    pub(crate) secret: u32,
}

/// No type of service gives a packet such a priority.
const NO_CLASS: u32 = 1 << 31;
/// So many bits has the identifier of a VXLAN.
const IDENTIFIER: u32 = 24;

impl Numbers {
    /// Those in that file, or new ones, which are kept there. Nobody else may write there meanwhile.
    pub(crate) fn kept_in(file: &Path) -> io::Result<Self> {
        let kept = match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let drawn = Self::drawn();
        // What is cut off here belongs to no program yet.
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
        file.write_all(drawn.text().as_bytes())?;
        Ok(drawn)
    }

    fn drawn() -> Self {
        let network = rand::random::<u32>() >> (u32::BITS - IDENTIFIER);
        Self { network: network.max(1), secret: rand::random::<u32>() | NO_CLASS }
    }

    fn text(self) -> String {
        format!("{:x} {:x}\n", self.network, self.secret)
    }

    fn parse(text: &str) -> Option<Self> {
        let (network, secret) = text.strip_suffix('\n')?.split_once(' ')?;
        let [network, secret] = [network, secret].map(|word| u32::from_str_radix(word, 16).ok());
        let numbers = Self { network: network?, secret: secret? };
        let sound = (1..1 << IDENTIFIER).contains(&numbers.network) && numbers.secret >= NO_CLASS;
        sound.then_some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let numbers = Numbers { network: 0xff_ffff, secret: NO_CLASS };
        assert_eq!(numbers.text(), "ffffff 80000000\n");
        assert_eq!(Numbers::parse(&numbers.text()), Some(numbers));
        for text in
            ["", "ffffff 80000000", "0 80000000\n", "1000000 80000000\n", "1 7fffffff\n", "1\n"]
        {
            assert_eq!(Numbers::parse(text), None, "{text:?}");
        }
        for _time in 0..100 {
            let drawn = Numbers::drawn();
            assert_eq!(Numbers::parse(&drawn.text()), Some(drawn));
        }
    }
}
