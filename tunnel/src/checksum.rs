//! The Internet checksum (RFC 1071) and its incremental form (RFC 1624).

use std::ops::Add;

/// A one's complement sum on its way: parts may be added in any order, each beginning at an even
/// place of the whole.
///
/// Held in the machine's own byte order, which the sum does not mind (RFC 1071 section 2), so that
/// wide words can be added as they lie in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd last byte is padded with zero.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<32>();
        // Independent lanes, which the compiler keeps in vector registers. 65,535 bytes put at most
        // 2048 words of 32 bits into each.
        let mut lanes = [0_u64; 8];
        for block in blocks {
            let (words, _none) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let mut sum: u64 = lanes.iter().sum();
        let (words, rest) = rest.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum::<u64>();
        if let [odd] = rest {
            sum += u64::from(u16::from_ne_bytes([*odd, 0]));
        }
        Self(sum)
    }

    /// The sum of one 16-bit number.
    #[inline]
    pub(crate) fn word(word: u16) -> Self {
        Self(word.to_be().into())
    }

    /// The sum of one 32-bit number.
    #[inline]
    pub(crate) fn long(long: u32) -> Self {
        Self(long.to_be().into())
    }

    /// The checksum that makes the whole come out as 0.
    #[inline]
    pub(crate) fn checksum(self) -> u16 {
        !self.folded()
    }

    /// The sum itself in 16 bits, which is what a checksum field holds that somebody else completes.
    #[inline]
    pub(crate) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(u16::try_from(sum).unwrap_or(u16::MAX))
    }
}

impl Add for Sum {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        // Each half holds at most 2^45.
        Self(self.0 + other.0)
    }
}

/// The checksum over `bytes`; an odd last byte is padded with zero.
///
/// Over a header that already holds its right checksum the answer is 0.
#[inline]
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).checksum()
}

/// The checksum after one 16-bit word of what it covers went from `before` to `after`: equation 3
/// of RFC 1624, which, unlike that of RFC 1141, never yields a wrong zero.
pub(crate) fn update(checksum: u16, before: u16, after: u16) -> u16 {
    (Sum::word(!checksum) + Sum::word(!before) + Sum::word(after)).checksum()
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

    #[test]
    fn the_longest_and_fullest_packet_does_not_overflow() {
        let bytes = vec![0xff; 65_535];
        assert_eq!(checksum(&bytes), slow(&bytes));
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_model(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn parts_may_be_added_in_any_order(
            bytes in prop::collection::vec(any::<u8>(), 6..200),
            at in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = bytes.split_at(6 + at.index(bytes.len() - 5) / 2 * 2);
            let (word, long) = (u16::from_be_bytes([head[0], head[1]]), [head[2], head[3], head[4], head[5]]);
            let sum = Sum::of(tail) + Sum::of(&head[6..]);
            let sum = sum + Sum::long(u32::from_be_bytes(long)) + Sum::word(word);
            prop_assert_eq!(sum.checksum(), slow(&bytes));
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
