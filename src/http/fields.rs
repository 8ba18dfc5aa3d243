//! Header fields as spans over the bytes they came in.
//!
//! A head is copied once from the input block; fields then point into that copy, so names and values stay byte for
//! byte and in order. A changed or added value is appended to the bytes and the span moved. Names that proxying needs
//! are tagged once, so that later passes compare tags.

mod changes;

use std::fmt;
use std::ops::Range;

use super::name::{Name, Names};

/// A range in the bytes of one `Fields`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub tag: Name,
    /// The line is in the bytes exactly as HTTP/1 serializes it: name, colon, space, value, CR LF.
    pub plain: bool,
    pub name: Span,
    pub value: Span,
}

/// The storage of a head or a trailer section: its bytes and its fields in order.
#[derive(Default, Clone)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
    /// Every tag in the list: absent names need no search.
    names: Names,
    /// `bytes` is no longer exactly the serialized field lines, in order and to its end.
    edited: bool,
}

impl Fields {
    /// Empties the storage. Allocations are kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        (self.names, self.edited) = (Names::default(), false);
    }

    /// Copies `raw`, which the spans of fields given to `add` point into; it ends with the last field's line.
    pub fn take_bytes(&mut self, raw: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(raw);
    }

    /// Adds a field whose spans point into the bytes and whose line starts where the previous one ends.
    pub fn add(&mut self, field: Field) {
        self.names.add(field.tag);
        self.edited |= !field.plain;
        self.list.push(field);
    }

    /// Allocated bytes.
    pub fn footprint(&self) -> usize {
        self.bytes.capacity() + self.list.capacity() * size_of::<Field>()
    }

    pub fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the bytes end with the serialized lines of all fields, in order.
    pub fn is_serialized(&self) -> bool {
        debug_assert!(self.edited || self.ends_with_lines());
        !self.edited
    }

    fn ends_with_lines(&self) -> bool {
        let ends = self.list.iter().map(|field| field.value.end as usize + 2);
        let starts = self.list.iter().skip(1).map(|field| field.name.start as usize);
        let in_order = self.list.is_empty() || ends.eq(starts.chain([self.bytes.len()]));
        in_order && self.list.iter().all(|field| field.plain)
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
        if !self.names.has(tag) {
            return None;
        }
        self.list.iter().find(|f| f.tag == tag).map(|f| self.text(f.value))
    }

    /// All values of a tagged name.
    pub fn values(&self, tag: Name) -> impl Iterator<Item = &[u8]> {
        self.list.iter().filter(move |f| f.tag == tag).map(|f| self.text(f.value))
    }

    /// The elements of the comma-separated list over all fields of a tagged name, without blanks around them.
    pub fn elements(&self, tag: Name) -> impl Iterator<Item = Span> {
        self.list.iter().filter(move |f| f.tag == tag).flat_map(|f| {
            let mut start = f.value.start as usize;
            self.text(f.value).split(|byte| *byte == b',').map(move |element| {
                let first = start + element.len() - element.trim_ascii_start().len();
                start += element.len() + 1;
                Span::new(first, first + element.trim_ascii().len())
            })
        })
    }

    pub fn has(&self, tag: Name) -> bool {
        self.names.has(tag)
    }

    /// Whether one of these names is present.
    pub fn has_any(&self, names: Names) -> bool {
        self.names.meets(names)
    }

    /// First value of any name, whatever its case.
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.position(name).map(|i| self.text(self.list[i].value))
    }

    /// All values of any name, whatever its case.
    pub fn values_by_name<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let named = self.list.iter().filter(|f| self.text(f.name).eq_ignore_ascii_case(name));
        named.map(|f| self.text(f.value))
    }

    /// Becomes the same as `other`. Allocations are kept.
    pub fn copy_from(&mut self, other: &Fields) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.list.clear();
        self.list.extend_from_slice(&other.list);
        (self.names, self.edited) = (other.names, other.edited);
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.list.iter().position(|f| {
            (f.name.end - f.name.start) as usize == name.len() && self.text(f.name).eq_ignore_ascii_case(name)
        })
    }

    /// Appends `bytes` and returns their span.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        self.edited = true;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    /// Appends several pieces as one text and returns its span.
    pub fn store_all(&mut self, pieces: &[&[u8]]) -> Span {
        self.edited = true;
        let start = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        Span::new(start, self.bytes.len())
    }

    /// Appends pieces between two texts that are in the bytes already, as one text, and returns its span.
    pub fn store_between(&mut self, before: Span, pieces: &[&[u8]], after: Span) -> Span {
        self.edited = true;
        let start = self.bytes.len();
        self.bytes.extend_from_within(before.range());
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.extend_from_within(after.range());
        Span::new(start, self.bytes.len())
    }

    /// Adds a field at the end. `name` and `value` must be valid (no CR, LF, NUL): callers check input. It is stored
    /// serialized, so that an encoder can copy adjacent fields in one piece.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.append_tagged(Name::of(name), name, value);
    }

    /// The same with a known tag.
    pub fn append_tagged(&mut self, tag: Name, name: &[u8], value: &[u8]) {
        self.append_pieces(tag, name.len(), [name, b": ", value, b"\r\n"]);
    }

    /// The same for a line in pieces: a name of `name` bytes, colon, space, value, CR LF.
    pub fn append_pieces<const N: usize>(&mut self, tag: Name, name: usize, pieces: [&[u8]; N]) {
        let start = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.add_line(tag, start, name);
    }

    /// The same for a value that is in the bytes already. `name` ends with colon and space.
    pub fn append_copy(&mut self, tag: Name, name: &[u8], value: Span) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_within(value.start as usize..value.end as usize);
        self.bytes.extend_from_slice(b"\r\n");
        self.add_line(tag, start, name.len() - 2);
    }

    /// Adds the field whose line is the end of the bytes.
    fn add_line(&mut self, tag: Name, start: usize, name: usize) {
        let (colon, end) = (start + name, self.bytes.len() - 2);
        // The `CodecNote` of the head no longer tells of all of these.
        self.edited |= matches!(tag, Name::Connection | Name::ContentLength | Name::TransferEncoding);
        self.add(Field { tag, plain: true, name: Span::new(start, colon), value: Span::new(colon + 2, end) });
    }

    /// Appends a piece of what `add_lines` will add. Bytes that it does not cover would be sent all the same.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The same for a piece that is in the bytes already.
    pub fn put_copy(&mut self, piece: Span) {
        self.bytes.extend_from_within(piece.start as usize..piece.end as usize);
    }

    /// Adds the fields whose serialized lines are the end of the bytes: tag, length of the name and length of the
    /// line of each.
    pub fn add_lines<const N: usize>(&mut self, lines: [(Name, usize, usize); N]) {
        let mut start = self.bytes.len() - lines.iter().map(|(.., len)| len).sum::<usize>();
        let fields = lines.map(|(tag, name, len)| {
            debug_assert!(!matches!(tag, Name::Connection | Name::ContentLength | Name::TransferEncoding));
            let (colon, end) = (start + name, start + len - 2);
            self.names.add(tag);
            let field =
                Field { tag, plain: true, name: Span::new(start, colon), value: Span::new(colon + 2, end) };
            start += len;
            field
        });
        self.list.extend_from_slice(&fields);
    }

    /// Adds a field at the front.
    pub fn prepend(&mut self, name: &[u8], value: &[u8]) {
        self.append(name, value);
        self.list.rotate_right(1);
        self.edited = true;
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
        for (name, value) in pairs {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn shown(fields: &Fields) -> String {
        format!("{fields:?}")
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
    fn every_edit_is_noticed_and_appended_lines_are_none() {
        let mut f = fields(&[("Via", "1"), ("TE", "via")]);
        f.put(b"Host: a\r\nVia: ");
        f.put_copy(f.list()[1].value);
        f.put(b"\r\n");
        f.add_lines([(Name::Host, 4, 9), (Name::Via, 3, 10)]);
        f.set(b"New", b"2");
        assert_eq!(shown(&f), r#"{"Via": "1", "TE": "via", "Host": "a", "Via": "via", "New": "2"}"#);
        assert!(f.is_serialized() && f.has(Name::Host));
        let named: Vec<Span> = f.elements(Name::Te).collect();
        let ways: [&dyn Fn(&mut Fields); 8] = [
            &|f| f.set(b"te", b"x"),
            &|f| f.join(Name::Te, b"x"),
            &|f| f.prepend(b"A", b"x"),
            &|f| f.remove(b"te"),
            &|f| f.remove_where(|tag, _| tag == Name::Te),
            &|f| f.remove_named(&named, |_, _| false),
            &|f| {
                f.store(b"x");
            },
            &|f| {
                f.store_all(&[b"x"]);
            },
        ];
        for change in ways {
            let mut f = f.clone();
            change(&mut f);
            assert!(!f.is_serialized());
        }
        f.clear();
        assert!(f.is_serialized());
    }

    #[test]
    fn list_elements_are_found_in_all_fields_and_can_name_fields_to_remove() {
        let mut f = fields(&[
            ("Via", "a,\t bb ,"),
            ("A", "1"),
            ("via", " , c"),
            ("BB", "2"),
            ("C", "3"),
            ("cc", "4"),
        ]);
        let elements: Vec<Span> = f.elements(Name::Via).collect();
        let texts: Vec<&[u8]> = elements.iter().map(|span| f.text(*span)).collect();
        assert_eq!(texts, [&b"a"[..], b"bb", b"", b"", b"c"]);
        f.remove_named(&elements, |tag, _| tag == Name::Via);
        assert_eq!(shown(&f), r#"{"Via": "a,\t bb ,", "via": " , c", "cc": "4"}"#);
    }

    #[test]
    fn lookalikes_of_a_name_are_removed_and_the_name_itself_stays() {
        let mut f =
            fields(&[("X-User", "1"), ("X_User", "2"), ("x_uSER", "3"), ("XxUser", "4"), ("A_B", "5")]);
        f.remove_lookalikes(b"x-user");
        assert_eq!(shown(&f), r#"{"X-User": "1", "XxUser": "4", "A_B": "5"}"#);
        f.remove_lookalikes(b"a_b");
        assert_eq!(f.len(), 3);
        let mut f = fields(&[("X_A-B", "1"), ("X-A_B", "2"), ("X-A-B", "3")]);
        f.remove_lookalikes(b"X_A-B");
        assert_eq!(shown(&f), r#"{"X_A-B": "1", "X-A-B": "3"}"#);
    }

    #[test]
    fn joining_makes_one_field_in_the_place_of_the_first() {
        let mut f = fields(&[("A", "1"), ("Via", "2"), ("B", "3"), ("via", ""), ("VIA", "4, 5"), ("C", "6")]);
        f.join(Name::Via, b"7");
        assert_eq!(shown(&f), r#"{"A": "1", "Via": "2, 4, 5, 7", "B": "3", "C": "6"}"#);
        f.join(Name::Te, b"8");
        assert_eq!(f.len(), 4);
    }

    #[test]
    fn removed_fields_are_not_found() {
        let all = fields(&[("Via", "1"), ("TE", "via"), ("Host", "a")]);
        let named: Vec<Span> = all.elements(Name::Te).collect();
        let ways: [&dyn Fn(&mut Fields); 3] =
            [&|f| f.remove(b"via"), &|f| f.remove_where(|tag, _| tag == Name::Via), &|f| {
                f.remove_named(&named, |_, _| false)
            }];
        for remove in ways {
            let mut f = all.clone();
            remove(&mut f);
            assert!(!f.has(Name::Via) && f.has(Name::Te) && f.has(Name::Host));
            assert!(!f.has_any(Names::of(&[Name::Via, Name::Date])));
        }
    }
}
