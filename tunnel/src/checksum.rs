//! The Internet checksum (RFC 1071) and its incremental form (RFC 1624).

/// The checksum over `bytes`; an odd last byte is padded with zero.
///
/// Over a header that already holds its right checksum the answer is 0.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    // 65535 bytes at most: the sum of 32768 words fits 32 bits.
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + odd;
    !fold(sum)
}

/// The checksum after one 16-bit word of what it covers went from `before` to `after`: equation 3
/// of RFC 1624, which, unlike that of RFC 1141, never yields a wrong zero.
pub(crate) fn update(checksum: u16, before: u16, after: u16) -> u16 {
    !fold(u32::from(!checksum) + u32::from(!before) + u32::from(after))
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 read aloud, one word at a time.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum: u64 = 0;
        for (position, byte) in bytes.iter().enumerate() {
            sum += u64::from(*byte) << if position % 2 == 0 { 8 } else { 0 };
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn agrees_with_the_example_of_rfc_1071() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_model(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn an_update_equals_a_new_sum(
            mut words in prop::collection::vec(any::<u16>(), 2..30),
            at in any::<prop::sample::Index>(),
            after in any::<u16>(),
        ) {
            // An IPv4 header is never all zero, which is the one case where the two zeros differ.
            words[0] |= 0x4500;
            let sum = |words: &[u16]| {
                slow(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>())
            };
            let old = sum(&words);
            let at = 1 + at.index(words.len() - 1);
            let updated = update(old, words[at], after);
            words[at] = after;
            prop_assert_eq!(updated, sum(&words));
        }
    }
}
