//! Authorities by which certificates of servers or clients are verified: of a file, or those of the system.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;

use super::certificate::certificates;
use super::{Fingerprint, Hash};

#[derive(Clone)]
pub struct Authorities {
    pub(super) store: Arc<RootCertStore>,
    pub(super) print: Fingerprint,
}

impl Authorities {
    /// Those of a PEM file.
    pub fn new(pem: &[u8]) -> Result<Authorities, String> {
        let (mut store, mut hash) = (RootCertStore::empty(), Hash::new("authorities"));
        for certificate in certificates(pem)? {
            hash = hash.and(&certificate);
            store.add(certificate).map_err(|error| format!("cannot be used as an authority: {error}"))?;
        }
        Ok(Authorities { store: Arc::new(store), print: hash.finish() })
    }

    /// Reads the system's store (or what SSL_CERT_FILE and SSL_CERT_DIR name).
    pub fn of_system() -> Result<Authorities, String> {
        let found = rustls_native_certs::load_native_certs();
        let print = Hash::new("system").each(found.certs.iter().map(|certificate| &certificate[..])).finish();
        let mut store = RootCertStore::empty();
        // Stores have odd old entries: what can be used is.
        store.add_parsable_certificates(found.certs);
        match (store.is_empty(), found.errors.first()) {
            (false, _) => Ok(Authorities { store: Arc::new(store), print }),
            (true, Some(error)) => Err(error.to_string()),
            (true, None) => Err("no certificate of an authority is installed".into()),
        }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls::Authorities({})", self.store.len())
    }
}
