//! A connection to a server: getting one, getting another one, giving it back.

pub(crate) mod dedicated;
pub(crate) mod dial;
pub(crate) mod redial;
pub(crate) mod release;
