//! The pages of the demo's servers: greeting, slow response, large response, echo, and taking the server down.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::origin::{AWAY, OriginState};
use super::wire::Request;

const BIG: usize = 64 * 1024 * 1024;
const SLOW_STEPS: u32 = 20;
const SLOW_PAUSE: Duration = Duration::from_millis(250);

pub fn answer(origin: &OriginState, request: &Request, output: &mut impl Write) -> io::Result<()> {
    let name = origin.name;
    match request.path() {
        "/" => whole(output, request, "200 OK", "", hello(origin, request).as_bytes()),
        "/echo" => whole(output, request, "200 OK", "", &request.body),
        "/slow" => slow(output, request, name),
        "/big" => big(output, request),
        "/kill" => {
            let text = format!("{name} goes away for {} seconds\n", AWAY.as_secs());
            whole(output, request, "200 OK", "Connection: close\r\n", text.as_bytes())
        }
        path => {
            let text = format!("{name} has no {path}: try / /slow /big /echo /kill\n");
            whole(output, request, "404 Not Found", "", text.as_bytes())
        }
    }
}

fn hello(origin: &OriginState, request: &Request) -> String {
    let count = origin.served.load(Ordering::Relaxed);
    let (name, address) = (origin.name, origin.address);
    format!("{name} ({address}) answers, its request number {count}. It was sent:\n\n{}\n", request.head)
}

/// Writes a response of known length in one call.
fn whole(
    output: &mut impl Write,
    request: &Request,
    status: &str,
    fields: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{fields}\r\n"
    )
    .into_bytes();
    if request.method() != "HEAD" {
        response.extend_from_slice(body);
    }
    output.write_all(&response)
}

fn slow(output: &mut impl Write, request: &Request, name: &str) -> io::Result<()> {
    output.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    if request.method() == "HEAD" {
        return Ok(());
    }
    for step in 1..=SLOW_STEPS {
        let line = format!("{name}: {step} of {SLOW_STEPS}\n");
        output.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        thread::sleep(SLOW_PAUSE);
    }
    output.write_all(b"0\r\n\r\n")
}

fn big(output: &mut impl Write, request: &Request) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {BIG}\r\n\r\n");
    output.write_all(head.as_bytes())?;
    if request.method() == "HEAD" {
        return Ok(());
    }
    let block: Vec<u8> = (0..64 * 1024).map(|i| b'a' + (i % 26) as u8).collect();
    for _ in 0..BIG / block.len() {
        output.write_all(&block)?;
    }
    Ok(())
}
