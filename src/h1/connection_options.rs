//! The options of Connection, and the request to upgrade.

use super::grammar::{is_token, list};
use crate::http::{Fault, MOST_OPTIONS, Version, is_word};

#[derive(Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// An option that is not one of the usual ones.
    other: bool,
    /// Number of options, empty ones included: they cost the same.
    count: usize,
    /// Number of Upgrade fields, whether the last one names one protocol, and whether that is `websocket`.
    upgrades: u8,
    one_protocol: bool,
    websocket: bool,
}

impl Options {
    pub(super) fn note_connection(&mut self, value: &[u8]) {
        // The usual value.
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
            0 => {}
            2 if is_word(option, b"te") => {}
            5 if is_word(option, b"close") => self.close = true,
            7 if is_word(option, b"upgrade") => self.upgrade = true,
            10 if is_word(option, b"keep-alive") => self.keep_alive = true,
            _ => self.other = true,
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.count > MOST_OPTIONS { Err(Fault::TooManyOptions) } else { Ok(()) }
    }

    pub(super) fn note_upgrade(&mut self, value: &[u8]) {
        self.upgrades = self.upgrades.saturating_add(1);
        self.one_protocol = is_protocol(value);
        self.websocket = value.eq_ignore_ascii_case(b"websocket");
    }

    /// Whether Connection nominates hop-by-hop fields (RFC 9110 section 7.6.1) beyond those that are removed anyway.
    pub(super) fn nominate(&self) -> bool {
        self.other
    }

    /// RFC 9112 section 9.3: `close` wins, 1.1 stays open, 1.0 stays open only with `keep-alive`.
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Exactly one Upgrade with one protocol, with `upgrade` in Connection, and never in 1.0 (RFC 9110 section 7.8).
    /// The same holds for a 101.
    pub(super) fn wants_upgrade(&self, version: Version) -> bool {
        self.upgrade && self.one_protocol && self.upgrades == 1 && version == Version::Http11
    }

    pub(super) fn names_websocket(&self) -> bool {
        self.websocket
    }
}

/// `protocol-name ["/" protocol-version]`
fn is_protocol(value: &[u8]) -> bool {
    match memchr::memchr(b'/', value) {
        Some(at) => is_token(&value[..at]) && is_token(&value[at + 1..]),
        None => is_token(value),
    }
}
