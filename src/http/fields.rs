//! Header fields as spans over the bytes they came in.
//!
//! A head is copied once out of the input block and from then on is only pointed into: names and values stay
//! byte for byte and in order. A changed or added value is written behind the original bytes and the span
//! moved. Names that proxying has to look at are recognised once and tagged, so later passes compare tags.

use std::fmt;

/// A piece of the bytes of one `Fields`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

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

impl Name {
    /// The tag of a field name, whatever its case.
    pub fn of(name: &[u8]) -> Name {
        use Name::*;
        let candidate: (&[u8], Name) = match name.len() {
            2 => (b"te", Te),
            3 => (b"via", Via),
            4 => match name[0] | 0x20 {
                b'h' => (b"host", Host),
                b'd' => (b"date", Date),
                _ => return Other,
            },
            6 => match name[0] | 0x20 {
                b'c' => (b"cookie", Cookie),
                b'e' => (b"expect", Expect),
                _ => return Other,
            },
            7 => match name[0] | 0x20 {
                b'u' => (b"upgrade", Upgrade),
                b't' => (b"trailer", Trailer),
                b'r' => (b"referer", Referer),
                _ => return Other,
            },
            9 => (b"forwarded", Forwarded),
            10 => match name[0] | 0x20 {
                b'c' => (b"connection", Connection),
                b'k' => (b"keep-alive", KeepAlive),
                b'u' => (b"user-agent", UserAgent),
                _ => return Other,
            },
            12 => match name[0] | 0x20 {
                b'm' => (b"max-forwards", MaxForwards),
                b'x' => (b"x-request-id", XRequestId),
                _ => return Other,
            },
            14 => (b"content-length", ContentLength),
            15 => (b"x-forwarded-for", XForwardedFor),
            16 => match name[0] | 0x20 {
                b'p' => (b"proxy-connection", ProxyConnection),
                b'x' => (b"x-forwarded-host", XForwardedHost),
                _ => return Other,
            },
            17 => match name[0] | 0x20 {
                b't' => (b"transfer-encoding", TransferEncoding),
                b'x' => (b"x-forwarded-proto", XForwardedProto),
                _ => return Other,
            },
            _ => return Other,
        };
        if name.eq_ignore_ascii_case(candidate.0) { candidate.1 } else { Other }
    }

    /// Whether the field says how the message is framed or belongs to the connection, so that only rsp writes it.
    pub fn is_read_only(self) -> bool {
        matches!(self, Name::ContentLength | Name::TransferEncoding | Name::Connection | Name::Upgrade)
    }
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub tag: Name,
    pub name: Span,
    pub value: Span,
}

/// The storage of a head or a trailer section: its bytes and its fields in order.
#[derive(Default, Clone)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
}

impl Fields {
    /// Empties the storage and takes a copy of `raw`, into which fields will point. Allocations are kept.
    pub fn start(&mut self, raw: &[u8]) {
        self.bytes.clear();
        self.list.clear();
        self.bytes.extend_from_slice(raw);
    }

    pub fn clear(&mut self) {
        self.start(&[]);
    }

    /// What the storage keeps allocated, in bytes.
    pub fn footprint(&self) -> usize {
        self.bytes.capacity() + self.list.capacity() * size_of::<Field>()
    }

    pub fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a field that stands at these spans of the raw bytes.
    pub fn push_span(&mut self, name: Span, value: Span) -> Name {
        let tag = Name::of(self.text(name));
        self.list.push(Field { tag, name, value });
        tag
    }

    pub fn list(&self) -> &[Field] {
        &self.list
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.list.iter().map(|f| (f.tag, self.text(f.name), self.text(f.value)))
    }

    /// First value of a tagged name.
    pub fn get(&self, tag: Name) -> Option<&[u8]> {
        debug_assert!(tag != Name::Other);
        self.list.iter().find(|f| f.tag == tag).map(|f| self.text(f.value))
    }

    pub fn has(&self, tag: Name) -> bool {
        self.list.iter().any(|f| f.tag == tag)
    }

    /// First value of any name, whatever its case.
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.position(name).map(|i| self.text(self.list[i].value))
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.list.iter().position(|f| {
            (f.name.end - f.name.start) as usize == name.len() && self.text(f.name).eq_ignore_ascii_case(name)
        })
    }

    /// Writes `bytes` behind what is there and says where.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    /// Writes several pieces behind what is there as one text and says where.
    pub fn store_all(&mut self, pieces: &[&[u8]]) -> Span {
        let start = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        Span::new(start, self.bytes.len())
    }

    /// Adds a field at the end. `name` and `value` must be valid (no CR, LF, NUL): callers check input. It is stored
    /// as it goes out in HTTP/1, so that an encoder can copy fields that stand together in one piece.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let line = self.store_all(&[name, b": ", value, b"\r\n"]);
        let (start, end) = (line.start as usize, line.end as usize);
        self.push_span(Span::new(start, start + name.len()), Span::new(end - 2 - value.len(), end - 2));
    }

    /// Adds a field at the front.
    pub fn prepend(&mut self, name: &[u8], value: &[u8]) {
        self.append(name, value);
        self.list.rotate_right(1);
    }

    /// Gives the first field of this name a new value, in its place, and removes the others; appends the field if
    /// there is none.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.position(name) {
            None => self.append(name, value),
            Some(first) => {
                let span = self.store(value);
                self.list[first].value = span;
                let mut at = first + 1;
                while at < self.list.len() {
                    if self.text(self.list[at].name).eq_ignore_ascii_case(name) {
                        self.list.remove(at);
                    } else {
                        at += 1;
                    }
                }
            }
        }
    }

    /// Makes one field, in the place of the first, of all that have this tag: their values in order, `more` behind
    /// them, with ", " between (RFC 9110 section 5.3). Does nothing where there is none.
    pub fn join(&mut self, tag: Name, more: &[u8]) {
        let Some(first) = self.list.iter().position(|f| f.tag == tag) else { return };
        let start = self.bytes.len();
        for field in self.list.iter().filter(|f| f.tag == tag && !f.value.is_empty()) {
            self.bytes.extend_from_within(field.value.start as usize..field.value.end as usize);
            self.bytes.extend_from_slice(b", ");
        }
        self.bytes.extend_from_slice(more);
        self.list[first].value = Span::new(start, self.bytes.len());
        let mut at = 0..;
        self.list.retain(|f| at.next() == Some(first) || f.tag != tag);
    }

    /// Removes every field of this name, whatever its case.
    pub fn remove(&mut self, name: &[u8]) {
        while let Some(at) = self.position(name) {
            self.list.remove(at);
        }
    }

    /// Removes every field for which `drop` says so.
    pub fn remove_where(&mut self, mut drop: impl FnMut(Name, &[u8]) -> bool) {
        let bytes = &self.bytes;
        self.list.retain(|f| !drop(f.tag, &bytes[f.name.start as usize..f.name.end as usize]));
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map().entries(self.iter().map(|(_, n, v)| (text(n), text(v)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        fields.start(b"");
        for (name, value) in pairs {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn shown(fields: &Fields) -> String {
        format!("{fields:?}")
    }

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
    fn setting_replaces_in_place_and_removes_the_other_values() {
        let mut f = fields(&[("A", "1"), ("b", "2"), ("B", "3"), ("C", "4")]);
        f.set(b"B", b"new");
        assert_eq!(shown(&f), r#"{"A": "1", "b": "new", "C": "4"}"#);
        f.set(b"D", b"5");
        assert_eq!(shown(&f), r#"{"A": "1", "b": "new", "C": "4", "D": "5"}"#);
        f.remove(b"a");
        f.prepend(b"First", b"0");
        assert_eq!(shown(&f), r#"{"First": "0", "b": "new", "C": "4", "D": "5"}"#);
        assert_eq!(f.get_by_name(b"c"), Some(&b"4"[..]));
    }

    #[test]
    fn joining_makes_one_field_in_the_place_of_the_first() {
        let mut f = fields(&[("A", "1"), ("Via", "2"), ("B", "3"), ("via", ""), ("VIA", "4, 5"), ("C", "6")]);
        f.join(Name::Via, b"7");
        assert_eq!(shown(&f), r#"{"A": "1", "Via": "2, 4, 5, 7", "B": "3", "C": "6"}"#);
        f.join(Name::Te, b"8");
        assert_eq!(f.len(), 4);
    }
}
