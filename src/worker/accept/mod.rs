//! New client connections: accepting, admission, PROXY headers.

pub(crate) mod acceptor;
pub(crate) mod admission;
pub(crate) mod proxy_header;
