//! One end of a TCP or Unix connection with a read buffer: reads heads and bodies, never longer than the deadline.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rustls::Connection;
use socket2::Socket;

use super::message::{Framing, Head};
use super::wait::DEADLINE;

pub struct Wire {
    pub socket: Socket,
    tls: Option<Box<Connection>>,
    ahead: Vec<u8>,
    at: usize,
}

impl Wire {
    pub fn new(socket: Socket) -> Wire {
        socket.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a write timeout");
        Wire { socket, tls: None, ahead: Vec::new(), at: 0 }
    }

    /// Everything that follows is TLS. Completes the handshake.
    pub fn begin_tls(&mut self, connection: impl Into<Connection>) -> io::Result<()> {
        assert!(self.unread().is_empty(), "bytes of the handshake were read before it");
        self.go_on_with_tls(connection)
    }

    /// The same, when the first bytes were sent already.
    pub fn go_on_with_tls(&mut self, connection: impl Into<Connection>) -> io::Result<()> {
        let mut connection = Box::new(connection.into());
        while connection.is_handshaking() {
            connection.complete_io(&mut self.socket)?;
        }
        self.tls = Some(connection);
        Ok(())
    }

    /// What was agreed on.
    pub fn tls(&self) -> &Connection {
        self.tls.as_ref().expect("a connection with TLS")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket.write_all(bytes.as_ref()) };
        let mut rest = bytes.as_ref();
        while !rest.is_empty() || tls.wants_write() {
            rest = &rest[tls.writer().write(rest)?..];
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
        }
        Ok(())
    }

    /// Shuts down the sending side. With TLS, that is what somebody does who cuts the connection: see `finish_tls`.
    pub fn finish_sending(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The same after TLS has announced the end.
    pub fn finish_tls(&mut self) {
        self.announce_end();
        self.finish_sending();
    }

    /// TLS announces the end, the connection stays.
    pub fn announce_end(&mut self) {
        let tls = self.tls.as_mut().expect("a connection with TLS");
        tls.send_close_notify();
        let _ = tls.write_tls(&mut self.socket);
    }

    /// Makes close send an RST instead of a FIN.
    pub fn reset_on_close(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    fn unread(&self) -> &[u8] {
        &self.ahead[self.at..]
    }

    /// Fills the buffer; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        if self.at > 0 {
            self.ahead.drain(..self.at);
            self.at = 0;
        }
        let had = self.ahead.len();
        self.ahead.resize(had + 64 * 1024, 0);
        let result = read_again(&mut self.socket, self.tls.as_deref_mut(), &mut self.ahead[had..]);
        self.ahead.truncate(had + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Reads up to `out.len()` bytes, buffered ones first; 0 at the end.
    pub fn read_some(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.unread().is_empty() {
            return read_again(&mut self.socket, self.tls.as_deref_mut(), out);
        }
        let size = out.len().min(self.unread().len());
        out[..size].copy_from_slice(&self.ahead[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }

    /// Exactly `size` bytes.
    pub fn read_exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        let mut at = 0;
        while at < size {
            match self.read_some(&mut bytes[at..])? {
                0 => return Err(cut(format!("{at} of {size} bytes"))),
                n => at += n,
            }
        }
        Ok(bytes)
    }

    /// A head, or `None` if the stream ended before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.unread().windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.unread()[..end]).into_owned();
                self.at += end + 4;
                return Ok(Some(Head::parse(&text)));
            }
            if self.fill()? == 0 {
                return match self.unread() {
                    [] => Ok(None),
                    part => Err(cut(format!("a part of a head: {:?}", String::from_utf8_lossy(part)))),
                };
            }
        }
    }

    /// A line without its CRLF.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread().windows(2).position(|two| two == b"\r\n") {
                let text = String::from_utf8_lossy(&self.unread()[..end]).into_owned();
                self.at += end + 2;
                return Ok(text);
            }
            if self.fill()? == 0 {
                return Err(cut("a part of a line".into()));
            }
        }
    }

    /// Passes a body to `sink` piece by piece and returns the trailers.
    pub fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Vec<(String, String)>> {
        match framing {
            Framing::None => {}
            Framing::Exact(size) => self.exact(size, sink)?,
            Framing::UntilClose => self.until_close(sink)?,
            Framing::Chunked => return self.chunked(sink),
        }
        Ok(Vec::new())
    }

    fn exact(&mut self, size: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            if self.unread().is_empty() && self.fill()? == 0 {
                return Err(cut(format!("{} of {size} body bytes", size - left)));
            }
            let now = self.unread().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&self.unread()[..now]);
            self.at += now;
            left -= now as u64;
        }
        Ok(())
    }

    fn until_close(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            sink(self.unread());
            self.at = self.ahead.len();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    fn chunked(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<Vec<(String, String)>> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("not a chunk size: {line:?}"))
            })?;
            if size == 0 {
                return self.trailers();
            }
            self.exact(size, sink)?;
            if !self.line()?.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no line end after a chunk"));
            }
        }
    }

    fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut text = String::from("\r\n");
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head::parse(&text).fields);
            }
            text.push_str(&line);
            text.push_str("\r\n");
        }
    }
}

fn read_tls(tls: &mut Connection, socket: &mut Socket, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(out) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        tls.read_tls(socket)?;
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
}

fn read_again(socket: &mut Socket, mut tls: Option<&mut Connection>, out: &mut [u8]) -> io::Result<usize> {
    loop {
        let result = match &mut tls {
            None => socket.read(out),
            Some(tls) => read_tls(tls, socket, out),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn cut(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended after {what}"))
}
