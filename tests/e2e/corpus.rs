//! The corpus through a running rsp: the answer to each request, and what a client sees of each response of a server:
//! 502 if nothing was sent, a visibly cut connection afterwards, and never a clean end of an incomplete message.

use crate::case::{self, Case, ascii, is_event};
use crate::support::*;

fn cases(of_requests: bool) -> Vec<Case> {
    let all = case::families().into_iter().flat_map(|family| case::family(&family));
    all.filter(|case| case.asked.is_none() == of_requests).collect()
}

/// The first word of a head event: a method, or a status.
fn head_word(event: &str) -> Option<&str> {
    let first = event.split(' ').next().unwrap_or_default();
    let others = ["body", "trailers", "end", "refused", "cut"];
    let is_head = !others.contains(&first) && !event.ends_with(" left");
    is_head.then_some(first)
}

/// The expected answers to the requests of a case, as (method, status), from its events.
fn expected_answers(case: &Case) -> Vec<(String, u16)> {
    let (mut answers, mut method, mut closes) = (Vec::new(), String::new(), false);
    for event in &case.events {
        if let Some(word) = head_word(event) {
            method = word.to_string();
            closes = event.contains(" close ");
        } else if event == "end" {
            let passes = !["CONNECT", "TRACE"].contains(&method.as_str());
            answers.push((method.clone(), if passes { 200 } else { 405 }));
            if closes || !passes {
                break;
            }
        } else if let Some(refusal) = event.strip_prefix("refused ") {
            let status = refusal.split(' ').next().and_then(|status| status.parse().ok());
            answers.push(("GET".into(), status.expect("a status")));
        }
    }
    answers
}

#[test]
fn every_request_is_answered_with_its_status() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    for case in cases(true) {
        let shown = case.path.display();
        let mut client = Client::connect(rsp.address());
        let _ = client.wire.send(&case.bytes);
        client.wire.finish_sending();
        for (method, status) in expected_answers(&case) {
            let answer = client.try_response_to(&method);
            let answer = answer.unwrap_or_else(|error| panic!("{shown}: no answer: {error}"));
            assert_eq!(answer.status(), status, "{shown}");
            let refused = status >= 400;
            assert!(!refused || answer.head.says("connection", "close"), "{shown}: {:?}", answer.head);
        }
        if case.events.iter().any(|event| event.starts_with("cut ")) {
            let rest = client.try_response();
            assert!(
                rest.is_err() || rest.is_ok_and(|answer| answer.status() == 400),
                "{shown}: a cut request"
            );
        } else {
            client.expect_end();
        }
    }
}

/// What a client must see of a server's response.
enum Told {
    /// It was refused before anything was sent.
    BadGateway,
    /// It was malformed after its head.
    Cut,
    Whole {
        status: u16,
        body: Option<String>,
    },
}

fn told(case: &Case) -> Told {
    let is_final =
        |event: &&String| head_word(event).is_some_and(|word| !word.starts_with('1') || word == "101");
    let Some(head) = case.events.iter().find(is_final) else { return Told::BadGateway };
    let status = head_word(head).and_then(|word| word.parse().ok()).expect("a status");
    if !case.events.iter().any(|event| event == "end") {
        return Told::Cut;
    }
    Told::Whole { status, body: case.events.iter().find(|event| event.starts_with("body ")).cloned() }
}

/// Answers `/N` with the bytes of case N and closes.
fn misbehaving(cases: &[Case]) -> Origin {
    let answers: Vec<Vec<u8>> = cases.iter().map(|case| case.bytes.clone()).collect();
    Origin::run(move |visit| {
        let Some(head) = visit.head() else { return };
        let number: usize = head.target()[1..].parse().expect("a number");
        visit.send(&answers[number]);
        visit.wire.finish_sending();
        visit.wait_for_end();
    })
}

fn ask(client: &mut Client, case: &Case, number: usize) -> &'static str {
    let (method, fields) = match case.asked.as_deref() {
        Some("HEAD") => ("HEAD", ""),
        Some("UPGRADE") => ("GET", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
        _ => ("GET", ""),
    };
    client.send(format!("{method} /{number} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    method
}

/// The final response; interim ones are skipped.
fn final_response(client: &mut Client, method: &str) -> std::io::Result<Message> {
    loop {
        let head = client.wire.head()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        if head.status() < 200 && head.status() != 101 {
            continue;
        }
        let framing =
            if head.status() == 101 { Framing::UntilClose } else { response_framing(&head, method) };
        let mut body = Vec::new();
        let trailers = client.wire.body(framing, &mut |bytes| body.extend_from_slice(bytes))?;
        return Ok(Message { head, framing, body, trailers });
    }
}

#[test]
fn every_response_is_forwarded_complete_or_visibly_cut() {
    let cases = cases(false);
    let origin = misbehaving(&cases);
    let lenient = Rsp::over(&[&origin.address]);
    let strict = Rsp::start(&format!(
        "rsp.listen '127.0.0.1:0' rsp.pool {{ servers = {{ '{}' }}, strict = true }}",
        origin.address
    ));
    for (number, case) in cases.iter().enumerate() {
        let shown = case.path.display();
        let rsp = if case.strict { &strict } else { &lenient };
        let mut client = Client::connect(rsp.address());
        let method = ask(&mut client, case, number);
        if case.asked.as_deref() == Some("UPGRADE") {
            client.wire.finish_sending();
        }
        let answer = final_response(&mut client, method);
        match (told(case), answer) {
            (Told::BadGateway, Ok(answer)) => assert_eq!(answer.status(), 502, "{shown}"),
            (Told::Cut, Err(error)) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{shown}: it hangs");
            }
            (Told::Whole { status, body }, Ok(answer)) => {
                assert_eq!(answer.status(), status, "{shown}");
                let text: String = answer.body.iter().map(|byte| char::from(*byte)).collect();
                let seen = (!text.is_empty()).then(|| ascii(&format!("body {text:?}")));
                let same = match (&seen, &body) {
                    (Some(seen), Some(told)) => is_event(seen, told),
                    (seen, told) => seen.is_none() && told.is_none(),
                };
                assert!(same, "{shown}: {seen:?} instead of {body:?}");
            }
            (Told::Cut, Ok(answer)) => panic!("{shown}: a clean end: {answer:?}"),
            (_, Err(error)) => panic!("{shown}: no answer: {error}"),
        }
    }
}
