//! Connections to servers: dialing, retrying, releasing.

pub(crate) mod checks;
pub(crate) mod connect;
pub(crate) mod dedicated;
pub(crate) mod dial;
pub(crate) mod idle;
pub(crate) mod outcome;
pub(crate) mod queue;
pub(crate) mod release;
