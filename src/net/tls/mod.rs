//! TLS over a transport: `session` adapts rustls, `stream` is the filter.

mod session;
mod stream;
#[cfg(test)]
mod tests;

pub use session::{TlsInfo, is_refused_certificate};
pub use stream::Tls;
