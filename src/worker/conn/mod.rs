//! One connection, client or backend: socket and buffers, storage, closing.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod linger;
pub(crate) mod table;
pub(crate) mod write_body;
