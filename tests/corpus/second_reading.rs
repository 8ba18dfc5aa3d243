//! Every head of the corpus that rsp accepts is parsed a second time by httparse, which shares no code with our
//! parser: both must find the same fields.

use rsp::h1::{BackendCodec, ClientCodec, HeadLimits};
use rsp::http::Codec as _;
use rsp::http::{Event, Fields, Method, Persistence, RequestHead, ResponseHead};

use crate::case;

type Lines = Vec<(String, Vec<u8>)>;

fn ours(fields: &Fields) -> Lines {
    fields.iter().map(|(_, n, v)| (String::from_utf8_lossy(n).into_owned(), v.to_vec())).collect()
}

fn theirs(headers: &[httparse::Header<'_>]) -> Lines {
    headers.iter().map(|h| (h.name.to_string(), h.value.to_vec())).collect()
}

/// True if the bytes begin with an accepted request.
fn check_request(bytes: &[u8]) -> bool {
    let (mut server, mut head, mut at) = (ClientCodec::default(), RequestHead::default(), 0);
    loop {
        match server.decode(&bytes[at..], false, 0, &HeadLimits::REQUEST, &mut head, &mut Fields::default()) {
            Ok(Some(step)) if step.event == Event::Head => break,
            Ok(Some(step)) => at += step.consumed,
            _ => return false,
        }
    }
    let mut room = [httparse::EMPTY_HEADER; 256];
    let mut second = httparse::Request::new(&mut room);
    assert!(second.parse(&bytes[at..]).expect("httparse refuses it").is_complete());
    assert_eq!(second.method.map(str::as_bytes), Some(head.method_text()));
    let target = second.path.unwrap_or_default();
    if target.starts_with('/') || target == "*" {
        assert_eq!((target.as_bytes(), theirs(second.headers)), (head.target(), ours(&head.fields)));
    } else {
        // Absolute form: its authority has replaced Host.
        let rest = |lines: Lines| -> Lines {
            lines.into_iter().filter(|(n, _)| !n.eq_ignore_ascii_case("host")).collect()
        };
        assert_eq!(rest(theirs(second.headers)), rest(ours(&head.fields)));
    }
    true
}

/// Without leniency: httparse alone parses lenient heads.
fn check_response(bytes: &[u8], asked: &str) -> bool {
    let method = if asked == "HEAD" { Method::Head } else { Method::Get };
    let persistence = if asked == "UPGRADE" { Persistence::Upgrade } else { Persistence::Keep };
    let mut client = BackendCodec::new(true);
    client.encode_head(&RequestHead { method, ..Default::default() }, persistence, &mut Vec::new());
    let mut head = ResponseHead::default();
    let step = client.decode(bytes, false, 0, &HeadLimits::RESPONSE, &mut head, &mut Fields::default());
    if !matches!(step, Ok(Some(step)) if step.event == Event::Head) {
        return false;
    }
    let mut room = [httparse::EMPTY_HEADER; 256];
    let mut second = httparse::Response::new(&mut room);
    assert!(second.parse(bytes).expect("httparse refuses it").is_complete());
    assert_eq!(second.code, Some(head.status));
    assert_eq!(theirs(second.headers), ours(&head.fields));
    true
}

#[test]
fn httparse_agrees_with_every_accepted_head() {
    let (mut requests, mut responses) = (0, 0);
    for case in case::families().iter().flat_map(|family| case::family(family)) {
        let path = case.path.display().to_string();
        let outcome = std::panic::catch_unwind(|| match &case.asked {
            None => (check_request(&case.bytes), false),
            Some(asked) => (false, check_response(&case.bytes, asked)),
        });
        let (request, response) = outcome.unwrap_or_else(|_| panic!("{path}"));
        requests += usize::from(request);
        responses += usize::from(response);
    }
    assert!(
        requests > 100 && responses > 80,
        "only {requests} requests and {responses} responses are accepted"
    );
}
