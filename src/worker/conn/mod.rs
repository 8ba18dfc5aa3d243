//! One connection of either side: its socket and buffers, where it is kept, how it is closed.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod linger;
pub(crate) mod table;
pub(crate) mod write_body;
