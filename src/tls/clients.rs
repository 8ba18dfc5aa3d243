//! Certificates of clients: who they are, which of them are refused, and until when a session that began with one may be
//! resumed.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::parse;
use super::{Authorities, Problem, provider};

/// The subject in the form of RFC 4514, `CN=alice,O=Example`, and the second after which the certificate has expired.
pub fn subject(der: &CertificateDer<'_>) -> Option<(String, u64)> {
    let fields = parse(der)?.tbs_certificate;
    Some((fields.subject.to_string(), fields.validity.not_after.to_unix_duration().as_secs()))
}

pub(super) fn verifier(ca: &Authorities, required: bool) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let builder = WebPkiClientVerifier::builder_with_provider(ca.store.clone(), provider());
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    let built = builder.build().map_err(|error| Problem::new("client_ca", error.to_string()))?;
    Ok(Arc::new(Readable(built)))
}

/// Refuses certificates whose subject and dates cannot be read: what is decided by them would be decided without.
#[derive(Debug)]
struct Readable(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Readable {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        match subject(end_entity) {
            Some(_) => Ok(verified),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}

/// Until when a session may be resumed, as rustls writes sessions into tickets: the last second there is for one without
/// a client certificate. `None`: it is written in another way, and nothing is known.
///
/// ```text
/// name? 0 │ 1 len8 …   version 2   suite 2   secret len8 …   extended 1   chain? 0 │ 1 len24 (len24 certificate)…
/// ```
pub(super) fn session_until(session: &[u8]) -> Option<u64> {
    let mut rest = Reader(session);
    if rest.flag()? {
        let name = rest.number(1)?;
        rest.take(name)?;
    }
    rest.take(4)?;
    let secret = rest.number(1)?;
    rest.take(secret)?;
    rest.flag()?;
    if !rest.flag()? {
        return Some(u64::MAX);
    }
    rest.number(3)?;
    let length = rest.number(3)?;
    subject(&CertificateDer::from(rest.take(length)?)).map(|(_, until)| until)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.number(1)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}
