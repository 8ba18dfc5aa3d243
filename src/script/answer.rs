//! Answers of scripts. `rsp.respond` and `rsp.redirect` check their arguments when called, so that a mistake is
//! reported with the script's line. The result is kept in Lua as flat bytes (`encode`): a script may make an answer
//! once and return it a million times, and Lua's collector frees it without a finalizer.

use super::Answer;
use super::bodies::Bodies;
use super::directory::quoted;
use super::headers::{BYTES_MAX, FIELDS_MAX, check_name, check_value};
use super::nearest;

/// An answer under construction from the table given to `rsp.respond`.
#[derive(Default)]
pub struct AnswerBuilder {
    status: Option<u16>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of all headers so far: they are outside of the VM and its memory limit.
    header_bytes: usize,
    body: Vec<u8>,
}

/// The keys of `rsp.respond`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RespondKey {
    Status,
    Headers,
    Body,
}

const KEYS: [&str; 3] = ["status", "headers", "body"];
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl RespondKey {
    pub fn of(key: &[u8]) -> Result<RespondKey, String> {
        match key {
            b"status" => Ok(RespondKey::Status),
            b"headers" => Ok(RespondKey::Headers),
            b"body" => Ok(RespondKey::Body),
            _ => {
                let hint = nearest::hint(key, KEYS.iter().copied());
                Err(format!("rsp.respond: unknown key {}, {hint}", quoted(key)))
            }
        }
    }
}

impl AnswerBuilder {
    pub fn set_status(&mut self, status: Option<i64>) -> Result<(), String> {
        match status {
            Some(status @ 200..=599) => self.status = Some(status as u16),
            Some(other) => return Err(format!("{NEEDS_STATUS}, got {other}")),
            None => return Err(NEEDS_STATUS.to_string()),
        }
        Ok(())
    }

    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let at = |wrong| format!("rsp.respond: headers[{}]: {wrong}", quoted(name));
        check_name(name).map_err(at)?;
        check_value(value).map_err(at)?;
        self.header_bytes += name.len() + value.len();
        if self.header_bytes > BYTES_MAX || self.headers.len() >= FIELDS_MAX {
            return Err(at("the headers would be larger than 256 KiB or more than 2000"));
        }
        self.headers.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    pub fn set_body(&mut self, body: &[u8]) {
        self.body = body.to_vec();
    }

    /// Encodes the finished answer. Lua tables have no order, so headers are sorted by name: the same script gives
    /// the same bytes every time.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let mut builder = std::mem::take(self);
        let status = builder.status.unwrap_or(200);
        if matches!(status, 204 | 205 | 304) && !builder.body.is_empty() {
            return Err(format!("rsp.respond: an answer with status {status} has no body"));
        }
        builder.headers.sort_by(|a, b| a.0.cmp(&b.0));
        encode(status, &builder.headers, &builder.body, out);
        Ok(())
    }
}

const NEEDS_STATUS: &str = "rsp.respond: status: expected an integer from 200 to 599";

/// Encodes the answer of `rsp.redirect(url, status)`.
pub fn redirect(url: &[u8], status: Option<i64>, out: &mut Vec<u8>) -> Result<(), String> {
    let wanted = status.unwrap_or(302);
    let Some(status) = REDIRECTS.into_iter().find(|s| i64::from(*s) == wanted) else {
        return Err(format!("rsp.redirect: status: expected 301, 302, 303, 307 or 308, got {wanted}"));
    };
    if url.is_empty() || url.iter().any(u8::is_ascii_control) {
        return Err(format!("rsp.redirect: expected a url without control bytes, got {}", quoted(url)));
    }
    let headers =
        vec![(b"Content-Type".to_vec(), b"text/plain".to_vec()), (b"Location".to_vec(), url.to_vec())];
    encode(status, &headers, &[b"See ", url, b"\n"].concat(), out);
    Ok(())
}

/// Status, number of headers, and every text with its length before it.
fn encode(status: u16, headers: &[(Vec<u8>, Vec<u8>)], body: &[u8], out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, n: usize| out.extend_from_slice(&(n as u64).to_le_bytes());
    out.clear();
    number(out, status.into());
    number(out, headers.len());
    let fields = headers.iter().flat_map(|(name, value)| [name.as_slice(), value.as_slice()]);
    let texts = fields.chain([body]);
    for text in texts {
        number(out, text.len());
        out.extend_from_slice(text);
    }
}

/// Encodes what `rsp.abort()` returns: no answer has this status.
pub fn abort(out: &mut Vec<u8>) -> Result<(), String> {
    encode(0, &[], b"", out);
    Ok(())
}

/// The inverse of `encode`.
pub(super) fn decode(mut bytes: &[u8], bodies: &mut Bodies) -> Option<Answer> {
    let bytes = &mut bytes;
    let status = u16::try_from(number(bytes)?).ok()?;
    let count = number(bytes)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((text(bytes)?.to_vec(), text(bytes)?.to_vec()));
    }
    Some(Answer { status, headers, body: bodies.share(text(bytes)?) })
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(bytes)?).ok()?;
    let (first, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_inverts_encode_and_refuses_cut_bytes() {
        let header = |n: &str, v: &str| (n.as_bytes().to_vec(), v.as_bytes().to_vec());
        let headers = vec![header("Allow", "GET"), header("X", "")];
        let (mut bytes, bodies) = (Vec::new(), &mut Bodies::default());
        encode(405, &headers, b"no\n", &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], bodies), None);
        }
        let body = b"no\n".to_vec().into();
        assert_eq!(decode(&bytes, bodies), Some(Answer { status: 405, headers, body }));
    }
}
