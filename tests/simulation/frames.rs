//! What each side says in a WebSocket: frames, each byte of which is known, and the Close frame that rsp puts between
//! two of them.

use crate::rng::{Rng, body};

/// rsp's Close frame, with the status 1012.
pub const RESTART: [u8; 4] = [0x88, 2, 0x03, 0xF4];
/// How clients answer it.
pub const ANSWER: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4];
/// The shortest that is said, if anything is.
pub const LEAST: usize = 20;
const CLOSE: u8 = 0x88;

pub struct Frames {
    pub bytes: Vec<u8>,
    /// Where frames end.
    ends: Vec<usize>,
    masked: bool,
}

impl Frames {
    /// Frames of `len` bytes in all, of sizes that follow from `key`; the last one may be a Close frame. The client's
    /// are masked.
    pub fn new(key: u64, len: usize, masked: bool) -> Frames {
        let (mut rng, filling) = (Rng::new(key), body(key, len));
        let closes = rng.one_in(4);
        let mut frames = Frames { bytes: Vec::with_capacity(len), ends: vec![0], masked };
        while frames.bytes.len() < len {
            let left = len - frames.bytes.len();
            let size = LEAST + rng.size();
            let size = if left < size + LEAST { left } else { size };
            let first =
                if closes && size == left { CLOSE } else { rng.pick(&[0x81, 0x82, 0x01, 0x80, 0x89]) };
            let extra = rng.pick(&[0, 0, 2, 8]);
            frames.add(first, size, extra, &filling);
        }
        assert_eq!(frames.bytes.len(), len);
        frames
    }

    /// Adds a frame of this size. Its length takes at least so many extra bytes: some are written longer than need be.
    fn add(&mut self, first: u8, size: usize, extra: usize, filling: &[u8]) {
        let key = if self.masked { 4 } else { 0 };
        let mask = if self.masked { 0x80 } else { 0 };
        self.bytes.push(first);
        match (size - 2 - key, extra) {
            (n @ 0..126, 0) => self.bytes.push(mask | n as u8),
            (n @ 0..65_538, 0 | 2) => {
                self.bytes.push(mask | 126);
                self.bytes.extend(((n - 2) as u16).to_be_bytes());
            }
            (n, _) => {
                self.bytes.push(mask | 127);
                self.bytes.extend(((n - 8) as u64).to_be_bytes());
            }
        }
        let end = self.ends[self.ends.len() - 1] + size;
        self.bytes.extend(&filling[self.bytes.len()..end]);
        self.ends.push(end);
    }

    pub fn is_end(&self, at: usize) -> bool {
        self.ends.binary_search(&at).is_ok()
    }

    /// The end of the frame in which this place is, and whether that is a Close frame.
    pub fn end_from(&self, at: usize) -> (usize, bool) {
        let number = self.ends.partition_point(|end| *end < at);
        let begin = self.ends[number.saturating_sub(1)];
        (self.ends[number], number > 0 && self.bytes[begin] == CLOSE)
    }

    /// Looks at bytes that came behind the first `at`. Returns how many are of these frames; a Close frame that is none
    /// of them goes to `close`.
    pub fn check(&self, at: &mut usize, close: &mut Vec<u8>, bytes: &[u8]) {
        let same = bytes.iter().zip(&self.bytes[*at..]).take_while(|(a, b)| a == b).count();
        let same = if close.is_empty() { same } else { 0 };
        *at += same;
        let rest = &bytes[same..];
        if rest.is_empty() {
            return;
        }
        if close.is_empty() && !self.is_end(*at) && *at > 0 && self.is_end(*at - 1) {
            // Its first byte is that of a Close frame among these.
            assert_eq!(self.bytes[*at - 1], CLOSE, "wrong byte {at} of a WebSocket");
            *at -= 1;
            close.push(CLOSE);
        }
        assert!(!close.is_empty() || self.is_end(*at), "wrong byte {at} of a WebSocket, within a frame");
        close.extend(rest);
        let expected = if self.masked { &ANSWER[..] } else { &RESTART[..] };
        assert!(expected.starts_with(close), "{close:02x?} at {at} of a WebSocket");
    }

    /// Whether this is all of the Close frame.
    pub fn is_close(&self, close: &[u8]) -> bool {
        close == if self.masked { &ANSWER[..] } else { &RESTART[..] }
    }
}
