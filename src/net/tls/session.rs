//! The adapter: one TLS session without a socket. This is the only file that knows how rustls moves bytes; a version of
//! it whose buffers are the caller's changes nothing else.
//!
//! ```text
//!   cipher text ─ open ─► plain text              plain text ─ seal ─► records ─ write_to ─► socket
//! ```

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use rustls::pki_types::CertificateDer;
use rustls::{
    AlertDescription, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection,
};

use crate::tls::{Client, Server, subject, without_dot};

/// The longest record. A reader can use a record only when it is whole, so an answer begins with short ones.
const LONG: usize = 16 * 1024;
const SHORT: usize = 4 * 1024;
/// Bytes of an answer in short records.
const BEGINNING: usize = 64 * 1024;
/// Plain text that is sealed at most before its records are written: a block, and framing around it.
const MOST: usize = 2 * LONG + 1024;
/// Parts of one message.
const PARTS: usize = 4;
/// Bytes that a record adds to its plain text, for estimates.
const OVERHEAD: usize = 22;
/// Records that may be sealed with one key of AES-GCM (RFC 8446 section 5.5, for its margin of safety). Version 1.3
/// changes keys by itself; beyond this, rustls would drop what version 1.2 seals.
const MOST_RECORDS: u64 = (1 << 24) - 64;

/// What was agreed on in a handshake.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsInfo {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The IANA name of the cipher suite.
    pub cipher: String,
    pub sni: Option<String>,
    pub alpn: Option<String>,
    /// The client has shown a certificate, which was verified.
    pub client_verified: bool,
    /// Its subject.
    pub client_subject: Option<String>,
    /// The second since 1970 after which that certificate has expired.
    pub client_until: Option<u64>,
    /// An earlier session was resumed.
    pub resumed: bool,
}

pub(super) struct Session {
    connection: Connection,
    /// Bytes sealed since the peer last sent something.
    sealed: usize,
    /// Records sealed, of any length.
    records: u64,
    /// Bytes of records that are waiting to be written.
    waiting: usize,
    /// A record was written.
    written: bool,
    /// The peer has announced its end: nothing follows what is inside.
    ended: bool,
    /// Nothing more can be opened.
    failed: Option<rustls::Error>,
}

impl Session {
    /// With a client.
    pub(super) fn server(server: &Server) -> io::Result<Session> {
        ServerConnection::new(server.config()).map(|new| Session::of(new.into())).map_err(io_error)
    }

    /// With a server.
    pub(super) fn client(client: &Client) -> io::Result<Session> {
        let new = ClientConnection::new(client.config(), client.name());
        new.map(|new| Session::of(new.into())).map_err(io_error)
    }

    fn of(connection: Connection) -> Session {
        Session { connection, sealed: 0, records: 0, waiting: 0, written: false, ended: false, failed: None }
    }

    pub(super) fn is_with_server(&self) -> bool {
        matches!(self.connection, Connection::Client(_))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes plain text that is inside. 0: the peer has announced its end. `WouldBlock`: nothing is left.
    pub(super) fn take(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match (self.connection.reader().read(space), &self.failed) {
            (Ok(n @ 1..), _) => Ok(n),
            (_, Some(failed)) => Err(io_error(failed.clone())),
            (result, None) => result,
        }
    }

    /// Opens received cipher text; its plain text is inside then. `space` gets as much of it as fits; the number of
    /// bytes may be 0. What was received before an error is given before the error.
    pub(super) fn open(&mut self, mut cipher: &[u8], space: &mut [u8]) -> io::Result<usize> {
        self.sealed = 0;
        let mut filled = 0;
        while !cipher.is_empty() && self.failed.is_none() {
            // After the peer's end, rustls takes nothing more.
            if self.connection.read_tls(&mut cipher)? == 0 {
                break;
            }
            match self.connection.process_new_packets() {
                Ok(state) => self.ended |= state.peer_has_closed(),
                Err(error) => self.failed = Some(error),
            }
            filled += self.connection.reader().read(&mut space[filled..]).unwrap_or(0);
        }
        if filled == 0 && self.failed.is_some() { self.take(space) } else { Ok(filled) }
    }

    /// Makes records of the first bytes of these parts. Returns how many bytes they hold.
    pub(super) fn seal(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut all = 0;
        while all < MOST {
            let length = if self.sealed < BEGINNING { SHORT } else { LONG };
            let (pieces, count) = pieces(parts, all, length.min(MOST - all));
            if count == 0 {
                break;
            }
            if self.records >= MOST_RECORDS
                && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2)
            {
                return Err(io::Error::other("too many records for one key of TLS 1.2"));
            }
            let n = self.connection.writer().write_vectored(&pieces[..count])?;
            if n == 0 {
                break;
            }
            all += n;
            self.sealed += n;
            self.records += 1;
            self.waiting += n + OVERHEAD;
        }
        Ok(all)
    }

    /// Records are waiting to be written.
    pub(super) fn has_records(&self) -> bool {
        self.connection.wants_write()
    }

    /// Bytes of records that are waiting to be written, nearly.
    pub(super) fn waiting(&self) -> usize {
        if self.has_records() { self.waiting.max(1) } else { 0 }
    }

    pub(super) fn has_written(&self) -> bool {
        self.written
    }

    /// Nothing follows what is inside: the peer has announced its end, or sent what cannot be opened.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended || self.failed.is_some()
    }

    /// Writes records until none is left or `out` takes no more.
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(out)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                n => {
                    self.waiting = self.waiting.saturating_sub(n);
                    self.written = true;
                }
            }
        }
        self.waiting = 0;
        Ok(())
    }

    /// Announces the end of what is sent (close_notify).
    pub(super) fn end(&mut self) {
        self.connection.send_close_notify();
    }

    /// To be called once the handshake is over.
    pub(super) fn info(&self) -> TlsInfo {
        let connection = &self.connection;
        let certificate = connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let of_client = certificate.filter(|_| !self.is_with_server());
        let (client_subject, client_until) = of_client.and_then(subject).unzip();
        TlsInfo {
            version: if connection.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
                "1.2"
            } else {
                "1.3"
            },
            cipher: cipher(connection),
            sni: match connection {
                Connection::Server(server) => server.server_name().map(|name| without_dot(name).to_owned()),
                Connection::Client(_) => None,
            },
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            client_verified: of_client.is_some(),
            client_subject,
            client_until,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// rustls' names differ from IANA's for version 1.3.
fn cipher(connection: &Connection) -> String {
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    let name = suite.and_then(|suite| suite.as_str()).unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

/// The parts' bytes from `from` on, at most `most`, and in how many pieces.
fn pieces<'a>(parts: &'a [IoSlice<'_>], mut from: usize, mut most: usize) -> ([IoSlice<'a>; PARTS], usize) {
    let (mut pieces, mut count) = ([IoSlice::new(&[]); PARTS], 0);
    for part in parts {
        let skipped = from.min(part.len());
        from -= skipped;
        let length = most.min(part.len() - skipped);
        if length > 0 && count < PARTS {
            pieces[count] = IoSlice::new(&part[skipped..skipped + length]);
            (count, most) = (count + 1, most - length);
        }
    }
    (pieces, count)
}

/// Returns true if the peer refused the certificate that it was shown.
pub fn is_refused_certificate(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    let error = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = error else { return false };
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

fn io_error(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
