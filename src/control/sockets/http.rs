//! The admin address: small HTTP requests, one a connection. Read with `httparse`, since nothing here is in the data
//! path.

use std::fmt::Write;

/// A request for the admin address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpRequest {
    pub method: HttpMethod,
    /// Without the query.
    pub path: String,
    /// `Host`, as it was sent.
    pub host: Option<String>,
    pub origin: Option<String>,
    pub fetch_site: Option<String>,
    pub fetch_dest: Option<String>,
    /// Of `Authorization: Bearer`.
    pub token: Option<String>,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Post,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub content_type: &'static str,
    /// Further fields, each with its line end.
    pub fields: &'static str,
    pub body: String,
}

impl HttpAnswer {
    pub fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> HttpAnswer {
        HttpAnswer { status, content_type, fields: "", body: body.into() }
    }

    pub fn text(status: u16, body: impl Into<String>) -> HttpAnswer {
        HttpAnswer::new(status, "text/plain; charset=utf-8", body)
    }

    pub fn json(status: u16, body: &serde_json::Value) -> HttpAnswer {
        HttpAnswer::new(status, "application/json", format!("{body}\n"))
    }

    /// What is wrong, as JSON.
    pub fn error(status: u16, what: &str) -> HttpAnswer {
        HttpAnswer::json(status, &serde_json::json!({ "error": what }))
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
    let head = match request.parse(input) {
        Ok(httparse::Status::Partial) => return HttpStep::More,
        Err(error) => return HttpStep::Answer(HttpAnswer::text(400, format!("{error}\n"))),
        Ok(httparse::Status::Complete(head)) => head,
    };
    let method = match request.method {
        Some("GET") => HttpMethod::Get,
        Some("HEAD") => HttpMethod::Head,
        Some("POST") => HttpMethod::Post,
        _ => return HttpStep::Answer(HttpAnswer::text(405, "expected GET, HEAD or POST\n")),
    };
    let body = match body(request.headers, &input[head..]) {
        Ok(Some(body)) => body.to_vec(),
        Ok(None) => return HttpStep::More,
        Err(what) => return HttpStep::Answer(HttpAnswer::text(400, what)),
    };
    let field = |name: &str| {
        let mut all = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        all.next().map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    let target = request.path.unwrap_or_default();
    HttpStep::Request(HttpRequest {
        method,
        path: target.split('?').next().unwrap_or_default().to_owned(),
        host: field("Host"),
        origin: field("Origin"),
        fetch_site: field("Sec-Fetch-Site"),
        fetch_dest: field("Sec-Fetch-Dest"),
        token: field("Authorization").and_then(|value| bearer(&value).map(str::to_owned)),
        body,
    })
}

/// The body, once it is whole.
fn body<'a>(fields: &[httparse::Header<'_>], rest: &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let mut length = 0;
    for field in fields {
        if field.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err("a body needs Content-Length\n");
        }
        if field.name.eq_ignore_ascii_case("Content-Length") {
            let number = std::str::from_utf8(field.value).ok().and_then(|text| text.parse::<u32>().ok());
            length = number.ok_or("Content-Length is not understood\n")? as usize;
        }
    }
    Ok(rest.get(..length))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// Writes the answer. `request`: `None` if it was not understood.
pub fn write(answer: &HttpAnswer, request: Option<&HttpRequest>, output: &mut Vec<u8>) {
    let HttpAnswer { status, content_type, fields, body } = answer;
    let mut head = String::new();
    // Writing to a String cannot fail.
    let _ = write!(head, "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\n{fields}", reason(*status));
    let _ =
        write!(head, "Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n", body.len());
    head.push_str("X-Content-Type-Options: nosniff\r\n");
    match status {
        401 => head.push_str("WWW-Authenticate: Bearer\r\n"),
        405 => head.push_str("Allow: GET, HEAD, POST\r\n"),
        _ => {}
    }
    head.push_str("\r\n");
    output.extend_from_slice(head.as_bytes());
    if !request.is_some_and(|request| request.method == HttpMethod::Head) {
        output.extend_from_slice(body.as_bytes());
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
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

    fn status(text: &[u8]) -> u16 {
        match read(text) {
            HttpStep::Answer(answer) => answer.status,
            _ => 0,
        }
    }

    #[test]
    fn a_request_is_read_once_its_head_is_whole() {
        let text = b"GET /ready?x HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), HttpStep::More);
        }
        let request = HttpRequest { path: "/ready".into(), host: Some("a".into()), ..HttpRequest::default() };
        assert_eq!(read(text), HttpStep::Request(request));
        assert_eq!(status(b"PUT /ready HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status(b"\x16\x03\x01\x02"), 400);
    }

    #[test]
    fn a_body_is_read_once_it_is_whole() {
        let text = b"POST /x HTTP/1.1\r\nAuthorization: bearer  abc\r\nContent-Length: 3\r\n\r\n{ }";
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), HttpStep::More);
        }
        let HttpStep::Request(request) = read(text) else { panic!("it is whole") };
        assert_eq!((request.method, request.body.as_slice()), (HttpMethod::Post, &b"{ }"[..]));
        assert_eq!(request.token.as_deref(), Some("abc"));
        for field in ["Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: 99999999999"] {
            assert_eq!(status(format!("POST / HTTP/1.1\r\n{field}\r\n\r\n").as_bytes()), 400, "{field}");
        }
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        let answer = HttpAnswer::text(503, "draining\n");
        let mut output = Vec::new();
        let request = HttpRequest { method: HttpMethod::Head, ..HttpRequest::default() };
        write(&answer, Some(&request), &mut output);
        let text = String::from_utf8(output).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nContent-Length: 9\r\n"));
    }
}
