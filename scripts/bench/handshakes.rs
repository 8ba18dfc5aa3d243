//! cargo run --release --example handshakes -- 127.0.0.1:443 3 16 full
//!
//! A load of TLS 1.3 handshakes for `scripts/compare`, since no load generator of Debian resumes sessions and none knows
//! X25519MLKEM768: so many connections at once for so many seconds, each with one handshake and one request, all `full`,
//! all `resumed`, or all full and post-quantum (`pq`). It believes any certificate. Prints one line of JSON: what was
//! done, latencies from connect to the end of the answer in microseconds, and errors by kind; a handshake of the wrong
//! kind is one.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Full,
    Resumed,
    PostQuantum,
}

fn config(kind: Kind) -> Result<ClientConfig, rustls::Error> {
    let mut provider = default_provider();
    provider.kx_groups = match kind {
        Kind::PostQuantum => vec![kx_group::X25519MLKEM768],
        Kind::Full | Kind::Resumed => vec![kx_group::X25519],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer))
        .with_no_client_auth();
    if kind != Kind::Resumed {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

#[derive(Default)]
struct Done {
    microseconds: Vec<u64>,
    connect: u64,
    read: u64,
    status: u64,
}

/// One handshake and one request. Returns whether the session was resumed and the answer was right.
fn one(address: &str, config: &Arc<ClientConfig>) -> Result<(bool, bool), Box<dyn Error>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let connection = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok((resumed, answer.starts_with(b"HTTP/1.1 200")))
}

fn work(address: &str, kind: Kind, until: Instant) -> Result<Done, rustls::Error> {
    let (config, mut done) = (Arc::new(config(kind)?), Done::default());
    if kind == Kind::Resumed && one(address, &config).is_err() {
        done.connect += 1;
    }
    while Instant::now() < until {
        let began = Instant::now();
        match one(address, &config) {
            Ok((resumed, true)) if resumed == (kind == Kind::Resumed) => {
                done.microseconds.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Ok(_) => done.status += 1,
            Err(_) => done.read += 1,
        }
    }
    Ok(done)
}

fn main() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: handshakes ADDRESS SECONDS CONNECTIONS full|resumed|pq";
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, seconds, connections, kind] = &words[..] else { return Err(USAGE.into()) };
    let kind = match kind.as_str() {
        "full" => Kind::Full,
        "resumed" => Kind::Resumed,
        "pq" => Kind::PostQuantum,
        _ => return Err(USAGE.into()),
    };
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds.parse()?);
    let threads: Vec<_> = (0..connections.parse::<usize>()?)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || work(&address, kind, until))
        })
        .collect();
    let mut all = Done::default();
    for thread in threads {
        let done = thread.join().map_err(|_| "a thread panicked")??;
        all.microseconds.extend(done.microseconds);
        all = Done {
            connect: all.connect + done.connect,
            read: all.read + done.read,
            status: all.status + done.status,
            ..all
        };
    }
    let spent = began.elapsed().as_micros();
    all.microseconds.sort_unstable();
    let count = all.microseconds.len();
    let at = |thousandth: usize| all.microseconds.get(count * thousandth / 1000).copied().unwrap_or(0);
    println!(
        "@{{\"requests\":{count},\"us\":{spent},\"p50\":{},\"p75\":{},\"p90\":{},\"p99\":{},\"p999\":{},\"connect\":{},\"read\":{},\"write\":0,\"timeout\":0,\"status\":{}}}",
        at(500),
        at(750),
        at(900),
        at(990),
        at(999),
        all.connect,
        all.read,
        all.status
    );
    Ok(())
}
