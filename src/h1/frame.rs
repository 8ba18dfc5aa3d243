//! The frame around a piece of a body: nothing, or a chunk's size line and end (RFC 9112 section 7.1).

/// The bytes before and after a piece of body.
#[derive(Clone, Copy, Default)]
pub struct Frame {
    digits: [u8; 18],
    start: u8,
    chunked: bool,
}

impl Frame {
    pub(super) fn chunk(len: usize) -> Frame {
        let mut digits = *b"0000000000000000\r\n";
        let mut start = 16;
        let mut rest = len;
        while rest > 0 {
            start -= 1;
            digits[start] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
        }
        Frame { digits, start: start as u8, chunked: true }
    }

    pub fn before(&self) -> &[u8] {
        if self.chunked { &self.digits[self.start as usize..] } else { b"" }
    }

    pub fn after(&self) -> &'static [u8] {
        if self.chunked { b"\r\n" } else { b"" }
    }
}
