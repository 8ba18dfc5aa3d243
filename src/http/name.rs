//! The names that rsp itself has an interest in, and how they are recognised.
//!
//! A name is known by its length, its first eight bytes and its last eight, so two comparisons decide instead of
//! a look at every letter. Names are tokens (RFC 9110 section 5.1): among those, setting bit 5 of every byte
//! folds the case of letters and makes no two of ours equal to anything else.

/// The names that rsp itself has an interest in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Name {
    Other,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    /// What only a trusted peer may say, with `_` for `-`: the same name to programs behind WSGI or CGI.
    Lookalike,
    MaxForwards,
    ProxyConnection,
    Referer,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
}

use Name::*;

/// What is compared of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends(u64, u64);

impl Ends {
    #[inline(always)]
    const fn of(name: &[u8]) -> Ends {
        const FOLD: u64 = 0x2020_2020_2020_2020;
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Ends(u64::from_le_bytes(*first) | FOLD, u64::from_le_bytes(*last) | FOLD);
        }
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Ends(u32::from_le_bytes(*first) as u64 | FOLD, u32::from_le_bytes(*last) as u64 | FOLD);
        }
        match name {
            [a, b, c] => Ends(*a as u64 | (*b as u64) << 8 | (*c as u64) << 16 | FOLD, 0),
            [a, b] => Ends(*a as u64 | (*b as u64) << 8 | FOLD, 0),
            _ => Ends(0, 0),
        }
    }
}

type Known = (Ends, Name);

const fn known(name: &[u8], tag: Name) -> Known {
    (Ends::of(name), tag)
}

/// By length.
const KNOWN: [&[Known]; 18] = [
    &[],
    &[],
    &[known(b"te", Te)],
    &[known(b"via", Via)],
    &[known(b"host", Host), known(b"date", Date)],
    &[],
    &[known(b"cookie", Cookie), known(b"expect", Expect)],
    &[known(b"upgrade", Upgrade), known(b"referer", Referer), known(b"trailer", Trailer)],
    &[],
    &[known(b"forwarded", Forwarded)],
    &[known(b"connection", Connection), known(b"user-agent", UserAgent), known(b"keep-alive", KeepAlive)],
    &[],
    &[known(b"x-request-id", XRequestId), known(b"max-forwards", MaxForwards)],
    &[],
    &[known(b"content-length", ContentLength)],
    &[known(b"x-forwarded-for", XForwardedFor)],
    &[known(b"x-forwarded-host", XForwardedHost), known(b"proxy-connection", ProxyConnection)],
    &[known(b"transfer-encoding", TransferEncoding), known(b"x-forwarded-proto", XForwardedProto)],
];

/// By length: a bit for each letter that a name of ours begins with. Most names that are not ours end here.
const LETTERS: [u32; 18] = {
    let (mut letters, mut len) = ([0; 18], 0);
    while len < 18 {
        let mut at = 0;
        while at < KNOWN[len].len() {
            letters[len] |= 1 << (KNOWN[len][at].0.0 & 31);
            at += 1;
        }
        len += 1;
    }
    letters
};

impl Name {
    /// The tag of a field name, whatever its case. The name must be a token.
    #[inline]
    pub fn of(name: &[u8]) -> Name {
        let (Some(first), Some(letters)) = (name.first(), LETTERS.get(name.len())) else { return Other };
        if letters >> (first & 31) & 1 == 0 { Other } else { Name::among(KNOWN[name.len()], name) }
    }

    fn among(candidates: &[Known], name: &[u8]) -> Name {
        let ends = Ends::of(name);
        let found = candidates.iter().find(|(known, _)| *known == ends).map_or(Other, |(_, tag)| *tag);
        match found {
            // Of 17 bytes the one in the middle is in neither end.
            TransferEncoding if name[8] != b'-' => Other,
            XForwardedProto if name[8] | 0x20 != b'd' => Other,
            Other if name[0] | 0x20 == b'x' => Name::of_unknown(name),
            tag => tag,
        }
    }

    /// The tag of a name that is none of ours as it is written. It is no longer than the longest of them.
    #[cold]
    fn of_unknown(name: &[u8]) -> Name {
        if !name.contains(&b'_') {
            return Other;
        }
        let mut folded = [0; KNOWN.len()];
        let folded = &mut folded[..name.len()];
        folded.copy_from_slice(name);
        folded.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        match Name::of(folded) {
            XForwardedFor | XForwardedHost | XForwardedProto | XRequestId => Lookalike,
            _ => Other,
        }
    }

    /// Whether the field says how the message is framed or belongs to the connection, so that only rsp writes it.
    pub fn is_read_only(self) -> bool {
        matches!(self, Name::ContentLength | Name::TransferEncoding | Name::Connection | Name::Upgrade)
    }
}

/// Whether `text` is this word, whatever its case. `lower` is in lower case, letters and hyphens, of 2 to 16 bytes;
/// `text` has no control bytes.
#[inline(always)]
pub fn is_word(text: &[u8], lower: &[u8]) -> bool {
    text.len() == lower.len() && Ends::of(text) == Ends::of(lower)
}

/// A set of names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Names(u32);

impl Names {
    pub const fn of(names: &[Name]) -> Names {
        let (mut bits, mut at) = (0, 0);
        while at < names.len() {
            bits |= 1 << names[at] as u32;
            at += 1;
        }
        Names(bits)
    }

    pub const fn has(self, name: Name) -> bool {
        self.0 & 1 << name as u32 != 0
    }

    /// Whether a name is in both.
    pub const fn meets(self, other: Names) -> bool {
        self.0 & other.0 != 0
    }

    pub fn add(&mut self, name: Name) {
        self.0 |= 1 << name as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tagged_name_is_recognised_in_any_case_and_its_neighbours_are_not() {
        for (text, tag) in [
            ("Connection", Name::Connection),
            ("CONTENT-LENGTH", Name::ContentLength),
            ("cookie", Name::Cookie),
            ("Date", Name::Date),
            ("Expect", Name::Expect),
            ("Forwarded", Name::Forwarded),
            ("hOST", Name::Host),
            ("Keep-Alive", Name::KeepAlive),
            ("Max-Forwards", Name::MaxForwards),
            ("Proxy-Connection", Name::ProxyConnection),
            ("Referer", Name::Referer),
            ("TE", Name::Te),
            ("Trailer", Name::Trailer),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("Upgrade", Name::Upgrade),
            ("User-Agent", Name::UserAgent),
            ("Via", Name::Via),
            ("X-Forwarded-For", Name::XForwardedFor),
            ("X-Forwarded-Host", Name::XForwardedHost),
            ("X-Forwarded-Proto", Name::XForwardedProto),
            ("X-Request-ID", Name::XRequestId),
        ] {
            assert_eq!(Name::of(text.as_bytes()), tag, "{text}");
            let mut near = text.as_bytes().to_vec();
            *near.last_mut().unwrap() ^= 1;
            assert_eq!(Name::of(&near), Name::Other, "{text}");
        }
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn a_claim_with_any_mix_of_underscores_is_a_lookalike() {
        for name in
            ["X_Forwarded_For", "x-forwarded_for", "X_FORWARDED-HOST", "x_forwarded_proto", "X_Request_ID"]
        {
            assert_eq!(Name::of(name.as_bytes()), Lookalike, "{name}");
        }
        for name in [
            "X_Forwarded_Foe",
            "Y_Forwarded_For",
            "X_Forwarded_For_",
            "X_",
            "Max_Forwards",
            "x_forwarde__proto",
        ] {
            assert_eq!(Name::of(name.as_bytes()), Other, "{name}");
        }
    }

    #[test]
    fn no_byte_of_a_name_is_left_out_of_the_comparison() {
        for name in ["transfer-encoding", "X-Forwarded-Proto", "content-length", "upgrade", "via", "te"] {
            for at in 0..name.len() {
                let mut near = name.as_bytes().to_vec();
                near[at] = b'z';
                assert_eq!(Name::of(&near), Other, "{name} at {at}");
            }
        }
    }

    #[test]
    fn a_word_is_known_in_any_case_and_nothing_else_is_taken_for_it() {
        for word in ["te", "close", "upgrade", "keep-alive", "websocket"] {
            assert!(is_word(word.to_uppercase().as_bytes(), word.as_bytes()));
            for at in 0..word.len() {
                for byte in b' '..=255 {
                    let mut near = word.as_bytes().to_vec();
                    near[at] = byte;
                    assert_eq!(is_word(&near, word.as_bytes()), near.eq_ignore_ascii_case(word.as_bytes()));
                }
            }
        }
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut names = Names::of(&[Te, Upgrade]);
        assert!(names.has(Te) && !names.has(Via) && !names.meets(Names::of(&[Via])));
        names.add(Via);
        assert!(names.meets(Names::of(&[Via, Host])));
    }
}
