//! A real WebSocket library on both sides of rsp: ten thousand messages each way, and a proper close.

use std::net::TcpStream;
use std::thread::JoinHandle;

use crate::support::*;
use tungstenite::{Message as Frame, WebSocket, accept, client};

const MESSAGES: usize = 10_000;

/// A WebSocket server that echoes every message until the client closes.
fn echo_server() -> (String, JoinHandle<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut socket = accept(stream).unwrap();
        let mut echoed = 0;
        loop {
            match socket.read() {
                Ok(frame @ (Frame::Text(_) | Frame::Binary(_))) => {
                    socket.send(frame).unwrap();
                    echoed += 1;
                }
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return echoed,
                Err(error) => panic!("after {echoed} messages: {error}"),
            }
        }
    });
    (address, server)
}

fn connect(rsp: &Rsp) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(rsp.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (socket, response) = client(format!("ws://{}/chat", rsp.address()), stream).unwrap();
    assert_eq!(response.status(), 101);
    socket
}

fn say_goodbye(mut socket: WebSocket<TcpStream>) {
    socket.close(None).unwrap();
    let end = loop {
        match socket.read() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
}

#[test]
fn ten_thousand_messages_are_echoed_one_by_one() {
    let (address, server) = echo_server();
    let rsp = Rsp::over(&[&address]);
    let mut socket = connect(&rsp);
    for number in 0..MESSAGES {
        let text = format!("message {number} {}", "x".repeat(number % 300));
        socket.send(Frame::text(text.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Frame::text(text));
    }
    say_goodbye(socket);
    assert_eq!(server.join().unwrap(), MESSAGES);
}

#[test]
fn ten_thousand_messages_pass_both_ways_at_once() {
    let (address, server) = echo_server();
    let rsp = Rsp::over(&[&address]);
    let mut socket = connect(&rsp);
    let mut received = 0;
    // A window of messages in flight, small enough that the two ends never wait for each other's buffers.
    for number in 0..MESSAGES {
        socket.send(Frame::binary(content_bytes(number as u64, 100 + number as u64 % 500))).unwrap();
        if number >= 50 {
            check(&mut socket, &mut received);
        }
    }
    while received < MESSAGES {
        check(&mut socket, &mut received);
    }
    say_goodbye(socket);
    assert_eq!(server.join().unwrap(), MESSAGES);
}

fn check(socket: &mut WebSocket<TcpStream>, received: &mut usize) {
    let number = *received as u64;
    assert_eq!(socket.read().unwrap(), Frame::binary(content_bytes(number, 100 + number % 500)));
    *received += 1;
}

#[test]
fn large_messages_pass_whole() {
    let (address, server) = echo_server();
    let rsp = Rsp::over(&[&address]);
    let mut socket = connect(&rsp);
    for seed in 0..5 {
        let frame = Frame::binary(content_bytes(seed, 1_000_000));
        socket.send(frame.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), frame);
    }
    say_goodbye(socket);
    assert_eq!(server.join().unwrap(), 5);
}
