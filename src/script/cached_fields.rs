//! The fields of a request that most handlers ask for. Their strings are kept from request to request
//! (ffi/string_cache.rs), so here is what has to be the same for the string to be the same.

use super::request::Subject;
use crate::http::Name;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quick {
    Host,
    Path,
    Method,
}

impl Quick {
    pub const ALL: [Quick; 3] = [Quick::Host, Quick::Path, Quick::Method];

    pub fn name(self) -> &'static str {
        match self {
            Quick::Host => "host",
            Quick::Path => "path",
            Quick::Method => "method",
        }
    }

    /// The field's text itself; for the host, which `request::read` makes of it, the value of the `Host` line.
    pub fn text<'a>(self, subject: &'a Subject<'_>) -> &'a [u8] {
        match self {
            Quick::Host => subject.head.fields.get(Name::Host).unwrap_or_default(),
            Quick::Path => subject.head.path(),
            Quick::Method => subject.head.method_text(),
        }
    }
}
