//! Second parser for requests and responses: picohttpparser (of h2o) and an independent implementation of RFC 9112
//! section 6.3. It is lenient where ours is strict; what ours accepts it must parse in the same way.

use std::ffi::c_char;

use picohttpparser_sys::{
    phr_chunked_decoder, phr_decode_chunked, phr_header, phr_parse_request, phr_parse_response,
};

use crate::Line;

pub struct Request {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub minor: i32,
    pub fields: Vec<Line>,
    /// Bytes of the head.
    pub len: usize,
}

/// Copies the bytes of a pointer and length returned by the parser.
fn copy(start: *const c_char, len: usize) -> Vec<u8> {
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the parser's pointers point into the buffer it was handed, which outlives this call.
    unsafe { std::slice::from_raw_parts(start.cast(), len) }.to_vec()
}

pub fn request(bytes: &[u8]) -> Option<Request> {
    let mut headers: Vec<phr_header> = (0..200).map(|_| phr_header::default()).collect();
    let (mut method, mut target) = (std::ptr::null(), std::ptr::null());
    let (mut method_len, mut target_len, mut minor, mut count) = (0, 0, 0, headers.len());
    // SAFETY: every pointer is to a live variable, and `count` says how many headers there is room for.
    let len = unsafe {
        phr_parse_request(
            bytes.as_ptr().cast(),
            bytes.len(),
            &mut method,
            &mut method_len,
            &mut target,
            &mut target_len,
            &mut minor,
            headers.as_mut_ptr(),
            &mut count,
            0,
        )
    };
    let len = usize::try_from(len).ok()?;
    Some(Request {
        method: copy(method, method_len),
        target: copy(target, target_len),
        minor,
        fields: lines(&headers[..count]),
        len,
    })
}

fn lines(headers: &[phr_header]) -> Vec<Line> {
    // White space after a value is not part of it (RFC 9112 section 5.1); this parser leaves it there.
    let trimmed = |mut value: Vec<u8>| {
        let end = value.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
        value.truncate(end);
        value
    };
    headers.iter().map(|h| (copy(h.name, h.name_len), trimmed(copy(h.value, h.value_len)))).collect()
}

pub struct Response {
    pub minor: i32,
    pub status: i32,
    pub fields: Vec<Line>,
    /// Bytes of the head.
    pub len: usize,
}

pub fn response(bytes: &[u8]) -> Option<Response> {
    let mut headers: Vec<phr_header> = (0..200).map(|_| phr_header::default()).collect();
    let mut reason = std::ptr::null();
    let (mut reason_len, mut minor, mut status, mut count) = (0, 0, 0, headers.len());
    // SAFETY: every pointer is to a live variable, and `count` says how many headers there is room for.
    let len = unsafe {
        phr_parse_response(
            bytes.as_ptr().cast(),
            bytes.len(),
            &mut minor,
            &mut status,
            &mut reason,
            &mut reason_len,
            headers.as_mut_ptr(),
            &mut count,
            0,
        )
    };
    Some(Response { minor, status, fields: lines(&headers[..count]), len: usize::try_from(len).ok()? })
}

/// The body behind a chunked head and how many bytes it took without its trailers; `None` if it is not whole.
pub fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    // SAFETY: all zero is the decoder's documented initial state.
    let mut decoder: phr_chunked_decoder = unsafe { std::mem::zeroed() };
    let (mut buffer, mut size) = (bytes.to_vec(), bytes.len());
    // SAFETY: buffer and size describe the same live allocation.
    let left = unsafe { phr_decode_chunked(&mut decoder, buffer.as_mut_ptr().cast(), &mut size) };
    let left = usize::try_from(left).ok()?;
    buffer.truncate(size);
    Some((buffer, bytes.len() - left))
}

#[derive(PartialEq, Eq, Debug)]
pub enum Length {
    None,
    Exact(u64),
    Chunked,
    /// A careful reader would not go on.
    Unclear,
}

/// What the fields of a head say of its body.
pub fn length(fields: &[Line]) -> Length {
    let values = |name: &[u8]| -> Vec<&[u8]> {
        let named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &value[..]).collect()
    };
    let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|t| t.parse::<u64>().ok());
    match (&values(b"transfer-encoding")[..], &values(b"content-length")[..]) {
        ([], []) => Length::None,
        ([], [one]) => number(one).map_or(Length::Unclear, Length::Exact),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Length::Chunked,
        _ => Length::Unclear,
    }
}

impl Request {
    pub fn length(&self) -> Length {
        length(&self.fields)
    }
}
