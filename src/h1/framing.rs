//! Body framing: RFC 9112 section 6.3, as one table for requests and one for responses.
//!
//! The fields are first reduced to two facts, the length and the coding, without judging the combination; then the
//! first matching row of a table decides. Request smuggling exploits ambiguity here, so each fact has exactly one
//! reading and the rows cover all cases.

use super::grammar::{is_token, list};
use crate::http::{Fault, Framing, Version};

/// The values of Content-Length and Transfer-Encoding.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BodyLength {
    length: Option<u64>,
    coding: Coding,
}

/// All Transfer-Encoding fields of a head as one list.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// Exactly `chunked`.
    Chunked,
    /// An unknown coding, and nothing after it yet.
    Unknown,
    /// Unknown codings, then `chunked`.
    UnknownChunked,
    /// Not a list, or a coding after `chunked`.
    Malformed,
}

impl Coding {
    /// The list with one more element.
    fn then(self, element: &[u8]) -> Coding {
        use Coding::*;
        let is_chunked = element.eq_ignore_ascii_case(b"chunked");
        let name = element.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        match self {
            Absent if is_chunked => Chunked,
            Unknown if is_chunked => UnknownChunked,
            Absent | Unknown if is_token(name) && !name.eq_ignore_ascii_case(b"chunked") => Unknown,
            _ => Malformed,
        }
    }
}

impl BodyLength {
    /// The value of Content-Length.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Digits only, not over 2^63-1, and only once: a second field is refused even if it is equal.
    pub(super) fn note_content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::ContentLength);
        }
        self.length = Some(number(value).ok_or(Fault::ContentLength)?);
        Ok(())
    }

    #[inline(never)]
    pub(super) fn note_transfer_encoding(&mut self, value: &[u8]) {
        self.coding = list(value).fold(self.coding, Coding::then);
    }
}

/// The largest length of a body or a chunk: it also fits recipients that use signed integers.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    // Eighteen digits are always less than 2^63.
    if digits.is_empty() || digits.len() > 18 {
        return long_number(digits);
    }
    let mut n = 0;
    for digit in digits {
        n = n * 10 + value(*digit)?;
    }
    Some(n)
}

fn long_number(digits: &[u8]) -> Option<u64> {
    let n = digits.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(value(*digit)?))?;
    (!digits.is_empty() && n <= MAX_LENGTH).then_some(n)
}

fn value(digit: u8) -> Option<u64> {
    digit.is_ascii_digit().then(|| u64::from(digit - b'0'))
}

/// Whether these digits are the canonical form of `n`.
pub(super) fn says(digits: &[u8], n: u64) -> bool {
    number(digits) == Some(n) && (digits.len() == 1 || digits[0] != b'0')
}

/// A request without a length has no body.
pub(super) fn of_request(version: Version, lengths: BodyLength) -> Result<Framing, Fault> {
    match (lengths.coding, lengths.length, version) {
        (Coding::Absent, None, _) => Ok(Framing::None),
        (Coding::Absent, Some(n), _) => Ok(Framing::Exact(n)),
        (_, _, Version::Http10) => Err(Fault::TransferEncoding),
        (_, Some(_), _) => Err(Fault::TwoLengths),
        (Coding::Chunked, None, _) => Ok(Framing::Chunked),
        (Coding::UnknownChunked, None, _) => Err(Fault::UnknownCoding),
        (Coding::Unknown | Coding::Malformed, None, _) => Err(Fault::TransferEncoding),
    }
}

/// A response without a length is delimited by close. `to_head`: it answers HEAD, so its fields describe the answer
/// to a GET and are checked likewise. A bodiless status has no body whatever its fields are.
pub(super) fn of_response(
    version: Version,
    to_head: bool,
    status: u16,
    lengths: BodyLength,
) -> Result<Framing, Fault> {
    match (lengths.coding, lengths.length, version) {
        (
            Coding::Chunked | Coding::Unknown | Coding::UnknownChunked | Coding::Malformed,
            _,
            Version::Http10,
        ) => Err(Fault::TransferEncoding),
        _ if is_bodiless(status) => Ok(Framing::None),
        (Coding::Chunked | Coding::Unknown | Coding::UnknownChunked | Coding::Malformed, Some(_), _) => {
            Err(Fault::TwoLengths)
        }
        _ if to_head => Ok(Framing::None),
        (Coding::Absent, None, _) => Ok(Framing::UntilClose),
        (Coding::Absent, Some(n), _) => Ok(Framing::Exact(n)),
        (Coding::Chunked, None, _) => Ok(Framing::Chunked),
        (Coding::UnknownChunked, None, _) => Err(Fault::UnknownCoding),
        (Coding::Unknown | Coding::Malformed, None, _) => Err(Fault::TransferEncoding),
    }
}

/// Statuses that never have a body (RFC 9110 section 6.4.1).
pub(super) fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_only_digits_and_fits_in_63_bits() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0010", Some(10)),
            ("999999999999999999", Some(999_999_999_999_999_999)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("0009223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("9999999999999999999", None),
            ("18446744073709551615", None),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("5 ", None),
            ("5 5", None),
            ("5,5", None),
            ("5, 5", None),
            ("0x10", None),
            ("1e3", None),
            ("5.0", None),
            ("\u{665}", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_codings_of_all_fields_form_one_list() {
        use Coding::*;
        for (fields, expected) in [
            (&["chunked"][..], Chunked),
            (&["CHUNKED"], Chunked),
            (&["gzip, chunked"], UnknownChunked),
            (&["gzip", "chunked"], UnknownChunked),
            (&["gzip;level=\"9\" , br,chunked"], UnknownChunked),
            (&["gzip"], Unknown),
            (&["identity"], Unknown),
            (&["xchunked"], Unknown),
            (&["chunked, chunked"], Malformed),
            (&["chunked", "chunked"], Malformed),
            (&["chunked, gzip"], Malformed),
            (&["chunked", "identity"], Malformed),
            (&["gzip, chunked, gzip, chunked"], Malformed),
            (&[""], Malformed),
            (&["", "chunked"], Malformed),
            (&["chunked,"], Malformed),
            (&[",chunked"], Malformed),
            (&["chunked;q=1"], Malformed),
            (&["gzip, chunked;q=1"], Malformed),
            (&["\"chunked\""], Malformed),
            (&["chunked gzip"], Malformed),
            (&["chu nked"], Malformed),
        ] {
            let mut lengths = BodyLength::default();
            for field in fields {
                lengths.note_transfer_encoding(field.as_bytes());
            }
            assert_eq!(lengths.coding, expected, "{fields:?}");
        }
    }
}
