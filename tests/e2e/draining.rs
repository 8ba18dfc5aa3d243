//! How upgraded connections end when rsp stops: WebSockets between two frames, with a Close frame that says 1012.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::*;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message as Frame, WebSocket, accept, client};

const RESTART: [u8; 4] = [0x88, 2, 0x03, 0xF4];
const BIG: usize = 4_000_000;

/// A WebSocket server: each connection gets a thread that runs `serve` and returns what the client closed with.
fn server<T: Send + 'static>(
    connections: usize,
    serve: impl Fn(WebSocket<TcpStream>) -> T + Copy + Send + 'static,
) -> (String, JoinHandle<Vec<T>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let each = (0..connections).map(|_| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            std::thread::spawn(move || serve(accept(stream).unwrap()))
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (address, server)
}

fn start(address: &str, drain_timeout: &str) -> Rsp {
    Rsp::start(&format!(
        "{}rsp.settings {{ drain_timeout = '{drain_timeout}', upgrades = {{ 'websocket', 'tcp' }},
         access_log = {{ path = 'access.log', format = 'rsp' }} }}",
        balanced(&[address])
    ))
}

fn connect(rsp: &Rsp) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(rsp.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    client(format!("ws://{}/", rsp.address()), stream).unwrap().0
}

/// The same, with nothing that reads ahead or answers.
fn connect_raw(rsp: &Rsp) -> Client {
    let mut client = Client::connect(rsp.address());
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    client
}

fn read_to_end(client: &mut Client) -> Vec<u8> {
    let mut came = Vec::new();
    client
        .wire
        .body(Framing::UntilClose, &mut |bytes| came.extend_from_slice(bytes))
        .expect("an orderly end");
    came
}

/// Reads to the end of the WebSocket. Returns the close code.
fn code_of(socket: &mut WebSocket<TcpStream>) -> Option<CloseCode> {
    let mut code = None;
    loop {
        match socket.read() {
            Ok(Frame::Close(Some(close))) => code = Some(close.code),
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return code,
            Err(error) => panic!("{code:?}: {error}"),
        }
    }
}

/// Echoes until the client closes.
fn echo(mut socket: WebSocket<TcpStream>) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Frame::Close(close)) => {
                while socket.read().is_ok() {}
                return close.map(|close| close.code);
            }
            Ok(frame @ (Frame::Text(_) | Frame::Binary(_))) => socket.send(frame).unwrap(),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn stop(rsp: &Rsp) -> Instant {
    let since = Instant::now();
    rsp.signal(libc::SIGTERM);
    until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
    since
}

#[test]
fn a_websocket_is_closed_with_1012_and_both_sides_see_a_whole_closing_handshake() {
    let (address, server) = server(1, echo);
    let mut rsp = start(&address, "10m");
    let mut socket = connect(&rsp);
    socket.send(Frame::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Frame::text("hello"));
    let since = stop(&rsp);
    assert_eq!(code_of(&mut socket), Some(CloseCode::Restart));
    assert_eq!(server.join().unwrap(), [Some(CloseCode::Restart)]);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let log = rsp.directory.read("access.log");
    assert!(log.contains("end=drained") && log.contains("phase=tunnel"), "{log}");
    assert!(!rsp.log().contains("connection cut"), "{}", rsp.log());
}

#[test]
fn a_frame_that_is_being_sent_is_finished_first_and_nothing_follows_it() {
    static GATE: std::sync::OnceLock<Gate> = std::sync::OnceLock::new();
    GATE.get_or_init(Gate::new);
    let (address, server) = server(1, |mut socket| {
        let stream = socket.get_mut();
        let payload = content_bytes(5, BIG as u64);
        stream.write_all(&[[0x02, 127].as_slice(), &(BIG as u64).to_be_bytes()].concat()).unwrap();
        stream.write_all(&payload[..BIG / 2]).unwrap();
        GATE.get().unwrap().wait();
        stream.write_all(&payload[BIG / 2..]).unwrap();
        // More of the same message, and another one.
        stream.write_all(b"\x80\x04more\x81\x08too late").unwrap();
        // The client's Close frame.
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap();
        came
    });
    let rsp = start(&address, "10m");
    let mut client = connect_raw(&rsp);
    let payload = content_bytes(5, BIG as u64);
    let header = [[0x02, 127].as_slice(), &(BIG as u64).to_be_bytes()].concat();
    assert_eq!(client.wire.read_exactly(10).unwrap(), header);
    assert!(client.wire.read_exactly(BIG / 2).unwrap() == payload[..BIG / 2]);
    stop(&rsp);
    assert!(client.stays_open(Duration::from_millis(300)), "within a frame");
    GATE.get().unwrap().open();
    assert!(client.wire.read_exactly(BIG - BIG / 2).unwrap() == payload[BIG / 2..]);
    assert_eq!(client.wire.read_exactly(4).unwrap(), RESTART);
    let answer = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xF4 ^ 2];
    client.send(answer);
    assert_eq!(read_to_end(&mut client), b"", "nothing but the end follows");
    assert_eq!(server.join().unwrap(), [answer]);
}

#[test]
fn websockets_are_closed_one_after_the_other() {
    let (address, server) = server(5, echo);
    let mut rsp = start(&address, "3s");
    let mut sockets: Vec<_> = (0..5).map(|_| connect(&rsp)).collect();
    let since = stop(&rsp);
    let close = move |mut socket: WebSocket<TcpStream>| (code_of(&mut socket), since.elapsed());
    let threads: Vec<_> = sockets.drain(..).map(|socket| std::thread::spawn(move || close(socket))).collect();
    let mut ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(!rsp.log().contains("drain_timeout is over"), "{}", rsp.log());
    ends.sort_by_key(|(_, at)| *at);
    // One each 480 ms.
    for (i, (code, at)) in ends.iter().enumerate() {
        assert_eq!(*code, Some(CloseCode::Restart));
        assert!(*at >= Duration::from_millis(480 * i as u64), "{ends:?}");
    }
    assert!(ends[0].1 < Duration::from_millis(1500), "{ends:?}");
    assert_eq!(server.join().unwrap(), [Some(CloseCode::Restart); 5]);
}

#[test]
fn a_client_that_does_not_answer_is_closed_after_two_seconds() {
    let (address, _server) = server(1, |mut socket| socket.read().is_err());
    let mut rsp = start(&address, "10m");
    let mut client = connect_raw(&rsp);
    let since = stop(&rsp);
    let came = read_to_end(&mut client);
    let waited = since.elapsed();
    assert_eq!(came, RESTART);
    assert!((Duration::from_millis(1900)..Duration::from_millis(3500)).contains(&waited), "{waited:?}");
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

#[test]
fn a_server_that_closes_by_itself_is_heard() {
    let (address, _server) = server(1, |mut socket| {
        socket
            .close(Some(tungstenite::protocol::CloseFrame { code: CloseCode::Away, reason: "".into() }))
            .unwrap();
        socket.flush().unwrap();
        // Neither answers nor ends.
        std::thread::sleep(Duration::from_secs(4));
    });
    let rsp = start(&address, "10m");
    let mut client = connect_raw(&rsp);
    assert_eq!(client.wire.read_exactly(4).unwrap(), [0x88, 2, 0x03, 0xE9]);
    let since = stop(&rsp);
    assert_eq!(read_to_end(&mut client), b"", "no second Close frame");
    assert!(since.elapsed() >= Duration::from_millis(1900), "{:?}", since.elapsed());
}

#[test]
fn another_protocol_is_just_closed_when_its_bytes_are_through() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nwelcome");
        let mut all = Vec::new();
        _ = visit.wire.socket.read_to_end(&mut all);
    });
    let mut rsp = start(&origin.address, "10m");
    let mut client = Client::connect(rsp.address());
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.wire.read_exactly(7).unwrap(), b"welcome");
    let since = stop(&rsp);
    client.expect_end();
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(rsp.directory.read("access.log").contains("end=drained"));
}

#[test]
fn a_websocket_that_begins_during_the_drain_is_closed_at_once() {
    static GATE: std::sync::OnceLock<Gate> = std::sync::OnceLock::new();
    GATE.get_or_init(Gate::new);
    let origin = Origin::run(|visit| {
        visit.head();
        GATE.get().unwrap().wait();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x01\x05hello");
        let mut all = Vec::new();
        _ = visit.wire.socket.read_to_end(&mut all);
    });
    let rsp = start(&origin.address, "10m");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    until("the origin has it", || origin.head_count() == 1);
    stop(&rsp);
    GATE.get().unwrap().open();
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.wire.read_exactly(4).unwrap(), RESTART);
}

#[test]
fn a_websocket_in_the_middle_of_a_frame_is_cut_when_the_drain_timeout_is_over() {
    let (address, _server) = server(1, |mut socket| {
        socket.get_mut().write_all(b"\x82\x7d half of it").unwrap();
        _ = socket.read();
    });
    let mut rsp = start(&address, "500ms");
    let mut client = connect_raw(&rsp);
    assert_eq!(client.wire.read_exactly(13).unwrap(), b"\x82\x7d half of it");
    let since = stop(&rsp);
    let end = client.wire.socket.read(&mut [0]);
    assert!(end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "{end:?}");
    assert!(since.elapsed() >= Duration::from_millis(480), "{:?}", since.elapsed());
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(rsp.directory.read("access.log").contains("end=stopped"));
}
