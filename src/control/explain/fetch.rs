//! `rsp.fetch` of `rsp explain --fetch`: one request on a connection of its own, on a thread that may block. It goes to
//! the pool's first server that is up, in plain text: what needs TLS or a PROXY header is not asked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::balance::{Pool, ServerState};
use crate::config::{Address, Endpoint};
use crate::h1::{BackendCodec, HeadLimits};
use crate::http::{Codec, Event, Fields, Method, ResponseHead};
use crate::script::{Fetch, Fetched};

/// Asks, and gives the reason where there is no answer.
pub(super) fn ask(pool: &Pool, fetch: &Fetch) -> Result<Box<Fetched>, String> {
    let members = pool.state.members();
    let server = members.iter().find(|server| server.state() == ServerState::Up).ok_or("no server")?;
    let endpoint = server.endpoint();
    if endpoint.tls.is_some() || endpoint.send_proxy.is_some() {
        return Err("not asked: only plain servers are, by rsp explain".into());
    }
    let until = Instant::now() + fetch.timeout;
    exchange(&endpoint, fetch, until).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => "refused".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout".into(),
        ErrorKind::UnexpectedEof => "closed".into(),
        ErrorKind::FileTooLarge => "too large".into(),
        _ => "bad response".into(),
    })
}

fn exchange(endpoint: &Endpoint, fetch: &Fetch, until: Instant) -> io::Result<Box<Fetched>> {
    let mut stream = connect(endpoint, left(until)?)?;
    stream.write_all(&request(endpoint, fetch))?;
    let (mut codec, mut input) = (BackendCodec::new(endpoint.strict), Vec::new());
    let (mut head, mut trailers) = (ResponseHead::default(), Fields::default());
    let mut fetched = Fetched { status: 0, headers: Vec::new(), body: Vec::new() };
    let mut eof = false;
    loop {
        let bad = |_| io::Error::from(ErrorKind::InvalidData);
        let limits = &HeadLimits::RESPONSE;
        let decoded = codec.decode(&input, eof, usize::MAX, limits, &mut head, &mut trailers).map_err(bad)?;
        let Some(decoded) = decoded else {
            if eof {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            eof = read(&mut stream, &mut input, left(until)?)?;
            continue;
        };
        match decoded.event {
            Event::Head if head.is_interim() => {}
            Event::Head => {
                fetched.status = head.status;
                let fields = head.fields.iter();
                fetched.headers = fields.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
            }
            Event::Body(range) => fetched.body.extend_from_slice(&input[range]),
            Event::Nothing | Event::Trailers | Event::Reset => {}
        }
        if fetched.body.len() > fetch.max_body {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if fetched.status != 0 && (decoded.end || fetch.method == Method::Head) {
            return Ok(Box::new(fetched));
        }
        input.drain(..decoded.consumed);
    }
}

/// The bytes to send: a `Host` that the script left out is the server's.
fn request(endpoint: &Endpoint, fetch: &Fetch) -> Vec<u8> {
    const PLACEHOLDER: &[u8] = b"Host: rsp\r\n";
    let at = fetch.bytes.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER);
    match at.filter(|_| fetch.own_host) {
        None => fetch.bytes.clone(),
        Some(at) => {
            let host = format!("Host: {}\r\n", endpoint.host());
            [&fetch.bytes[..at], host.as_bytes(), &fetch.bytes[at + PLACEHOLDER.len()..]].concat()
        }
    }
}

/// Both kinds are read and written alike, and only a `TcpStream` has timeouts for it.
fn connect(endpoint: &Endpoint, most: Duration) -> io::Result<TcpStream> {
    let stream = match &endpoint.address {
        Address::Ip(address) => TcpStream::connect_timeout(address, most)?,
        Address::Unix(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
        _ => return Err(ErrorKind::Unsupported.into()),
    };
    stream.set_write_timeout(Some(most))?;
    Ok(stream)
}

/// True at the end.
fn read(stream: &mut TcpStream, input: &mut Vec<u8>, most: Duration) -> io::Result<bool> {
    stream.set_read_timeout(Some(most))?;
    let mut bytes = [0; 16 * 1024];
    let got = stream.read(&mut bytes)?;
    input.extend_from_slice(&bytes[..got]);
    Ok(got == 0)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
