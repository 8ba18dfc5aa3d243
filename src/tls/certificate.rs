//! One certificate with its chain and key, and what its fields say.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use x509_cert::der::Decode;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Fingerprint, Hash, ocsp, provider};

/// What is wrong with a file, and the key of the config that named it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: &'static str,
    pub text: String,
}

impl Problem {
    pub fn new(key: &'static str, text: impl Into<String>) -> Problem {
        Problem { key, text: text.into() }
    }
}

/// A certificate that rsp can show.
#[derive(Clone)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
    /// Lower case; `*.example.com` for all names below.
    pub(super) names: Vec<String>,
    /// For logs.
    label: String,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    /// What it was made of.
    pub(super) print: Fingerprint,
}

/// The certificate with an OCSP response.
#[derive(Clone)]
struct Stapled {
    certified: Arc<CertifiedKey>,
    until: u64,
}

/// What a certificate has beside a name, for logs and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiry {
    pub name: String,
    /// Seconds since 1970.
    pub not_after: u64,
    /// The same for its OCSP response.
    pub staple_until: Option<u64>,
    /// Tells it from any other certificate.
    pub print: Fingerprint,
}

impl Certificate {
    /// Reads PEM: the chain, the server's own certificate first, and the key. `ocsp`: a response in DER.
    pub fn new(chain: &[u8], key: &[u8], ocsp: Option<&[u8]>) -> Result<Certificate, Problem> {
        let print = Hash::new("certificate").and(chain).and(key).and(ocsp.unwrap_or_default()).finish();
        let certificates = certificates(chain).map_err(|text| Problem::new("cert", text))?;
        let key = private_key(key).map_err(|text| Problem::new("key", text))?;
        let parsed = parse(&certificates[0]).ok_or_else(|| {
            Problem::new("cert", "the certificate cannot be read, expected X.509 version 3")
        })?;
        let fields = &parsed.tbs_certificate;
        let certified = CertifiedKey::from_der(certificates, key, &provider())
            .map_err(|error| problem_with_pair(&error))?;
        let staple = |der: &[u8]| -> Result<Stapled, Problem> {
            let until = ocsp::until(der, &fields.serial_number).map_err(|text| Problem::new("ocsp", text))?;
            let certified = CertifiedKey { ocsp: Some(der.to_vec()), ..certified.clone() };
            Ok(Stapled { certified: Arc::new(certified), until })
        };
        let (names, label) = names(fields);
        Ok(Certificate {
            stapled: ocsp.map(staple).transpose()?,
            names,
            label,
            not_before: fields.validity.not_before.to_unix_duration().as_secs(),
            not_after: fields.validity.not_after.to_unix_duration().as_secs(),
            print,
            certified: Arc::new(certified),
        })
    }

    /// The first name, or what else tells it from others, for logs.
    pub fn name(&self) -> &str {
        &self.label
    }

    /// Gives a certificate without any name this one.
    pub fn or_named(mut self, name: impl fmt::Display) -> Certificate {
        if self.label.is_empty() {
            self.label = name.to_string();
        }
        self
    }

    pub fn expiry(&self) -> Expiry {
        let staple_until = self.stapled.as_ref().map(|stapled| stapled.until);
        Expiry { name: self.label.clone(), not_after: self.not_after, staple_until, print: self.print }
    }

    /// What a client gets at this time: an expired OCSP response is not sent.
    pub(super) fn shown_at(&self, now: u64) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some(stapled) if now <= stapled.until => &stapled.certified,
            _ => &self.certified,
        }
    }

    pub(super) fn is_valid_at(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The cheaper one to sign with comes first.
    pub(super) fn rank(&self) -> u8 {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::ECDSA => 0,
            SignatureAlgorithm::RSA => 2,
            _ => 1,
        }
    }
}

fn problem_with_pair(error: &Error) -> Problem {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Problem::new("key", "does not fit the first certificate of cert, expected its own key")
        }
        Error::General(text) => Problem::new(
            "key",
            format!(
                "cannot be used ({text}), expected an RSA key of at least \
             2048 bits, or an ECDSA or Ed25519 key"
            ),
        ),
        error => Problem::new("cert", format!("cannot be used: {error}")),
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls::Certificate({})", self.label)
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("no certificate in it, expected PEM (BEGIN CERTIFICATE)".into()),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("not PEM ({}), expected BEGIN CERTIFICATE", in_words(&error))),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    // `BEGIN ENCRYPTED PRIVATE KEY`, or `Proc-Type: 4,ENCRYPTED` in an older form.
    if contains(pem, b"ENCRYPTED PRIVATE KEY-----") || contains(pem, b"\nProc-Type: 4,ENCRYPTED") {
        return Err("encrypted, expected a key without a password".into());
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => "no key in it, expected PEM (BEGIN PRIVATE KEY)".into(),
        error => format!("not PEM ({}), expected BEGIN PRIVATE KEY", in_words(&error)),
    })
}

/// The error's own text quotes the file, which may be a key.
fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a part has no end",
        pem::Error::IllegalSectionStart { .. } => "a line that begins a part is malformed",
        pem::Error::Base64Decode(_) => "a part is no base64",
        pem::Error::NoItemsFound => "nothing in it",
        _ => "it cannot be read",
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

pub(super) fn parse(der: &[u8]) -> Option<x509_cert::Certificate> {
    x509_cert::Certificate::from_der(der).ok()
}

/// The names of hosts, and one for logs: the first of them, or an address, or the subject.
fn names(fields: &x509_cert::TbsCertificate) -> (Vec<String>, String) {
    let extensions = fields.extensions.iter().flatten();
    let alternative = extensions.filter(|extension| extension.extn_id == SubjectAltName::OID);
    let lists = alternative.filter_map(|found| SubjectAltName::from_der(found.extn_value.as_bytes()).ok());
    let (mut names, mut address) = (Vec::new(), None);
    for name in lists.flat_map(|list| list.0) {
        match name {
            GeneralName::DnsName(name) => names.push(name.as_str().to_ascii_lowercase()),
            GeneralName::IpAddress(bytes) => address = address.or_else(|| ip(bytes.as_bytes())),
            _ => {}
        }
    }
    let label = names.first().cloned().or_else(|| address.map(|address| address.to_string()));
    (names, label.unwrap_or_else(|| fields.subject.to_string()))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
