//! TLS for tests: an authority, certificates by it as files beside the config, and both sides of a connection.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{SupportedProtocolVersion, version};

use super::client::Client;
use super::directory::Directory;
use super::origin::Origin;

/// PEM of a certificate and its key.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pair {
    /// The certificate as it is sent.
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM").to_vec()
    }

    /// `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Directory, name: &str) {
        directory.write(&format!("{name}.crt"), &self.cert);
        directory.write(&format!("{name}.key"), &self.key);
    }
}

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    /// Its own key, as PEM.
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let secret = key.serialize_pem();
        Authority { issuer: Issuer::new(params, key), pem, key: secret }
    }

    /// For a server with these names (or addresses), with an ECDSA key.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, "server", KeyPair::generate().expect("a key"))
    }

    /// The same with an RSA key.
    pub fn issue_rsa(&self, names: &[&str]) -> Pair {
        self.issue_with(names, "server", KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"))
    }

    /// The same, which ends that many days and half a day from now: an end in exactly a number of days is told as one
    /// more or less, by the second in which it is read.
    pub fn issue_for_days(&self, names: &[&str], days: i64) -> Pair {
        let until = time::OffsetDateTime::now_utc() + time::Duration::days(days) + time::Duration::hours(12);
        self.issue_until(names, "server", KeyPair::generate().expect("a key"), Some(until))
    }

    /// For a client.
    pub fn issue_to(&self, subject: &str) -> Pair {
        self.issue_with(&["client.example"], subject, KeyPair::generate().expect("a key"))
    }

    fn issue_with(&self, names: &[&str], subject: &str, key: KeyPair) -> Pair {
        self.issue_until(names, subject, key, None)
    }

    fn issue_until(
        &self,
        names: &[&str],
        subject: &str,
        key: KeyPair,
        until: Option<time::OffsetDateTime>,
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, subject);
        params.not_after = until.unwrap_or(params.not_after);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A directory with `ca.pem`, and `site.crt` and `site.key` for localhost.
pub fn secured() -> (Directory, Authority) {
    let (directory, authority) = (Directory::new(), Authority::new());
    directory.write("ca.pem", &authority.pem);
    authority.issue(&["localhost", "127.0.0.1"]).write(&directory, "site");
    (directory, authority)
}

fn chain(pair: &Pair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let cert = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).map(|one| one.expect("PEM")).collect();
    (cert, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM"))
}

/// A client that may resume its sessions.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: &'static str,
}

impl TlsClient {
    /// Trusts this authority and expects localhost.
    pub fn new(authority: &Authority) -> TlsClient {
        TlsClient::with(authority, None, &[&version::TLS13, &version::TLS12])
    }

    pub fn with(
        authority: &Authority,
        identity: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        TlsClient::trusting(&authority.pem, identity, versions)
    }

    /// Trusts the authority in this PEM.
    pub fn trusting(
        pem: &str,
        identity: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        roots.add(pem).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity.map(chain) {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder.with_client_auth_cert(cert, key).expect("a pair"),
        };
        TlsClient { config: Arc::new(config), name: "localhost" }
    }

    /// Asks for another name.
    pub fn named(&self, name: &'static str) -> TlsClient {
        TlsClient { config: self.config.clone(), name }
    }

    fn connection(&self) -> ClientConnection {
        let name = ServerName::try_from(self.name).expect("a name");
        ClientConnection::new(self.config.clone(), name).expect("a connection")
    }

    /// A handshake whose first bytes are `hello`.
    pub fn begin(&self, hello: &mut Vec<u8>) -> ClientConnection {
        let mut connection = self.connection();
        connection.write_tls(hello).expect("a vector takes all");
        connection
    }

    /// A connection after its handshake.
    pub fn connect(&self, address: &str) -> Client {
        self.try_on(Client::connect(address)).unwrap_or_else(|error| panic!("no handshake: {error}"))
    }

    /// What it says first.
    pub fn hello(&self) -> Vec<u8> {
        hello_of(&mut self.connection())
    }

    /// Begins TLS on a connection, where `send` has its own way to send the first bytes.
    pub fn try_after(
        &self,
        mut client: Client,
        send: impl FnOnce(&mut Client, &[u8]),
    ) -> std::io::Result<Client> {
        let mut connection = self.connection();
        send(&mut client, &hello_of(&mut connection));
        client.wire.begin_tls(connection)?;
        Ok(client)
    }

    /// Begins TLS on a connection.
    pub fn try_on(&self, mut client: Client) -> std::io::Result<Client> {
        client.wire.begin_tls(self.connection())?;
        Ok(client)
    }
}

fn hello_of(connection: &mut ClientConnection) -> Vec<u8> {
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("memory");
    hello
}

/// An origin that ends TLS and answers every request with its name.
pub fn tls_origin(pair: &Pair, name: &'static str) -> Origin {
    let side = server_side(pair);
    Origin::run(move |visit| {
        if visit.wire.begin_tls(side()).is_err() {
            return;
        }
        while visit.request().is_some() {
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
        }
    })
}

/// The other side, for the script of an origin.
pub fn server_side(pair: &Pair) -> impl Fn() -> ServerConnection + Send + Sync + 'static {
    let (cert, key) = chain(pair);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(cert, key)
        .expect("a pair");
    let config = Arc::new(config);
    move || ServerConnection::new(config.clone()).expect("a connection")
}
