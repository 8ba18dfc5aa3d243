//! The subset of HTTP/1.1 that a demo server needs behind rsp: requests with both framings, in order.

use std::io::{self, BufRead, Error, ErrorKind, Read, Write};

const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: u64 = 64 * 1024 * 1024;

pub struct Request {
    /// The request line and the header lines as received.
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    fn word(&self, at: usize) -> &str {
        self.head.lines().next().and_then(|line| line.split(' ').nth(at)).unwrap_or("")
    }

    pub fn method(&self) -> &str {
        self.word(0)
    }

    pub fn path(&self) -> &str {
        self.word(1).split('?').next().unwrap_or("")
    }

    /// The peer wants the connection closed after this request.
    pub fn is_last(&self) -> bool {
        self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let field = |line| str::split_once(line, ':').filter(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find_map(field).map(|(_, value)| value.trim())
    }
}

/// Reads the next request with its body; `None` if the peer closed between requests.
pub fn read_request(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Option<Request>> {
    let head = read_head(input)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut request = Request { head, body: Vec::new() };
    if request.header("Expect").is_some() {
        output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = read_body(&request, input)?;
    Ok(Some(request))
}

fn read_head(input: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let line = read_line(input)?;
        if line.is_empty() {
            return Ok(head);
        }
        head.push_str(&line);
        head.push('\n');
        if head.len() > HEAD_MAX {
            return Err(bad("head too large"));
        }
    }
}

/// The line without its end; empty at the end of input, too.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(HEAD_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_string())
}

fn read_body(request: &Request, input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("Transfer-Encoding").is_some() {
        read_chunks(input, &mut body)?;
    } else if let Some(length) = request.header("Content-Length") {
        let length = length.parse().map_err(|_| bad("Content-Length"))?;
        read_part(input, length, &mut body)?;
    }
    Ok(body)
}

fn read_chunks(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(input)?;
        let size = line.split(';').next().unwrap_or("").trim();
        match u64::from_str_radix(size, 16).map_err(|_| bad("chunk size"))? {
            0 => break,
            size => read_part(input, size, body)?,
        }
        read_line(input)?;
    }
    while !read_line(input)?.is_empty() {}
    Ok(())
}

fn read_part(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if length > BODY_MAX - body.len() as u64 {
        return Err(bad("body too large"));
    }
    match input.take(length).read_to_end(body)? as u64 {
        n if n < length => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn bad(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
