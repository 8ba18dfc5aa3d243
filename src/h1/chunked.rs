//! The chunked coding (RFC 9112 section 7.1), parsed strictly.
//!
//! ```text
//!   Size --size line--> Data --all of it--> DataEnd --CR LF--> Size
//!     '------"0" line--> Trailers --empty line--> the message ends
//! ```
//! Sizes are hex digits and nothing else, every line ends in CR LF, and everything that a sender can repeat is
//! bounded. A server may send blanks after a size, and a bare LF right after it. A step consumes as much framing as
//! there is, and the body bytes after it.

use super::body::{body, end, nothing};
use super::framing::MAX_LENGTH;
use super::grammar::TOKEN;
use super::lenient::Leniency;
use super::{head, head_end, limits};
use crate::http::{Decoded, Event, Fault, Fields};

/// State of the parser. `spent` counts bytes of extensions, which are skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunked {
    Size { spent: u32 },
    Data { spent: u32, left: u64 },
    DataEnd { spent: u32 },
    Trailers { scanned: u32 },
}

impl Chunked {
    pub(super) const START: Chunked = Chunked::Size { spent: 0 };

    pub(super) fn step(
        &mut self,
        input: &[u8],
        limit: usize,
        trailers: &mut Fields,
        leniency: &mut Leniency,
    ) -> Result<Option<Decoded>, Fault> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let used = match *self {
                Chunked::Size { spent } => self.read_size(spent, rest, leniency)?,
                Chunked::DataEnd { spent } => self.read_data_end(spent, rest)?,
                Chunked::Data { spent, left } => {
                    let len = self.take_data(spent, left, rest.len().min(limit));
                    return Ok(if len == 0 { nothing(at) } else { Some(body(at..at + len)) });
                }
                Chunked::Trailers { .. } => return self.read_trailers(rest, at, trailers),
            };
            match used {
                Some(used) => at += used,
                None => return Ok(nothing(at)),
            }
        }
    }

    /// How many of `here` bytes belong to the chunk, which has `left`.
    fn take_data(&mut self, spent: u32, left: u64, here: usize) -> usize {
        let take = here.min(usize::try_from(left).unwrap_or(usize::MAX));
        *self = match left - take as u64 {
            0 => Chunked::DataEnd { spent },
            left => Chunked::Data { spent, left },
        };
        take
    }

    fn read_size(
        &mut self,
        spent: u32,
        rest: &[u8],
        leniency: &mut Leniency,
    ) -> Result<Option<usize>, Fault> {
        let Some(line) = size_line(rest, leniency)? else { return Ok(None) };
        let spent = spent + line.extension as u32;
        if spent as usize > limits::EXTENSIONS {
            return Err(Fault::Chunk);
        }
        *self = match line.size {
            0 => Chunked::Trailers { scanned: 0 },
            left => Chunked::Data { spent, left },
        };
        Ok(Some(line.len))
    }

    fn read_data_end(&mut self, spent: u32, rest: &[u8]) -> Result<Option<usize>, Fault> {
        match rest {
            [b'\r', b'\n', ..] => {
                *self = Chunked::Size { spent };
                Ok(Some(2))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(Fault::Chunk),
        }
    }

    /// The section stays in the input until it is complete; `at` is the length of the framing before it.
    fn read_trailers(
        &mut self,
        rest: &[u8],
        at: usize,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        let Chunked::Trailers { scanned } = self else { return Ok(nothing(at)) };
        match head_end::section_end(rest, scanned, limits::TRAILERS) {
            Err(_) => Err(Fault::Trailers),
            Ok(None) => Ok(nothing(at)),
            Ok(Some(2)) => Ok(Some(end(at + 2, Event::Nothing))),
            Ok(Some(len)) => {
                head::trailers(&rest[..len], trailers)?;
                Ok(Some(end(at + len, Event::Trailers)))
            }
        }
    }
}

#[derive(PartialEq, Eq, Debug)]
struct SizeLine {
    size: u64,
    /// Bytes of the line, including its end.
    len: usize,
    /// Bytes between the digits and the line's end.
    extension: usize,
}

/// `1*HEXDIG [chunk-ext] CRLF`. A wrong byte is a fault as soon as it arrives.
fn size_line(input: &[u8], leniency: &mut Leniency) -> Result<Option<SizeLine>, Fault> {
    let mut size = 0u64;
    let mut digits = 0;
    while let Some(digit) = input.get(digits).copied().and_then(hex) {
        // A 17th digit is refused even after zeros.
        if digits == 16 || size > MAX_LENGTH >> 4 {
            return Err(Fault::Chunk);
        }
        size = size << 4 | digit;
        digits += 1;
    }
    let Some(next) = input.get(digits) else { return Ok(None) };
    if digits == 0 {
        return Err(Fault::Chunk);
    }
    if *next == b'\n' {
        return match leniency.forgive() {
            true => Ok(Some(SizeLine { size, len: digits + 1, extension: 0 })),
            false => Err(Fault::Chunk),
        };
    }
    let Some(extension) = extension_len(&input[digits..], leniency)? else { return Ok(None) };
    Ok(Some(SizeLine { size, len: digits + extension + 2, extension }))
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Parser state within a size line, after the digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SizeLineState {
    /// Blanks before a semicolon.
    Blanks,
    /// After a semicolon, where a name must begin.
    Name,
    /// In an extension, after its name.
    Extension,
    Quoted,
    /// After a backslash in quotes.
    Escaped,
}

impl SizeLineState {
    /// The state after this byte (RFC 9112 section 7.1.1); `None` if the byte is not allowed here.
    fn next(self, byte: u8) -> Option<SizeLineState> {
        match (self, byte) {
            (SizeLineState::Blanks | SizeLineState::Name, b' ' | b'\t') => Some(self),
            (SizeLineState::Blanks | SizeLineState::Extension, b';') => Some(SizeLineState::Name),
            (SizeLineState::Name, _) => TOKEN.has(byte).then_some(SizeLineState::Extension),
            (SizeLineState::Extension, b'"') => Some(SizeLineState::Quoted),
            (SizeLineState::Quoted, b'"') => Some(SizeLineState::Extension),
            (SizeLineState::Quoted, b'\\') => Some(SizeLineState::Escaped),
            (SizeLineState::Extension | SizeLineState::Quoted, b'\t' | b' '..=0x7e | 0x80..) => Some(self),
            (SizeLineState::Escaped, b'\t' | b' '..=0x7e | 0x80..) => Some(SizeLineState::Quoted),
            _ => None,
        }
    }
}

/// Length of the extensions before the line's end. Each has a name, and quotes are closed.
fn extension_len(rest: &[u8], leniency: &mut Leniency) -> Result<Option<usize>, Fault> {
    let rest = &rest[..rest.len().min(limits::CHUNK_LINE)];
    let mut part = SizeLineState::Blanks;
    for (at, byte) in rest.iter().enumerate() {
        if *byte != b'\r' {
            part = part.next(*byte).ok_or(Fault::Chunk)?;
            continue;
        }
        let is_end = match part {
            SizeLineState::Blanks => at == 0 || leniency.forgive(),
            SizeLineState::Extension => true,
            _ => false,
        };
        match rest.get(at + 1) {
            Some(b'\n') if is_end => return Ok(Some(at)),
            None if is_end => break,
            _ => return Err(Fault::Chunk),
        }
    }
    if rest.len() == limits::CHUNK_LINE { Err(Fault::Chunk) } else { Ok(None) }
}
