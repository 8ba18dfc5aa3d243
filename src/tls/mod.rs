//! Floor 1: TLS without sockets: certificates and which of them a client gets, tickets, and what rustls is told for the
//! connections of a listener or to a server. Files are read elsewhere; here they are bytes.
//!
//! - `certificate` one certificate with its key: names, dates
//! - `ocsp`        whether an OCSP response is about it
//! - `choice`      the certificates of a listener, and the one for a ClientHello
//! - `authorities` by which certificates of the other side are verified
//! - `clients`     certificates of clients: subject, and the end of sessions that began with one
//! - `tickets`     seals and opens session tickets
//! - `ticket_keys` their keys
//! - `server`      the side of a listener
//! - `client`      the side towards a server
//! - `hello`       what a client says first, where its connection is passed through

mod authorities;
mod certificate;
mod choice;
mod client;
mod clients;
mod hello;
mod ocsp;
mod server;
#[cfg(test)]
pub(crate) mod tests;
mod ticket_keys;
mod tickets;

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs as cryptography};
use rustls::version::{TLS12, TLS13};

pub use authorities::Authorities;
pub use certificate::{Certificate, Expiry, Problem};
pub use choice::{Certificates, without_dot};
pub use client::{Client, ClientOptions, Verify};
pub use clients::subject;
pub use hello::{Alert, ClientHello, HELLO_MAX, HelloFault, speaks_http};
pub use server::{ClientAuth, Server, ServerOptions};
pub use ticket_keys::{RandomKeys, TicketKeys};
pub use tickets::TicketTime;

/// The lowest version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

static FROM_12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static FROM_13: &[&SupportedProtocolVersion] = &[&TLS13];

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            MinVersion::Tls12 => FROM_12,
            MinVersion::Tls13 => FROM_13,
        }
    }
}

/// Identifies all that a `Server` or `Client` was made of: equal ones behave the same.
pub type Fingerprint = [u8; 32];

/// The cryptography, X25519MLKEM768 first.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(cryptography::default_provider()));
    PROVIDER.clone()
}

/// Hashes inputs one after the other, each with its length.
struct Hash(digest::Context);

impl Hash {
    fn new(kind: &str) -> Hash {
        Hash(digest::Context::new(&digest::SHA256)).and(kind.as_bytes())
    }

    fn and(mut self, bytes: &[u8]) -> Hash {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn each<'a>(self, all: impl IntoIterator<Item = &'a [u8]>) -> Hash {
        all.into_iter().fold(self, Hash::and)
    }

    fn finish(self) -> Fingerprint {
        let mut print = [0; 32];
        print.copy_from_slice(self.0.finish().as_ref());
        print
    }
}
