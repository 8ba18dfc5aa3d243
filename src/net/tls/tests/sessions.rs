//! What was agreed on: sessions, certificates of clients, servers that are not the one meant.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, HandshakeKind, RootCertStore, ServerConnection, SignatureScheme,
};

use super::*;

/// PEM of an authority, and of a certificate by it with its key.
fn issued(subject: &str) -> (String, String, String) {
    issued_with(subject, |_| {})
}

fn issued_with(subject: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String, String) {
    let (ca, issuer) = issuer();
    let (cert, key) = issue(&issuer, subject, change);
    (ca, cert, key)
}

fn issuer() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    subject: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let mut params = CertificateParams::new(vec!["client.example".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

#[test]
fn what_was_agreed_on_is_known_and_a_session_is_resumed() {
    let (ca, cert, key) = issued("alice, the first");
    let clients = authorities(&ca);
    let auth = |required| Some(ClientAuth { ca: &clients, required });
    for min_version in [MinVersion::Tls12, MinVersion::Tls13] {
        let side = side("a", min_version, auth(false));
        let with = client(&side.ca, Some((&cert, &key)));
        let (ours, mut theirs) = connected(&side.server, &with, usize::MAX);
        let info = ours.tls().unwrap().clone();
        assert_eq!((info.version, info.cipher.as_str()), ("1.3", "TLS_AES_256_GCM_SHA384"));
        assert_eq!((info.sni.as_deref(), info.alpn.as_deref()), (Some("a.example"), Some("http/1.1")));
        assert_eq!(info.client_subject.as_deref(), Some("O=Example,CN=alice\\, the first"));
        assert!(!info.resumed && info.client_verified && info.client_until.is_some());
        // The ticket arrives after the handshake.
        assert_eq!(theirs.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (ours, _) = connected(&side.server, &with, usize::MAX);
        let again = ours.tls().unwrap();
        assert!(again.resumed);
        assert_eq!(again.client_subject, info.client_subject);
        let (ours, _) = connected(&side.server, &client(&side.ca, None), usize::MAX);
        let info = ours.tls().unwrap();
        assert_eq!((info.client_verified, &info.client_subject), (false, &None));
    }
}

/// Whether a second connection of a client that has a session with `first` resumes it with `second`.
fn resumes(first: &Server, second: &Server, client: &Client) -> bool {
    let (_ours, mut theirs) = connected(first, client, usize::MAX);
    assert_eq!(theirs.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let (near, far) = wires(usize::MAX);
    let (mut ours, mut theirs) =
        (Tls::server(far, second, false).unwrap(), Tls::client(near, client).unwrap());
    for _ in 0..10 {
        let _ = (theirs.handshake(), ours.handshake());
    }
    ours.is_established() && ours.tls().unwrap().resumed
}

#[test]
fn a_session_does_not_get_past_what_another_listener_demands() {
    let (ca, cert, key) = issued("alice");
    let (other_ca, ..) = issued("mallory");
    let (pair, pair_key) = pem(&["a.example"], Kind::Ecdsa, None);
    let make = |name: &str, ca: Option<&str>, required| {
        let certificate = Certificate::new(pair.as_bytes(), pair_key.as_bytes(), None).unwrap();
        let ca = ca.map(authorities);
        let client_auth = ca.as_ref().map(|ca| ClientAuth { ca, required });
        let certificates = vec![certificate];
        let options = ServerOptions {
            name,
            certificates,
            min_version: MinVersion::Tls12,
            client_auth,
            tickets: TicketKeys::Random,
            keylog: false,
        };
        Server::new(options).unwrap()
    };
    let client = || client(&pair, Some((&cert, &key)));
    let open = make("a", None, false);
    assert!(resumes(&open, &make("a", None, false), &client()), "after a reload");
    assert!(!resumes(&open, &make("b", None, false), &client()), "of another name");
    let demands = make("a", Some(&ca), true);
    assert!(resumes(&demands, &make("a", Some(&ca), true), &client()));
    assert!(!resumes(&open, &demands, &client()), "without a certificate");
    assert!(!resumes(&make("a", Some(&ca), false), &demands, &client()), "where it was optional");
    assert!(!resumes(&demands, &make("a", Some(&other_ca), true), &client()), "of another authority");
}

#[test]
fn a_server_that_is_not_the_one_meant_is_refused() {
    let (side, other) = (plain_side(), plain_side());
    let fails = |client: &Client| {
        let (near, far) = wires(usize::MAX);
        let (mut ours, mut theirs) =
            (Tls::server(far, &side.server, false).unwrap(), Tls::client(near, client).unwrap());
        let _ = (theirs.handshake(), ours.handshake());
        theirs.handshake().err().map(|error| error.to_string())
    };
    let named = |name, verify| Client::new(&ClientOptions { name, verify, identity: None }).unwrap();
    let (ca, other) = (&authorities(&side.ca), &authorities(&other.ca));
    assert_eq!(fails(&named("a.example", Verify::By(ca))), None);
    assert_eq!(fails(&named("b.example", Verify::Nothing)), None);
    assert!(fails(&named("b.example", Verify::By(ca))).unwrap().contains("not valid for name"));
    assert!(fails(&named("a.example", Verify::By(other))).unwrap().contains("invalid peer certificate"));
    assert!(fails(&named("127.0.0.1", Verify::By(ca))).unwrap().contains("not valid for name"));
}

/// A clock that is set.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

/// What a client shows, which changes when its certificate is renewed.
#[derive(Debug)]
struct Renewed(Mutex<Arc<CertifiedKey>>);

impl ResolvesClientCert for Renewed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified((cert, key): &(String, String)) -> Arc<CertifiedKey> {
    let cert = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(CertifiedKey::from_der(cert, key, &default_provider()).unwrap())
}

/// A handshake of rustls itself. Returns whether it was a resumption.
fn resumed(server: &Server, client: &Arc<ClientConfig>) -> Result<bool, rustls::Error> {
    let mut theirs = ClientConnection::new(client.clone(), "a.example".try_into().unwrap()).unwrap();
    let mut ours = ServerConnection::new(server.config()).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while theirs.wants_write() {
            theirs.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            ours.read_tls(&mut bytes).unwrap();
            ours.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while ours.wants_write() {
            ours.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            theirs.read_tls(&mut bytes).unwrap();
            theirs.process_new_packets()?;
        }
    }
    Ok(ours.handshake_kind() == Some(HandshakeKind::Resumed))
}

#[test]
fn a_session_ends_with_the_certificate_of_its_client_and_another_begins() {
    let (ca, issuer) = issuer();
    let start = 1_800_000_000;
    let until = |end: i64| {
        issue(&issuer, "alice", |params| {
            params.not_after = time::OffsetDateTime::from_unix_timestamp(start + end).unwrap();
        })
    };
    let (first, second) = (until(100), until(100_000));
    let clients = authorities(&ca);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for required in [true, false] {
            let clock = Arc::<Clock>::default();
            let at = |time: i64| clock.0.store((start + time) as u64, Ordering::Relaxed);
            let auth = Some(ClientAuth { ca: &clients, required });
            let side = side_with("a", MinVersion::Tls12, auth, clock.clone());
            let shown = Arc::new(Renewed(Mutex::new(certified(&first))));
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(side.ca.as_bytes()).unwrap()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
            let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
            let client = Arc::new(builder.with_client_cert_resolver(shown.clone()));
            at(0);
            assert_eq!(resumed(&side.server, &client), Ok(false));
            at(100);
            assert_eq!(resumed(&side.server, &client), Ok(true), "{version:?}");
            *shown.0.lock().unwrap() = certified(&second);
            at(101);
            assert_eq!(resumed(&side.server, &client), Ok(false), "{version:?}: by the new certificate");
            assert_eq!(resumed(&side.server, &client), Ok(true), "{version:?}");
        }
    }
}

#[test]
fn a_client_certificate_that_cannot_be_read_is_refused() {
    // Longer than RFC 5280 allows, which whoever verifies only the signature does not mind.
    let (ca, cert, key) = issued_with("alice", |params| params.serial_number = Some(vec![1; 30].into()));
    let clients = authorities(&ca);
    for required in [true, false] {
        let side = side("a", MinVersion::Tls12, Some(ClientAuth { ca: &clients, required }));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(side.ca.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let shown = Renewed(Mutex::new(certified(&(cert.clone(), key.clone()))));
        let client = Arc::new(builder.with_client_cert_resolver(Arc::new(shown)));
        let error = resumed(&side.server, &client).unwrap_err();
        assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::BadEncoding));
    }
}
