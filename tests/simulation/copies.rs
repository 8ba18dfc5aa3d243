//! The oracle of copies of requests (`mirror`): a shadow server gets only those that may be copied, not more often than
//! once, but for connections that die, and its responses reach no client.

use crate::plan::{Body, Ledger, Request};

/// The number of the server that gets them.
pub const SHADOW: usize = 3;

/// Instead of the attempt's number, of a copy.
pub const COPY: usize = 1000;

impl Ledger {
    /// The shadow server sees the head of a copy. Gives its attempt.
    pub fn copied(&mut self, id: u64) -> usize {
        let entry = self.entry(id);
        let Request { body, page, inside, kept, .. } = entry.request;
        let has_all = kept || matches!(body, Body::None | Body::Length(0));
        assert!(has_all && page.is_none() && !inside, "a copy of {:?}", entry.request);
        entry.copies += 1;
        // It is sent again where a kept connection dies.
        assert!(entry.copies <= 2, "{} copies of request {id}", entry.copies);
        COPY
    }

    /// A client gets the response of this attempt.
    pub fn got(&mut self, id: u64, attempt: usize) {
        assert!(attempt != COPY, "the response to a copy reached the client");
        self.entry(id).got = Some(attempt);
    }
}
