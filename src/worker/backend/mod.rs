//! Connections to servers: dialing, retrying, releasing.

pub(crate) mod dedicated;
pub(crate) mod dial;
pub(crate) mod redial;
pub(crate) mod release;
