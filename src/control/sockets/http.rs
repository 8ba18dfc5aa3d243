//! The admin address: small HTTP requests, one a connection. Read with `httparse`, since nothing here is in the data
//! path.

use std::fmt::Write;

/// A request for the admin address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    pub path: String,
    is_head: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: String,
}

impl HttpAnswer {
    pub fn text(status: u16, body: impl Into<String>) -> HttpAnswer {
        HttpAnswer { status, body: body.into() }
    }
}

#[derive(PartialEq, Eq, Debug)]
pub enum HttpStep {
    Request(HttpRequest),
    /// The request needs no look at the process.
    Answer(HttpAnswer),
    More,
}

const FIELDS: usize = 100;

/// Reads a request from the bytes that have arrived.
pub fn read(input: &[u8]) -> HttpStep {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(input) {
        Ok(httparse::Status::Partial) => HttpStep::More,
        Err(error) => HttpStep::Answer(HttpAnswer::text(400, format!("{error}\n"))),
        Ok(httparse::Status::Complete(_)) => {
            let is_head = request.method == Some("HEAD");
            if !is_head && request.method != Some("GET") {
                return HttpStep::Answer(HttpAnswer::text(405, "expected GET or HEAD\n"));
            }
            let target = request.path.unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default().to_owned();
            HttpStep::Request(HttpRequest { path, is_head })
        }
    }
}

/// Writes the answer. `request`: `None` if it was not understood.
pub fn write(answer: &HttpAnswer, request: Option<&HttpRequest>, output: &mut Vec<u8>) {
    let HttpAnswer { status, body } = answer;
    let mut head = String::new();
    // Writing to a String cannot fail.
    let _ =
        write!(head, "HTTP/1.1 {status} {}\r\nContent-Type: text/plain; charset=utf-8\r\n", reason(*status));
    let _ =
        write!(head, "Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n", body.len());
    if *status == 405 {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    head.push_str("\r\n");
    output.extend_from_slice(head.as_bytes());
    if !request.is_some_and(|request| request.is_head) {
        output.extend_from_slice(body.as_bytes());
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_its_head_is_whole() {
        let text = b"GET /ready?x HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), HttpStep::More);
        }
        assert_eq!(read(text), HttpStep::Request(HttpRequest { path: "/ready".into(), is_head: false }));
        let status = |text: &[u8]| match read(text) {
            HttpStep::Answer(answer) => answer.status,
            _ => 0,
        };
        assert_eq!(status(b"POST /ready HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status(b"\x16\x03\x01\x02"), 400);
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        let answer = HttpAnswer::text(503, "draining\n");
        let mut output = Vec::new();
        write(&answer, Some(&HttpRequest { path: "/ready".into(), is_head: true }), &mut output);
        let text = String::from_utf8(output).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nContent-Length: 9\r\n"));
    }
}
