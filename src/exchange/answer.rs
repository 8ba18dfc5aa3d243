//! Responses that rsp writes itself: a failure told to the client in two short lines, and what a script
//! answered.

use crate::http::{Framing, Name, OwnLines, ResponseHead, Version, reason_phrase};

/// What `Allow` says where rsp itself has to say it: every method of RFC 9110 and PATCH, but those that never
/// pass. Which of them a resource knows is its server's to say.
const PASSED: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Fills `head` for a plain answer and gives its body.
pub fn plain(head: &mut ResponseHead, status: u16, text: &str, date: &[u8]) -> Vec<u8> {
    let body = format!("{status} {}\n{text}\n", reason_phrase(status)).into_bytes();
    start(head, status, body.len());
    head.fields.append(b"Content-Type", b"text/plain");
    head.fields.append(b"Date", date);
    if status == 405 {
        // RFC 9110 section 15.5.6: this status does not go without it.
        head.fields.append(b"Allow", PASSED);
    }
    body
}

/// Fills `head` for the answer to an OPTIONS request that may go no further (RFC 9110 section 9.3.7).
pub fn last_hop(head: &mut ResponseHead, date: &[u8]) {
    start(head, 200, 0);
    head.fields.append(b"Date", date);
    head.fields.append(b"Allow", PASSED);
}

/// Fills `head` for what the script answered. A status that has no body gets none.
pub fn scripted(
    head: &mut ResponseHead,
    status: u16,
    fields: &[(Vec<u8>, Vec<u8>)],
    length: usize,
    date: &[u8],
) {
    start(head, status, length);
    for (name, value) in fields {
        head.fields.append(name, value);
    }
    if !head.fields.has(Name::Date) {
        head.fields.append(b"Date", date);
    }
    if matches!(status, 204 | 304) {
        head.framing = Framing::None;
    }
}

fn start(head: &mut ResponseHead, status: u16, length: usize) {
    head.fields.clear();
    head.status = status;
    head.reason = head.fields.store(reason_phrase(status).as_bytes());
    head.version = Version::Http11;
    head.framing = Framing::Exact(length as u64);
    head.keep_alive = true;
    head.own = OwnLines::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_says_status_and_reason_in_two_lines() {
        let mut head = ResponseHead::default();
        let body = plain(&mut head, 502, "no server accepted the connection", b"now");
        assert_eq!(body, b"502 Bad Gateway\nno server accepted the connection\n");
        assert_eq!(
            (head.status, head.reason(), head.framing),
            (502, &b"Bad Gateway"[..], Framing::Exact(50))
        );
        assert_eq!(format!("{:?}", head.fields), r#"{"Content-Type": "text/plain", "Date": "now"}"#);
    }

    #[test]
    fn a_405_says_what_passes() {
        let mut head = ResponseHead::default();
        plain(&mut head, 405, "no", b"now");
        assert!(head.fields.get_by_name(b"allow").is_some());
        plain(&mut head, 400, "no", b"now");
        assert!(head.fields.get_by_name(b"allow").is_none());
    }

    #[test]
    fn a_scripted_answer_keeps_its_own_date_and_a_204_has_no_body() {
        let mut head = ResponseHead::default();
        let headers = vec![(b"date".to_vec(), b"mine".to_vec())];
        scripted(&mut head, 204, &headers, 0, b"now");
        assert_eq!(format!("{:?}", head.fields), r#"{"date": "mine"}"#);
        assert_eq!(head.framing, Framing::None);
    }
}
