//! The fields of a head that rsp must understand.
//!
//! Each field is noted by itself, in order; what the notes mean together is decided by `framing` and
//! `connection_options`.

use super::connection_options::Options;
use super::framing::BodyLength;
use super::{own_lines, target};
use crate::http::{CodecNote, Fault, Field, Fields, Name, Names, Span, Version};

const NOTED: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Connection, Name::Upgrade, Name::Host]);

#[derive(Default)]
pub(super) struct UnderstoodFields {
    pub(super) lengths: BodyLength,
    pub(super) options: Options,
    hosts: usize,
    /// The last Connection line, and whether it or the length are not of the usual form (`own_lines`).
    connection: Span,
    unusual: bool,
    /// The first malformed field.
    fault: Option<Fault>,
}

impl UnderstoodFields {
    pub(super) fn of(fields: &Fields) -> UnderstoodFields {
        let mut notes = UnderstoodFields::default();
        for field in fields.list().iter().filter(|field| NOTED.has(field.tag)) {
            notes.note(field, fields.text(field.value));
        }
        notes
    }

    fn note(&mut self, field: &Field, value: &[u8]) {
        match field.tag {
            Name::ContentLength => self.note_content_length(value),
            Name::TransferEncoding => {
                self.unusual = true;
                self.lengths.note_transfer_encoding(value);
            }
            Name::Connection => {
                self.unusual |= !self.connection.is_empty();
                self.connection = Span { start: field.name.start, end: field.value.end + 2 };
                self.options.note_connection(value);
            }
            Name::Upgrade => self.options.note_upgrade(value),
            Name::Host => self.note_host(value),
            _ => {}
        }
    }

    fn note_content_length(&mut self, value: &[u8]) {
        // A longer one does not fit the note.
        self.unusual |= matches!(value, [b'0', _, ..]) || value.len() > 9;
        if let Err(fault) = self.lengths.note_content_length(value) {
            self.fault.get_or_insert(fault);
        }
    }

    /// A malformed Host counts as a duplicate, so that one check handles both.
    fn note_host(&mut self, value: &[u8]) {
        self.hosts += if target::is_authority(value) { 1 } else { 2 };
    }

    pub(super) fn own_lines(&self) -> CodecNote {
        match self.unusual {
            false => own_lines::note_usual(self.connection, self.lengths.length()),
            true => CodecNote::NONE,
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        self.fault.map_or(Ok(()), Err)?;
        self.options.check()
    }

    /// RFC 9112 section 3.2: one Host in 1.1, at most one in 1.0.
    pub(super) fn check_host(&self, version: Version) -> Result<(), Fault> {
        match (version, self.hosts) {
            (_, 1) | (Version::Http10, 0) => Ok(()),
            _ => Err(Fault::Host),
        }
    }
}
