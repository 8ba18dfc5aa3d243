//! Request fields that most handlers read. Their Lua strings are cached across requests (ffi/string_cache.rs) by the
//! text returned here.

use super::request::Subject;
use crate::http::Name;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CachedField {
    Host,
    Path,
    Method,
}

impl CachedField {
    pub const ALL: [CachedField; 3] = [CachedField::Host, CachedField::Path, CachedField::Method];

    pub fn name(self) -> &'static str {
        match self {
            CachedField::Host => "host",
            CachedField::Path => "path",
            CachedField::Method => "method",
        }
    }

    /// The text that identifies the field's value; for the host, whose value `request::read` derives, the `Host`
    /// line.
    pub fn text<'a>(self, subject: &'a Subject<'_>) -> &'a [u8] {
        match self {
            CachedField::Host => subject.head.fields.get(Name::Host).unwrap_or_default(),
            CachedField::Path => subject.head.path(),
            CachedField::Method => subject.head.method_text(),
        }
    }
}
