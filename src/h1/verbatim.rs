//! The short way out for a head that goes on nearly as it came: nothing between its fields has changed, and what
//! it says of its length is what is to be said. Then the head is one piece of its storage, or two with Connection
//! left out between them.
//!
//! Whatever is out of the ordinary gives up with `None`, and `encode` writes the head from the beginning.

use super::encode::Length;
use super::framing;
use crate::http::{Field, Fields, Name, Names, RequestHead, ResponseHead};

/// Writes a request head that ends with `ending` and says how long it is.
pub(super) fn request(head: &RequestHead, length: Length, ending: &[u8], free: &mut [u8]) -> Option<usize> {
    const VERSION: &[u8; 11] = b" HTTP/1.1\r\n";
    let (bytes, method, target) = (head.fields.bytes(), head.method_text, head.target);
    if target.start != method.end + 1 || *bytes.get(method.end as usize)? != b' ' {
        return None;
    }
    let (start, end) = (method.start as usize, target.end as usize);
    if bytes.get(end..)?.first_chunk() == Some(VERSION) {
        return Copy { free, len: 0, start, end: end + VERSION.len() }.rest(&head.fields, length, ending);
    }
    let mut copy = Copy { free, len: 0, start: end, end };
    copy.put(bytes.get(start..end)?)?;
    copy.put(VERSION)?;
    copy.rest(&head.fields, length, ending)
}

/// The same for a response head.
pub(super) fn response(head: &ResponseHead, length: Length, ending: &[u8], free: &mut [u8]) -> Option<usize> {
    let (bytes, end) = (head.fields.bytes(), head.reason.end as usize);
    if head.reason.start != 13 || !begins_with(bytes, head.status) {
        return None;
    }
    if bytes.get(end..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    Copy { free, len: 0, start: 0, end: end + 2 }.rest(&head.fields, length, ending)
}

/// Whether the storage begins with a status line of 1.1 that says this status.
#[inline(always)]
fn begins_with(bytes: &[u8], status: u16) -> bool {
    let Some((start, [a, b, c, ..])) = bytes.split_first_chunk() else { return false };
    // What came was seen to be digits.
    let value = |digit: &u8| u16::from(digit.wrapping_sub(b'0'));
    start == b"HTTP/1.1 " && value(a) * 100 + value(b) * 10 + value(c) == status
}

/// The fields that say how the message is framed, and `Connection`.
const OURS: Names = Names::of(&[Name::Connection, Name::ContentLength, Name::TransferEncoding]);

struct Copy<'a> {
    free: &'a mut [u8],
    /// What has been written of it.
    len: usize,
    /// The piece of the storage that is to be written next.
    start: usize,
    end: usize,
}

impl Copy<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.free.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// All fields and the ending.
    #[inline(always)]
    fn rest(mut self, fields: &Fields, length: Length, ending: &[u8]) -> Option<usize> {
        let bytes = fields.bytes();
        let mut said = length == Length::Unsaid;
        for field in fields.list() {
            // Nearly all of them: the next one of a piece.
            if field.plain && field.name.start as usize == self.end && !OURS.has(field.tag) {
                self.end = field.value.end as usize + 2;
                continue;
            }
            if field.tag == Name::Connection {
                continue;
            }
            if OURS.has(field.tag) {
                if said || !stays(field, length, fields) {
                    return None;
                }
                said = true;
            }
            if !field.plain {
                return None;
            }
            if field.name.start as usize != self.end {
                self.put(bytes.get(self.start..self.end)?)?;
                self.start = field.name.start as usize;
            }
            self.end = field.value.end as usize + 2;
        }
        if !said {
            return None;
        }
        self.put(bytes.get(self.start..self.end)?)?;
        match ending {
            b"\r\n" => self.put(b"\r\n")?,
            _ => self.put(ending)?,
        }
        Some(self.len)
    }
}

/// Whether the field says the length just as it would be written.
#[inline(always)]
fn stays(field: &Field, length: Length, fields: &Fields) -> bool {
    let value = fields.text(field.value);
    match length {
        Length::Exact(n) => field.tag == Name::ContentLength && framing::says(value, n),
        Length::Chunked => fields.text(field.name) == b"Transfer-Encoding" && value == b"chunked",
        Length::Unsaid | Length::AsItCame => false,
    }
}
