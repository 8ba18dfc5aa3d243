//! TLS of a listener.

use std::sync::Arc;

use super::certificate_files::{CertificateFiles, Stamp};
use crate::tls::Server;

/// A listener that ends TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerTls {
    pub server: Arc<Server>,
    /// Where its certificates come from, in order.
    pub certificates: Vec<CertificateFiles>,
    pub seen: SeenFiles,
    /// The files are read again when they change.
    pub watch: bool,
    /// Secrets of sessions are written to the file that SSLKEYLOGFILE names.
    pub keylog: bool,
    /// Set to the subject of a verified client certificate in requests.
    pub client_header: Option<String>,
    /// `max-age` of Strict-Transport-Security (RFC 6797), in seconds.
    pub hsts: Option<u64>,
}

/// The files of the certificates as they were before they were read. What is in them makes two configs differ, not this.
#[derive(Clone, Default, Debug)]
pub struct SeenFiles(pub Arc<[Stamp]>);

impl PartialEq for SeenFiles {
    fn eq(&self, _: &SeenFiles) -> bool {
        true
    }
}

impl Eq for SeenFiles {}
