//! No mutation finds a checksum.

const BLOCK: usize = 512;

/// Gives each block that looks like a header of an archive the sum that it should have.
pub fn headers(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

/// Is it packed? A bomb is for a test of its own.
pub fn is_packed(archive: &[u8]) -> bool {
    matches!(archive, [0x1f, 0x8b, ..] | [0x28, 0xb5, ..] | [0x50..=0x5f, 0x2a, ..])
}
