//! An origin for bodies of any size: `/length/SIZE/SEED`, `/chunked/SIZE/SEED` and `/close/SIZE/SEED` serve a seed's
//! content in that framing; any upload is answered with its size and SHA-256. Bodies are generated, so 64 MiB cost no
//! memory.

use std::io::Read;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::content::{Content, hex};
use super::message::{Framing, Head, request_framing};
use super::origin::{Origin, Visit};
use super::wait::Gate;

/// How the origin reads uploads.
#[derive(Clone, Default)]
pub struct Uploads {
    /// Pauses a little after each piece it reads, and longer after many, until this gate is open.
    pub slow_until: Option<Gate>,
    /// Shrinks the origin's receive buffer so that the kernel buffers little.
    pub small_buffer: bool,
}

pub fn bodies(uploads: Uploads) -> Origin {
    let small_buffer = uploads.small_buffer;
    let script = move |visit: &mut Visit| {
        while let Some(head) = visit.head() {
            if serve(visit, &head, &uploads).is_none() {
                return;
            }
        }
    };
    if small_buffer { Origin::run_with_small_buffer(script) } else { Origin::run(script) }
}

/// `None` to close the connection.
fn serve(visit: &mut Visit, head: &Head, uploads: &Uploads) -> Option<()> {
    match request_framing(head) {
        Framing::None => download(visit, head.target()),
        framing => upload(visit, framing, uploads),
    }
}

fn upload(visit: &mut Visit, framing: Framing, uploads: &Uploads) -> Option<()> {
    let (mut hash, mut size, mut pieces) = (Sha256::new(), 0, 0);
    let mut take = |bytes: &[u8]| {
        hash.update(bytes);
        size += bytes.len();
        pieces += 1;
        if uploads.slow_until.as_ref().is_some_and(|gate| !gate.is_open()) {
            std::thread::sleep(Duration::from_millis(if pieces < 1000 { 3 } else { 50 }));
        }
    };
    visit.wire.body(framing, &mut take).ok()?;
    let text = format!("{size} {}", hex(&hash.finalize()));
    visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).then_some(())
}

fn download(visit: &mut Visit, target: &str) -> Option<()> {
    let parts: Vec<&str> = target.split('/').skip(1).collect();
    let [framing, size, seed] = parts[..] else {
        return visit.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").then_some(());
    };
    let (size, seed) = (size.parse().ok()?, seed.parse().ok()?);
    let mut content = Content::new(seed, size);
    match framing {
        "length" => {
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).then_some(())?;
            pour(visit, &mut content, false)
        }
        "chunked" => {
            visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").then_some(())?;
            pour(visit, &mut content, true)?;
            visit.send("0\r\n\r\n").then_some(())
        }
        _ => {
            visit.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").then_some(())?;
            pour(visit, &mut content, false)?;
            None
        }
    }
}

fn pour(visit: &mut Visit, content: &mut Content, chunked: bool) -> Option<()> {
    let mut piece = vec![0; 50_000];
    loop {
        let size = content.read(&mut piece).ok()?;
        if size == 0 {
            return Some(());
        }
        let sent = match chunked {
            false => visit.send(&piece[..size]),
            true => visit.send([format!("{size:x}\r\n").as_bytes(), &piece[..size], b"\r\n"].concat()),
        };
        sent.then_some(())?;
    }
}
