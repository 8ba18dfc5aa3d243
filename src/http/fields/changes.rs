//! Changing and removing fields.
//!
//! Bytes are never moved: a new value is appended, and removed lines stay without a field that points to them. So
//! every change here marks the fields as edited.

use super::{Field, Fields, Span};
use crate::http::{Name, Names, is_same};

impl Fields {
    /// Sets the first field of this name and removes the others; appends the field if there is none.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.position(name) {
            None => self.append(name, value),
            Some(first) => {
                let value = self.store(value);
                self.list[first] = Field { plain: false, value, ..self.list[first] };
                let (bytes, mut at) = (&self.bytes, 0..);
                let is_other =
                    |f: &Field| !bytes[f.name.start as usize..f.name.end as usize].eq_ignore_ascii_case(name);
                self.list.retain(|f| at.next() <= Some(first) || is_other(f));
            }
        }
    }

    /// Removes every field whose name differs but is the same to programs that read `-` as `_`, so that a client
    /// cannot supply this field in another spelling.
    pub fn remove_lookalikes(&mut self, name: &[u8]) {
        let bytes = &self.bytes;
        let is_lookalike = |f: &Field| {
            let other = &bytes[f.name.start as usize..f.name.end as usize];
            other.contains(&b'_') && is_same(other, name) && !other.eq_ignore_ascii_case(name)
        };
        let before = self.list.len();
        self.list.retain(|f| !is_lookalike(f));
        if self.list.len() < before {
            self.note_names();
        }
    }

    /// Joins all fields with this tag into the first one: their values in order, then `more`, separated by ", " (RFC
    /// 9110 section 5.3). Does nothing if there are none.
    pub fn join(&mut self, tag: Name, more: &[u8]) {
        let Some(first) = self.list.iter().position(|f| f.tag == tag) else { return };
        let start = self.bytes.len();
        self.edited = true;
        for field in self.list.iter().filter(|f| f.tag == tag && !f.value.is_empty()) {
            self.bytes.extend_from_within(field.value.start as usize..field.value.end as usize);
            self.bytes.extend_from_slice(b", ");
        }
        self.bytes.extend_from_slice(more);
        let value = Span::new(start, self.bytes.len());
        self.list[first] = Field { plain: false, value, ..self.list[first] };
        let mut at = 0..;
        self.list.retain(|f| at.next() == Some(first) || f.tag != tag);
    }

    /// Removes every field of this name, whatever its case.
    pub fn remove(&mut self, name: &[u8]) {
        self.remove_where(|_, other| other.eq_ignore_ascii_case(name));
    }

    /// Removes every field whose name equals the bytes of one of these spans, ignoring case, unless it is to be kept.
    pub fn remove_named(&mut self, names: &[Span], is_kept: impl Fn(Name, &[u8]) -> bool) {
        let text = |span: Span| &self.bytes[span.start as usize..span.end as usize];
        let named = |name: Span| names.iter().any(|n| text(*n).eq_ignore_ascii_case(text(name)));
        self.list.retain(|f| is_kept(f.tag, text(f.name)) || !named(f.name));
        self.note_names();
    }

    /// Removes every field for which `drop` returns true.
    pub fn remove_where(&mut self, mut drop: impl FnMut(Name, &[u8]) -> bool) {
        let bytes = &self.bytes;
        self.list.retain(|f| !drop(f.tag, &bytes[f.name.start as usize..f.name.end as usize]));
        self.note_names();
    }

    /// Recomputes the tags after a removal.
    fn note_names(&mut self) {
        (self.names, self.edited) = (Names::default(), true);
        for field in &self.list {
            self.names.add(field.tag);
        }
    }
}
