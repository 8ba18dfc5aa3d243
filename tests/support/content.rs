//! Distinguishable bodies: a stream of bytes determined by a seed, generated while sending and hashed while
//! receiving, so that a 64 MiB body is never in memory.

use std::io::Read;

use sha2::{Digest, Sha256};

/// The first `left` bytes of a seed's stream.
pub struct Content {
    state: u64,
    left: u64,
    word: [u8; 8],
    used: usize,
}

impl Content {
    pub fn new(seed: u64, size: u64) -> Content {
        Content { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), left: size, word: [0; 8], used: 8 }
    }

    /// splitmix64.
    fn next_word(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let size = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut at = 0;
        while at < size {
            if self.used == 8 {
                self.word = self.next_word();
                self.used = 0;
            }
            let now = (8 - self.used).min(size - at);
            out[at..at + now].copy_from_slice(&self.word[self.used..self.used + now]);
            self.used += now;
            at += now;
        }
        self.left -= size as u64;
        Ok(size)
    }
}

pub fn content_bytes(seed: u64, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Content::new(seed, size).read_to_end(&mut bytes).expect("memory");
    bytes
}

/// SHA-256 of `content_bytes`, in hex.
pub fn content_hash(seed: u64, size: u64) -> String {
    let mut hash = Sha256::new();
    std::io::copy(&mut Content::new(seed, size), &mut hash).expect("memory");
    hex(&hash.finalize())
}

pub fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
