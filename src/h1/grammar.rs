//! The character sets of RFC 9110 and RFC 3986 that rsp checks, as lookup tables.

pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// Letters, digits, and `more`.
    const fn alphanumeric_and(more: &[u8]) -> ByteSet {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            set[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < more.len() {
            set[more[at] as usize] = true;
            at += 1;
        }
        ByteSet(set)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    pub(super) fn has_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.has(*byte))
    }
}

/// `tchar`: methods, field names, codings.
pub(super) static TOKEN: ByteSet = ByteSet::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// `reg-name` without `%`, which is checked together with its two digits.
pub(super) static REG_NAME: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+,;=");

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && TOKEN.has_all(bytes)
}

/// `HTTP/d.d` with any digits.
pub(super) fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// The elements of a comma-separated list, trimmed.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
