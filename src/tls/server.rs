//! What rustls is told for the connections of a listener.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::server::NoServerSessionStorage;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{KeyLog, KeyLogFile, ServerConfig};

use super::clients::verifier;
use super::tickets::Tickets;
use super::{
    Authorities, Certificate, Certificates, Fingerprint, Hash, MinVersion, Problem, TicketKeys, provider,
};

pub struct ServerOptions<'a> {
    /// The listener's name.
    pub name: &'a str,
    /// At least one; the first is the default.
    pub certificates: Vec<Certificate>,
    pub min_version: MinVersion,
    pub client_auth: Option<ClientAuth<'a>>,
    pub tickets: TicketKeys,
    /// Secrets of sessions are written to the file that SSLKEYLOGFILE names.
    pub keylog: bool,
}

/// Client certificates.
pub struct ClientAuth<'a> {
    pub ca: &'a Authorities,
    /// A client without one is refused.
    pub required: bool,
}

/// The side of a listener.
pub struct Server {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    print: Fingerprint,
}

impl Server {
    pub fn new(options: ServerOptions<'_>) -> Result<Server, Problem> {
        Server::with_clock(options, Arc::new(DefaultTimeProvider))
    }

    pub(crate) fn with_clock(
        options: ServerOptions<'_>,
        time: Arc<dyn TimeProvider>,
    ) -> Result<Server, Problem> {
        let (print, of_clients) = (options.print(), options.client_auth.is_some());
        let binding = options.binding();
        let ServerOptions { certificates, min_version, client_auth, tickets, keylog, .. } = options;
        let builder = ServerConfig::builder_with_details(provider(), time.clone())
            .with_protocol_versions(min_version.versions())
            .map_err(|error| Problem::new("min_version", error.to_string()))?;
        let builder = match client_auth {
            None => builder.with_no_client_auth(),
            Some(ClientAuth { ca, required }) => builder.with_client_cert_verifier(verifier(ca, required)?),
        };
        let certificates = Arc::new(Certificates::new(certificates, time.clone()));
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.ticketer = Arc::new(Tickets::new(tickets, binding, of_clients, time));
        // Sessions live in tickets; a client that knows none makes a full handshake.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // All suites are good ones; the order is ours, as scanners want it.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if keylog {
            config.key_log = Arc::new(LazyKeyLog::default());
        }
        Ok(Server { config: Arc::new(config), certificates, print })
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

impl ServerOptions<'_> {
    /// What a session must not be resumed across. Not the certificates: a renewal keeps sessions.
    fn binding(&self) -> Fingerprint {
        let hash = Hash::new("listener").and(self.name.as_bytes());
        match &self.client_auth {
            None => hash.and(b"anybody"),
            Some(auth) => hash.and(if auth.required { b"required" } else { b"optional" }).and(&auth.ca.print),
        }
        .finish()
    }

    fn print(&self) -> Fingerprint {
        Hash::new("server")
            .and(&self.binding())
            .each(self.certificates.iter().map(|one| &one.print[..]))
            .and(&[self.min_version as u8, self.keylog.into()])
            .and(&self.tickets.print())
            .finish()
    }
}

/// The file that SSLKEYLOGFILE names, opened for the first secret: a config is loaded by every worker, and for checks.
#[derive(Default)]
struct LazyKeyLog(OnceLock<KeyLogFile>);

impl KeyLog for LazyKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.get_or_init(KeyLogFile::new).log(label, client_random, secret);
    }
}

impl fmt::Debug for LazyKeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LazyKeyLog")
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Server) -> bool {
        self.print == other.print
    }
}

impl Eq for Server {}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls::Server({:02x?})", &self.print[..4])
    }
}
