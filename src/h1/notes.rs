//! What the fields of one head say that rsp must understand.
//!
//! Each field is noted for itself, in their order; what the notes mean together is decided by the tables in
//! `framing` and `options`.

use super::framing::Lengths;
use super::options::Options;
use super::target;
use crate::http::{Fault, Fields, Name, Names, Version};

const NOTED: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Connection, Name::Upgrade, Name::Host]);

#[derive(Default)]
pub(super) struct Notes {
    pub(super) lengths: Lengths,
    pub(super) options: Options,
    hosts: usize,
    /// The first field that has no reading at all.
    fault: Option<Fault>,
}

impl Notes {
    pub(super) fn of(fields: &Fields) -> Notes {
        let mut notes = Notes::default();
        for field in fields.list().iter().filter(|field| NOTED.has(field.tag)) {
            notes.note(field.tag, fields.text(field.value));
        }
        notes
    }

    #[inline(never)]
    fn note(&mut self, tag: Name, value: &[u8]) {
        match tag {
            Name::ContentLength => self.note_content_length(value),
            Name::TransferEncoding => self.lengths.note_transfer_encoding(value),
            Name::Connection => self.options.note_connection(value),
            Name::Upgrade => self.options.note_upgrade(value),
            Name::Host => self.note_host(value),
            _ => {}
        }
    }

    fn note_content_length(&mut self, value: &[u8]) {
        if let Err(fault) = self.lengths.note_content_length(value) {
            self.fault.get_or_insert(fault);
        }
    }

    /// A malformed Host counts as too many of them, so that one check judges all.
    fn note_host(&mut self, value: &[u8]) {
        self.hosts += if target::is_authority(value) { 1 } else { 2 };
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
