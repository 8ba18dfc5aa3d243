//! What a head says about its connection: the options in Connection, and a wish to upgrade.

use super::grammar::list;
use crate::http::{Fault, Fields, MOST_OPTIONS, Name, Version, is_word};

/// Whether Connection names fields of this hop, besides the options that nearly every client sends.
pub(super) fn names_fields(fields: &Fields) -> bool {
    let usual: [&[u8]; 5] = [b"", b"close", b"keep-alive", b"te", b"upgrade"];
    fields
        .values(Name::Connection)
        .any(|value| list(value).any(|option| !usual.iter().any(|u| option.eq_ignore_ascii_case(u))))
}

#[derive(Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// How many options there were, empty ones included: they cost the same.
    count: usize,
    /// How many Upgrade fields there were, and whether the last one said `websocket` alone.
    protocols: u8,
    websocket: bool,
}

impl Options {
    pub(super) fn note_connection(&mut self, value: &[u8]) {
        // What nearly everybody sends.
        if is_word(value, b"keep-alive") {
            self.keep_alive = true;
            self.count += 1;
        } else {
            self.note_options(value);
        }
    }

    #[inline(never)]
    fn note_options(&mut self, value: &[u8]) {
        for option in list(value) {
            self.note_option(option);
            self.count += 1;
            if self.count > MOST_OPTIONS {
                return;
            }
        }
    }

    fn note_option(&mut self, option: &[u8]) {
        match option.len() {
            5 => self.close |= is_word(option, b"close"),
            7 => self.upgrade |= is_word(option, b"upgrade"),
            10 => self.keep_alive |= is_word(option, b"keep-alive"),
            _ => {}
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.count > MOST_OPTIONS { Err(Fault::TooManyOptions) } else { Ok(()) }
    }

    pub(super) fn note_upgrade(&mut self, value: &[u8]) {
        self.protocols = self.protocols.saturating_add(1);
        self.websocket = value.eq_ignore_ascii_case(b"websocket");
    }

    /// RFC 9112 section 9.3: `close` wins, 1.1 stays open, 1.0 stays open if it asks for it.
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Exactly `Upgrade: websocket`, named in Connection, and never from 1.0 (RFC 9110 section 7.8): in a request
    /// the wish, in a 101 the consent.
    pub(super) fn wants_websocket(&self, version: Version) -> bool {
        self.upgrade && self.websocket && self.protocols == 1 && version == Version::Http11
    }
}
