//! What changes or removes fields that are there.
//!
//! The bytes are never moved: a new value is written behind them, and what was removed stays where no field points.
//! So each of these leaves lines that are no longer one straight piece, and says so.

use super::{Field, Fields, Span};
use crate::http::{Name, Names};

impl Fields {
    /// Gives the first field of this name a new value, in its place, and removes the others; appends the field if
    /// there is none.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.position(name) {
            None => self.append(name, value),
            Some(first) => {
                let value = self.store(value);
                self.list[first] = Field { plain: false, value, ..self.list[first] };
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
        while let Some(at) = self.position(name) {
            self.list.remove(at);
        }
        self.note_names();
    }

    /// Removes every field whose name stands in the bytes at one of these places, whatever its case, if its tag is
    /// not one to be kept.
    pub fn remove_named(&mut self, names: &[Span], is_kept: impl Fn(Name) -> bool) {
        let text = |span: Span| &self.bytes[span.start as usize..span.end as usize];
        let named = |name: Span| names.iter().any(|n| text(*n).eq_ignore_ascii_case(text(name)));
        self.list.retain(|f| is_kept(f.tag) || !named(f.name));
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
