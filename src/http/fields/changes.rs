//! What changes or removes fields that are there.
//!
//! The bytes are never moved: a new value is written behind them, and what was removed stays where no field points.
//! So each of these leaves lines that are no longer one straight piece, and says so.

use super::{Field, Fields, Span};
use crate::http::{Name, Names, is_same};

impl Fields {
    /// Gives the first field of this name a new value, in its place, and removes the others; appends the field if
    /// there is none.
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

    /// Removes every field with another name that is the same to programs that read `-` as `_`: what is to be said under
    /// this name nobody may have said in another spelling.
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

    /// Makes one field, in the place of the first, of all that have this tag: their values in order, `more` behind
    /// them, with ", " between (RFC 9110 section 5.3). Does nothing where there is none.
    pub fn join(&mut self, tag: Name, more: &[u8]) {
        let Some(first) = self.list.iter().position(|f| f.tag == tag) else { return };
        let start = self.bytes.len();
        self.bent = true;
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

    /// Removes every field whose name stands in the bytes at one of these places, whatever its case, if it is not one
    /// to be kept.
    pub fn remove_named(&mut self, names: &[Span], is_kept: impl Fn(Name, &[u8]) -> bool) {
        let text = |span: Span| &self.bytes[span.start as usize..span.end as usize];
        let named = |name: Span| names.iter().any(|n| text(*n).eq_ignore_ascii_case(text(name)));
        self.list.retain(|f| is_kept(f.tag, text(f.name)) || !named(f.name));
        self.note_names();
    }

    /// Removes every field for which `drop` says so.
    pub fn remove_where(&mut self, mut drop: impl FnMut(Name, &[u8]) -> bool) {
        let bytes = &self.bytes;
        self.list.retain(|f| !drop(f.tag, &bytes[f.name.start as usize..f.name.end as usize]));
        self.note_names();
    }

    /// After fields have gone.
    fn note_names(&mut self) {
        (self.names, self.bent) = (Names::default(), true);
        for field in &self.list {
            self.names.add(field.tag);
        }
    }
}
