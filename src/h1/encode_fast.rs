//! Fast path for a head that is forwarded nearly unchanged: all its fields are serialized in order, and its length
//! field is the one to send. Then the head is one piece of its storage, or two around a Connection line that is left
//! out.
//!
//! Returns `None` for anything else, and `encode` writes the head from the beginning.

use super::encode::{ConnectionLine, Length};
use super::{framing, own_lines};
use crate::http::{CodecNote, Field, Fields, Name, Names, RequestHead, ResponseHead, Span};

/// Writes a request head including its length and connection fields.
pub(super) fn request(
    head: &RequestHead,
    length: Length,
    connection: ConnectionLine,
    free: &mut [u8],
) -> Option<usize> {
    let (bytes, method, target) = (head.fields.bytes(), head.method_text, head.target);
    if target.start != method.end + 1 || *bytes.get(method.end as usize)? != b' ' {
        return None;
    }
    let (start, end) = (method.start as usize, target.end as usize);
    let (version, [_, cr, lf, ..]) = bytes.get(end..)?.split_first_chunk()? else { return None };
    if version != b" HTTP/1." || [*cr, *lf] != *b"\r\n" {
        return None;
    }
    let copy = Copy { free, len: 0, start };
    let len = copy.all(end + 11, &head.fields, left_out(head.note, &head.fields, length)?, connection)?;
    // Whatever the version was.
    *free.get_mut(end - start + 8)? = b'1';
    Some(len)
}

/// The same for a response head.
pub(super) fn response(
    head: &ResponseHead,
    length: Length,
    connection: ConnectionLine,
    free: &mut [u8],
) -> Option<usize> {
    let (bytes, end) = (head.fields.bytes(), head.reason.end as usize);
    if head.reason.start != 13 || !begins_with(bytes, head.status) {
        return None;
    }
    if bytes.get(end..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    Copy { free, len: 0, start: 0 }.all(
        end + 2,
        &head.fields,
        left_out(head.note, &head.fields, length)?,
        connection,
    )
}

/// Whether the storage begins with an HTTP/1.1 status line with this status.
#[inline(always)]
fn begins_with(bytes: &[u8], status: u16) -> bool {
    let Some((start, [a, b, c, ..])) = bytes.split_first_chunk() else { return false };
    // The parser accepted only digits.
    let value = |digit: &u8| u16::from(digit.wrapping_sub(b'0'));
    start == b"HTTP/1.1 " && value(a) * 100 + value(b) * 10 + value(c) == status
}

/// Framing fields and `Connection`, which rsp writes itself.
const WRITTEN_BY_RSP: Names = Names::of(&[Name::Connection, Name::ContentLength, Name::TransferEncoding]);

struct Copy<'a> {
    free: &'a mut [u8],
    /// Bytes written so far.
    len: usize,
    /// Offset in the storage of the next byte to copy.
    start: usize,
}

impl Copy<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.free.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// Copies what precedes `fields_at`, then all fields from there except for the line that is left out, and writes
    /// the end of the head.
    #[inline(always)]
    fn all(
        mut self,
        fields_at: usize,
        fields: &Fields,
        left_out: Span,
        connection: ConnectionLine,
    ) -> Option<usize> {
        let bytes = fields.bytes();
        if !fields.is_serialized() || fields.list().first()?.name.start as usize != fields_at {
            return None;
        }
        if !left_out.is_empty() {
            self.put(bytes.get(self.start..left_out.start as usize)?)?;
            self.start = left_out.end as usize;
        }
        // Connection is the last field of most responses.
        if self.start != bytes.len() {
            self.put(bytes.get(self.start..)?)?;
        }
        self.finish(connection)?;
        Some(self.len)
    }

    /// The same as `ConnectionLine::ending`, but without a call for these few bytes.
    #[inline(always)]
    fn finish(&mut self, connection: ConnectionLine) -> Option<()> {
        match connection {
            ConnectionLine::Unstated => self.put(ConnectionLine::UNSTATED),
            ConnectionLine::KeepAlive => self.put(ConnectionLine::KEEP_ALIVE),
            other => self.put(other.ending()),
        }
    }
}

/// The Connection line, empty if there is none. `None` if more has to be left out, or if the length field is not the
/// one to send.
#[inline(always)]
fn left_out(note: CodecNote, fields: &Fields, length: Length) -> Option<Span> {
    let noted = match length {
        Length::Exact(n) => own_lines::connection(note, Some(n)),
        Length::Unstated => own_lines::connection(note, None),
        Length::Received | Length::Chunked => None,
    };
    if noted.is_some() && fields.is_serialized() {
        debug_assert!(look_for_left_out(fields, length) == noted);
        return noted;
    }
    look_for_left_out(fields, length)
}

#[inline(never)]
fn look_for_left_out(fields: &Fields, length: Length) -> Option<Span> {
    let (mut said, mut connection) = (length == Length::Unstated, Span::default());
    for field in fields.list().iter().filter(|field| WRITTEN_BY_RSP.has(field.tag)) {
        if field.tag == Name::Connection {
            if !connection.is_empty() {
                return None;
            }
            connection = Span { start: field.name.start, end: field.value.end + 2 };
        } else if said || !stays(field, length, fields) {
            return None;
        } else {
            said = true;
        }
    }
    said.then_some(connection)
}

/// Whether the field states the length in the form that rsp would write.
#[inline(always)]
fn stays(field: &Field, length: Length, fields: &Fields) -> bool {
    let value = fields.text(field.value);
    match length {
        Length::Exact(n) => field.tag == Name::ContentLength && framing::says(value, n),
        Length::Chunked => fields.text(field.name) == b"Transfer-Encoding" && value == b"chunked",
        Length::Unstated | Length::Received => false,
    }
}
