//! Field names that rsp handles, and their recognition.
//!
//! Length and first letter leave at most one candidate; its first and last eight bytes then decide, so two
//! comparisons replace one per letter. Names are tokens (RFC 9110 section 5.1): among those, setting bit 5 of every
//! byte folds case and makes no two known names equal to anything else.

/// A field name that rsp handles.
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
    /// A name that, with `_` read as `-`, is a framing or hop-by-hop name or one that rsp sets: the same name to
    /// programs behind WSGI or CGI.
    Lookalike,
    MaxForwards,
    /// Not an HTTP field, but `HTTP_PROXY` to programs behind CGI.
    Proxy,
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
    /// Any other name that begins with `X-Forwarded-`, with `_` or `-`.
    XForwardedOther,
    XForwardedProto,
    /// `X_Real_IP` as well.
    XRealIp,
    XRequestId,
}

use Name::*;

/// The bytes of a name that are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends(u64, u64);

impl Ends {
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

/// The known names with their tags.
const KNOWN: [(&[u8], Name); 23] = [
    (b"te", Te),
    (b"via", Via),
    (b"host", Host),
    (b"date", Date),
    (b"proxy", Proxy),
    (b"cookie", Cookie),
    (b"expect", Expect),
    (b"upgrade", Upgrade),
    (b"referer", Referer),
    (b"trailer", Trailer),
    (b"forwarded", Forwarded),
    (b"x-real-ip", XRealIp),
    (b"connection", Connection),
    (b"user-agent", UserAgent),
    (b"keep-alive", KeepAlive),
    (b"x-request-id", XRequestId),
    (b"max-forwards", MaxForwards),
    (b"content-length", ContentLength),
    (b"x-forwarded-for", XForwardedFor),
    (b"x-forwarded-host", XForwardedHost),
    (b"proxy-connection", ProxyConnection),
    (b"transfer-encoding", TransferEncoding),
    (b"x-forwarded-proto", XForwardedProto),
];

const LONGEST: usize = 17;

/// Common prefix of the forwarding fields.
const FORWARDED: &[u8; 12] = b"x-forwarded-";

/// The candidate by length and first letter, which are unique among the known names. Where there is no candidate, a
/// name can still begin with `FORWARDED`.
static GUESSES: [[Name; 32]; LONGEST + 1] = {
    let (mut guesses, mut at) = ([[Other; 32]; LONGEST + 1], 0);
    while at < KNOWN.len() {
        let (name, tag) = KNOWN[at];
        let guess = &mut guesses[name.len()][name[0] as usize & 31];
        assert!(*guess as u8 == Other as u8);
        *guess = tag;
        at += 1;
    }
    let mut len = FORWARDED.len() + 1;
    while len <= LONGEST {
        let guess = &mut guesses[len][b'x' as usize & 31];
        if *guess as u8 == Other as u8 {
            *guess = XForwardedOther;
        }
        len += 1;
    }
    guesses
};

/// By tag.
static ENDS: [Ends; 32] = {
    let (mut ends, mut at) = ([Ends(0, 0); 32], 0);
    while at < KNOWN.len() {
        ends[KNOWN[at].1 as usize] = Ends::of(KNOWN[at].0);
        at += 1;
    }
    ends
};

/// By tag: lower case, zero-padded; cut if longer.
static PADDED: [[u8; 16]; 32] = {
    let (mut padded, mut at) = ([[0; 16]; 32], 0);
    while at < KNOWN.len() {
        let (name, tag) = KNOWN[at];
        let mut i = 0;
        while i < name.len() && i < 16 {
            padded[tag as usize][i] = name[i];
            i += 1;
        }
        at += 1;
    }
    padded
};

impl Name {
    /// The tag of a field name, whatever its case. The name must be a token.
    pub fn of(name: &[u8]) -> Name {
        let Some(first) = name.first() else { return Other };
        match Name::guess(*first, name.len()) {
            // Most unknown names end here.
            Other => Other,
            guess => guess.check(name),
        }
    }

    /// The candidate for a name of this length and first letter.
    pub fn guess(letter: u8, len: usize) -> Name {
        match GUESSES.get(len) {
            Some(guesses) => guesses[letter as usize & 31],
            None if letter & 31 == b'x' & 31 => XForwardedOther,
            None => Other,
        }
    }

    /// The first sixteen bytes of the name, in lower case, zero-padded.
    pub fn padded(self) -> &'static [u8; 16] {
        &PADDED[self as usize & 31]
    }

    /// `self`, if `name` is its spelling.
    fn check(self, name: &[u8]) -> Name {
        let same = Ends::of(name) == ENDS[self as usize & 31];
        if same && (name.len() < LONGEST || self.has_middle(name)) { self } else { Name::of_unknown(name) }
    }

    /// The middle byte of a 17-byte name is in neither half.
    fn has_middle(self, name: &[u8]) -> bool {
        match self {
            TransferEncoding => name[8] == b'-',
            XForwardedProto => name[8] | 0x20 == b'd',
            _ => true,
        }
    }

    /// The tag of a name that is not one of the known names, by its spelling.
    pub fn of_unknown(name: &[u8]) -> Name {
        if name.len() > FORWARDED.len() && is_same(&name[..FORWARDED.len()], FORWARDED) {
            let known = [XForwardedFor, XForwardedHost, XForwardedProto];
            let is_one = known.iter().any(|tag| KNOWN.iter().any(|(n, t)| t == tag && is_same(name, n)));
            return if is_one { Lookalike } else { XForwardedOther };
        }
        if !name.contains(&b'_') {
            return Other;
        }
        match KNOWN.iter().find(|(known, _)| is_same(name, known)) {
            Some((_, XRealIp)) => XRealIp,
            Some((_, UserAgent)) | None => Other,
            Some(_) => Lookalike,
        }
    }
}

/// Whether two names are the same to programs that read `-` as `_` and ignore case.
pub fn is_same(name: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == other.len() && name.iter().map(folded).eq(other.iter().map(folded))
}

/// Whether `text` is this word, ignoring case. `lower` is in lower case, letters and hyphens, of 2 to 16 bytes;
/// `text` has no control bytes.
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

    /// Those of both sets.
    pub const fn with(self, others: Names) -> Names {
        Names(self.0 | others.0)
    }

    pub const fn has(self, name: Name) -> bool {
        self.0 & 1 << name as u32 != 0
    }

    /// Whether the sets intersect.
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
    fn every_tagged_name_is_recognised_in_any_case_and_similar_names_are_not() {
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
            ("Proxy", Name::Proxy),
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
            ("X-Real-IP", Name::XRealIp),
            ("X-Request-ID", Name::XRequestId),
        ] {
            assert_eq!(Name::of(text.as_bytes()), tag, "{text}");
            let mut near = text.as_bytes().to_vec();
            *near.last_mut().unwrap() ^= 1;
            let other = if text.starts_with("X-Forwarded-") { XForwardedOther } else { Other };
            assert_eq!(Name::of(&near), other, "{text}");
        }
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn a_known_name_with_any_mix_of_underscores_is_a_lookalike() {
        for name in [
            "X_Forwarded_For",
            "x-forwarded_for",
            "X_FORWARDED-HOST",
            "x_forwarded_proto",
            "X_Request_ID",
            "Content_Length",
            "transfer_Encoding",
            "Keep_Alive",
            "Proxy_Connection",
            "Max_Forwards",
        ] {
            assert_eq!(Name::of(name.as_bytes()), Lookalike, "{name}");
        }
        for name in
            ["Y_Forwarded_For", "X_", "x_forwarde__proto", "User_Agent", "Content_Type", "Content_Length_"]
        {
            assert_eq!(Name::of(name.as_bytes()), Other, "{name}");
        }
        assert_eq!(Name::of(b"x_real-IP"), XRealIp);
    }

    #[test]
    fn other_names_that_begin_with_x_forwarded_are_tagged_at_any_length() {
        for name in ["X-Forwarded-Port", "x_forwarded_server", "X-Forwarded-Fox", "X-Forwarded-For_"] {
            assert_eq!(Name::of(name.as_bytes()), XForwardedOther, "{name}");
        }
        for len in 1..300 {
            let name = format!("X-forwarded-{}", "a".repeat(len));
            assert_eq!(Name::of(name.as_bytes()), XForwardedOther, "{name}");
            let name = format!("X-forwarder-{}", "a".repeat(len));
            assert_eq!(Name::of(name.as_bytes()), Other, "{name}");
        }
        for name in ["X-Forwarded", "X-Forwarded-", "X-Requested-With", "X-Amzn-Trace-Id"] {
            assert_eq!(Name::of(name.as_bytes()), Other, "{name}");
        }
    }

    #[test]
    fn every_byte_of_a_name_is_compared() {
        for name in ["transfer-encoding", "X-Forwarded-Proto", "content-length", "upgrade", "via", "te"] {
            for at in 0..name.len() {
                let mut near = name.as_bytes().to_vec();
                near[at] = b'z';
                let tag = Name::of(&near);
                assert!(matches!(tag, Other | XForwardedOther), "{name} at {at}: {tag:?}");
            }
        }
    }

    #[test]
    fn a_word_is_recognised_in_any_case_and_nothing_else_is() {
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
    fn a_set_contains_what_was_added() {
        let mut names = Names::of(&[Te, Upgrade]);
        assert!(names.has(Te) && !names.has(Via) && !names.meets(Names::of(&[Via])));
        names.add(Via);
        assert!(names.meets(Names::of(&[Via, Host])));
    }
}
