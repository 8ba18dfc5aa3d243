//! Where the frames of one direction begin and end, from their headers (RFC 6455 section 5.2). Payloads are counted and
//! not read, so masks, extensions (compression) and fragments do not matter: between any two frames, those of one
//! fragmented message as well, a control frame is allowed (section 5.4).
//!
//! ```text
//! Boundary ─► Length ─┬──────────────► Payload ─► Boundary, or Closed after a Close frame
//!                     └► Extended ─┬─┘
//!                                  └► Unknown
//! ```

/// Opcode of a Close frame.
const CLOSE: u8 = 8;
const OPCODE: u8 = 0x0F;
/// In the second byte: a masking key follows the length.
const MASKED: u8 = 0x80;
const KEY: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Boundary,
    /// The first byte of a header was seen.
    Length {
        close: bool,
    },
    /// So many bytes of a longer length follow.
    Extended {
        close: bool,
        masked: bool,
        left: u8,
        value: u64,
    },
    /// So many bytes of the masking key and the payload follow.
    Payload {
        close: bool,
        left: u64,
    },
    /// A Close frame has ended. Nothing of a WebSocket follows it.
    Closed,
    /// Not a WebSocket, or a length that no frame can have.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    state: State,
}

impl Frames {
    /// Before the first frame.
    pub fn new() -> Frames {
        Frames { state: State::Boundary }
    }

    /// Of another protocol: it is never known where anything ends.
    pub fn unknown() -> Frames {
        Frames { state: State::Unknown }
    }

    /// No frame has begun.
    pub fn is_at_boundary(&self) -> bool {
        self.state == State::Boundary
    }

    /// A Close frame has passed.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub fn is_unknown(&self) -> bool {
        self.state == State::Unknown
    }

    /// Follows all of these bytes.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.follow_frame(rest)..];
        }
    }

    /// Follows these bytes up to the end of a frame. Returns how many that are: all if none ends in them.
    pub fn follow_frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += self.step(*byte, bytes.len() - at);
            if self.is_at_boundary() {
                break;
            }
        }
        at
    }

    /// Follows the next byte, or as many of the next `here` as are one part of a frame.
    fn step(&mut self, byte: u8, here: usize) -> usize {
        match self.state {
            State::Boundary => self.state = State::Length { close: byte & OPCODE == CLOSE },
            State::Length { close } => {
                let masked = byte & MASKED != 0;
                match byte & !MASKED {
                    126 => self.state = State::Extended { close, masked, left: 2, value: 0 },
                    127 => self.state = State::Extended { close, masked, left: 8, value: 0 },
                    length => self.begin_payload(close, masked, length.into()),
                }
            }
            State::Extended { close, masked, left, value } => {
                let value = value << 8 | u64::from(byte);
                match left {
                    1 => self.begin_payload(close, masked, value),
                    _ => self.state = State::Extended { close, masked, left: left - 1, value },
                }
            }
            State::Payload { close, left } => {
                let passed = left.min(here as u64);
                self.go_on(close, left - passed);
                return passed as usize;
            }
            State::Closed | State::Unknown => return here,
        }
        1
    }

    /// The most significant bit of a length must be 0.
    fn begin_payload(&mut self, close: bool, masked: bool, length: u64) {
        match length >> 63 {
            0 => self.go_on(close, length + if masked { KEY } else { 0 }),
            _ => self.state = State::Unknown,
        }
    }

    fn go_on(&mut self, close: bool, left: u64) {
        self.state = match (left, close) {
            (0, true) => State::Closed,
            (0, false) => State::Boundary,
            _ => State::Payload { close, left },
        };
    }
}

impl Default for Frames {
    fn default() -> Frames {
        Frames::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a length in so many extra bytes.
    fn frame(first: u8, extra: usize, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![first];
        match extra {
            0 => frame.push(mask | length as u8),
            2 => frame.extend([[mask | 126].as_slice(), &(length as u16).to_be_bytes()].concat()),
            _ => frame.extend([[mask | 127].as_slice(), &(length as u64).to_be_bytes()].concat()),
        }
        // Payloads that look like headers of Close frames.
        frame.extend(vec![0x88; length + if masked { 4 } else { 0 }]);
        frame
    }

    /// Every kind of header, and empty payloads; a ping within a fragmented message.
    fn some_frames() -> Vec<Vec<u8>> {
        vec![
            frame(0x81, 0, false, 0),
            frame(0x82, 0, true, 0),
            frame(0x02, 0, false, 125),
            frame(0x89, 0, false, 3),
            frame(0x80, 2, false, 126),
            frame(0xC1, 2, true, 700),
            frame(0x82, 8, false, 5),
            frame(0x82, 8, true, 66_000),
        ]
    }

    #[test]
    fn boundaries_are_found_at_every_split() {
        let frames = some_frames();
        let bytes = frames.concat();
        let mut ends = vec![0];
        ends.extend(frames.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        }));
        for split in (0..2_000).chain((2_000..bytes.len()).step_by(997)).chain([bytes.len()]) {
            let mut followed = Frames::new();
            followed.follow(&bytes[..split]);
            assert_eq!(followed.is_at_boundary(), ends.contains(&split), "at {split}");
            let next = ends.iter().find(|end| **end > split).copied();
            let passed = followed.follow_frame(&bytes[split..]);
            assert_eq!(split + passed, next.unwrap_or(bytes.len()), "from {split}");
            assert!(followed.is_at_boundary());
            followed.follow(&bytes[split + passed..]);
            assert!(followed.is_at_boundary() && !followed.is_closed());
        }
    }

    #[test]
    fn bytes_that_come_one_by_one_end_where_those_at_once_do() {
        for frame in some_frames() {
            let mut followed = Frames::new();
            for (at, byte) in frame.iter().enumerate() {
                assert!(followed.is_at_boundary() == (at == 0), "at {at}");
                assert_eq!(followed.follow_frame(&[*byte]), 1);
            }
            assert!(followed.is_at_boundary());
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        for (extra, masked, length) in [(0, false, 0), (0, true, 2), (0, false, 125), (2, false, 300)] {
            let close = frame(0x88, extra, masked, length);
            for split in 0..close.len() {
                let mut followed = Frames::new();
                followed.follow(&close[..split]);
                assert!(!followed.is_closed(), "at {split}");
                assert_eq!(followed.follow_frame(&close[split..]), close.len() - split);
                assert!(followed.is_closed() && !followed.is_at_boundary());
                followed.follow(b"\x81\x00");
                assert!(followed.is_closed());
            }
        }
    }

    #[test]
    fn a_length_of_2_to_the_63_or_more_ends_the_following() {
        for length in [1 << 63, u64::MAX] {
            let mut followed = Frames::new();
            followed.follow(&[[0x82, 127].as_slice(), &u64::to_be_bytes(length)].concat());
            assert!(followed.is_unknown());
            assert_eq!(followed.follow_frame(b"\x81\x00\x81\x00"), 4);
            assert!(followed.is_unknown() && !followed.is_at_boundary());
        }
        let mut longest = Frames::new();
        longest.follow(&[[0x82, 255].as_slice(), &u64::to_be_bytes((1 << 63) - 1)].concat());
        assert!(!longest.is_unknown() && !longest.is_at_boundary());
        assert_eq!(longest.follow_frame(&[0; 4096]), 4096);
    }

    #[test]
    fn the_close_frame_of_a_restart_is_one_and_says_1012() {
        let mut followed = Frames::new();
        followed.follow(&super::super::CLOSE_RESTART);
        assert!(followed.is_closed());
        assert_eq!(
            u16::from_be_bytes([super::super::CLOSE_RESTART[2], super::super::CLOSE_RESTART[3]]),
            1012
        );
    }
}
