//! Every byte in every kind of position, at every offset: the parser tests 16 bytes at a time and must agree with the
//! RFCs at any alignment.

use crate::h1::{BackendCodec, ClientCodec, HeadLimits};
use crate::http::*;

fn request(bytes: &[u8]) -> Result<RequestHead, Fault> {
    let mut head = RequestHead::default();
    let decoded = ClientCodec::default().decode(
        bytes,
        true,
        0,
        &HeadLimits::REQUEST,
        &mut head,
        &mut Fields::default(),
    )?;
    assert!(decoded.is_some_and(|decoded| decoded.end));
    Ok(head)
}

fn response(bytes: &[u8]) -> Result<ResponseHead, Fault> {
    response_to(BackendCodec::new(true), bytes)
}

fn response_to(mut client: BackendCodec, bytes: &[u8]) -> Result<ResponseHead, Fault> {
    let mut head = ResponseHead::default();
    let decoded = client.decode(bytes, true, 0, &HeadLimits::RESPONSE, &mut head, &mut Fields::default())?;
    assert!(decoded.is_some());
    Ok(head)
}

/// For every byte but CR and LF, at each of 70 offsets of a text: is it accepted exactly if `allowed` says so?
fn every_byte(allowed: impl Fn(u8) -> bool, taken: impl Fn(&[u8]) -> bool) {
    for byte in (0..=255u8).filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        for at in 1..70 {
            let mut text = [b'a'; 71];
            text[at] = byte;
            assert_eq!(taken(&text), allowed(byte), "byte {byte:#x} at {at}");
        }
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn a_method_is_a_token() {
    every_byte(is_tchar, |text| {
        let head = request(&[text, b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        head.is_ok_and(|head| head.method_text() == text)
    });
}

#[test]
fn a_target_is_visible_ascii_without_a_fragment() {
    every_byte(
        |byte| byte.is_ascii_graphic() && byte != b'#',
        |text| {
            let head = request(&[b"GET /", text, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
            head.is_ok_and(|head| &head.target()[1..] == text)
        },
    );
}

#[test]
fn a_field_name_is_a_token() {
    // A colon would end the name, so that another field is parsed.
    every_byte(is_tchar, |text| {
        let head = request(&[b"GET / HTTP/1.1\r\nHost: a\r\n", text, b": 1\r\n\r\n"].concat());
        head.is_ok_and(|head| head.fields.get_by_name(text) == Some(b"1"))
    });
}

#[test]
fn a_field_value_has_no_control_bytes_but_tab() {
    let allowed = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    every_byte(allowed, |text| {
        let head = request(&[b"GET / HTTP/1.1\r\nHost: a\r\nX: ", text, b"\r\n\r\n"].concat());
        head.is_ok_and(|head| head.fields.get_by_name(b"x") == Some(text))
    });
    every_byte(allowed, |text| {
        let head = response(&[b"HTTP/1.1 200 OK\r\nX: ", text, b"\r\n\r\n"].concat());
        head.is_ok_and(|head| head.fields.get_by_name(b"x") == Some(text))
    });
    every_byte(
        |byte| byte != 0,
        |text| {
            let head = [b"HTTP/1.1 200 OK\r\nX: ", text, b"\r\n\r\n"].concat();
            response_to(BackendCodec::default(), &head)
                .is_ok_and(|head| head.fields.get_by_name(b"x") == Some(text))
        },
    );
    every_byte(allowed, |text| {
        response(&[b"HTTP/1.1 200 ", text, b"\r\n\r\n"].concat()).is_ok_and(|head| head.reason() == text)
    });
}

#[test]
fn cr_and_lf_are_refused_inside_every_part() {
    for end in [&b"\r"[..], b"\n"] {
        for at in 0..70 {
            let text = [&vec![b'a'; at], end, b"b"].concat();
            for bytes in [
                [b"G", &text[..], b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
                [b"GET /", &text[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
                [b"GET / HTTP/1.1\r\nHost: a\r\nX", &text[..], b": 1\r\n\r\n"].concat(),
                [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &text[..], b"\r\n\r\n"].concat(),
            ] {
                assert_eq!(
                    request(&bytes).err(),
                    Some(Fault::LineEnd),
                    "{:?}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}
