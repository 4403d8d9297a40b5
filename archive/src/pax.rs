//! Extended headers of POSIX.1-2001: records `LENGTH KEY=VALUE\n` before the entry they describe.
//!
//! The `tar` crate splits them at line ends, so a binary value with a byte 10 in it (file
//! capabilities) would be lost; and it reads them without a limit. Hence our own.

/// What the records before an entry say about it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: Option<(i64, u32)>,
    /// Names and values of extended attributes, in their order.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
    /// The file is sparse in one of GNU's three ways to say so here.
    pub(crate) sparse: bool,
}

/// The records of one extended header; `None` when they are malformed.
pub(crate) fn parse(mut records: &[u8]) -> Option<Extended> {
    let mut extended = Extended::default();
    while !records.is_empty() {
        let (key, value, rest) = record(records)?;
        put(&mut extended, key, value)?;
        records = rest;
    }
    Some(extended)
}

fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = decimal(&records[..space])?;
    let (record, rest) = records.split_at_checked(length)?;
    let (last, body) = record.get(space + 1..)?.split_last()?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    (*last == b'\n').then_some((&body[..equals], &body[equals + 1..], rest))
}

fn put(extended: &mut Extended, key: &[u8], value: &[u8]) -> Option<()> {
    match key {
        // Nothing is said: what the plain header says counts, as in Go's archive/tar.
        b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => {}
        b"path" => extended.path = Some(value.to_vec()),
        b"linkpath" => extended.link = Some(value.to_vec()),
        b"size" => extended.size = Some(decimal(value)?),
        b"uid" => extended.uid = Some(decimal(value)?),
        b"gid" => extended.gid = Some(decimal(value)?),
        b"mtime" => extended.modified = Some(time(value)?),
        _ if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                let name = str::from_utf8(name).ok()?;
                extended.attributes.push((name.to_owned(), value.to_vec()));
            }
        }
    }
    Some(())
}

fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// `1700000000.123456789`, perhaps negative; digits after the ninth are dropped.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds: i64 = decimal(&text[..dot])?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read() {
        let extended =
            parse(b"14 path=a/b/c\n14 size=12345\n28 mtime=1700000000.0000005\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a/b/c"[..]));
        assert_eq!(extended.modified, Some((1_700_000_000, 500)));
    }

    #[test]
    fn a_binary_value_keeps_its_line_ends_and_zeros() {
        let mut records = b"39 SCHILY.xattr.security.capability=".to_vec();
        records.extend_from_slice(b"\x0a\x00\n");
        let extended = parse(&records).unwrap();
        assert_eq!(extended.attributes, [("security.capability".to_owned(), b"\x0a\x00".to_vec())]);
    }

    #[test]
    fn times() {
        let check = |text: &str, want| assert_eq!(time(text.as_bytes()), want, "{text}");
        check("0", Some((0, 0)));
        check("12.5", Some((12, 500_000_000)));
        check("-1.25", Some((-2, 750_000_000)));
        check("-3", Some((-3, 0)));
        check("1.1234567899", Some((1, 123_456_789)));
        check("", None);
        check("1.x", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn malformed_records_are_refused() {
        let refused: [&[u8]; 10] = [
            b"x",
            b"5",
            b"6 a=\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"9 path=a ",
            b"6 path\n",
            b"11 size=-1\n",
            b"-9 path=a\n",
            b"+9 path=a\n",
        ];
        for records in refused {
            assert_eq!(parse(records), None, "{}", records.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
        }
    }
}
