//! What rustls is told for the connections to a server.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::{Authorities, Certificate, Expiry, Fingerprint, Hash, MinVersion, Problem, provider};

/// Sessions that are kept for resumption.
const SESSIONS: usize = 256;

pub struct ClientOptions<'a> {
    /// A host name or an IP address: what the certificate must be for, and the name in the ClientHello.
    pub name: &'a str,
    pub verify: Verify<'a>,
    /// What rsp shows to a server that asks for it.
    pub identity: Option<&'a Certificate>,
}

pub enum Verify<'a> {
    /// By these authorities.
    By(&'a Authorities),
    /// Anything is believed.
    Nothing,
}

/// The side towards a server.
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Of the certificate that it shows.
    expiry: Option<Expiry>,
    print: Fingerprint,
}

impl Client {
    pub fn new(options: &ClientOptions<'_>) -> Result<Client, Problem> {
        let name = ServerName::try_from(options.name.to_owned())
            .map_err(|_| Problem::new("sni", "expected a host name or an IP address"))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(|error| Problem::new("sni", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&options.verify)?);
        let mut config = match options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let shown = SingleCertAndKey::from(identity.certified.clone());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let expiry = options.identity.map(Certificate::expiry);
        Ok(Client { config: Arc::new(config), name, expiry, print: options.print() })
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    pub fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// The end of the certificate that rsp shows.
    pub fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }
}

impl ClientOptions<'_> {
    fn print(&self) -> Fingerprint {
        let hash = Hash::new("client").and(self.name.as_bytes());
        let hash = match &self.verify {
            Verify::By(authorities) => hash.and(b"by").and(&authorities.print),
            Verify::Nothing => hash.and(b"nothing"),
        };
        match self.identity {
            None => hash.finish(),
            Some(identity) => hash.and(&identity.print).finish(),
        }
    }
}

fn verifier(verify: &Verify<'_>) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    let roots = match verify {
        Verify::Nothing => return Ok(Arc::new(Unverified(provider().signature_verification_algorithms))),
        Verify::By(authorities) => authorities.store.clone(),
    };
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    built
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| Problem::new("ca", error.to_string()))
}

/// `verify = false`: any certificate is believed. Signatures are still checked, so that it is at least the holder of its
/// key that answers.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        self.print == other.print
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls::Client({:02x?})", &self.print[..4])
    }
}
