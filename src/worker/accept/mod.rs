//! New clients: taken from the listeners, let in, and known by their PROXY header where they come through a proxy.

pub(crate) mod acceptor;
pub(crate) mod admission;
pub(crate) mod proxy_header;
