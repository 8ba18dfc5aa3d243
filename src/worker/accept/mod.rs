//! New client connections: accepting, admission, PROXY headers, TLS handshakes and hellos.

pub(crate) mod acceptor;
pub(crate) mod admission;
pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod proxy_header;
