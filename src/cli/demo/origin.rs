//! One of the demo's servers: a listener thread and a thread a connection, on std's blocking sockets. It can simulate
//! a restart: connections cut, port closed, then back on the same port.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{pages, wire};

/// How long `/kill` takes the server down.
pub const AWAY: Duration = Duration::from_secs(10);
const REBIND_PAUSE: Duration = Duration::from_millis(100);

pub struct Origin {
    pub name: &'static str,
    pub address: SocketAddr,
}

/// OriginState by the threads of one server.
pub struct OriginState {
    pub name: &'static str,
    pub address: SocketAddr,
    pub served: AtomicU64,
    going: AtomicBool,
    connections: Mutex<HashMap<u64, TcpStream>>,
    away: Duration,
}

impl Origin {
    /// Listens on a free loopback port until the process ends.
    pub fn start(name: &'static str) -> io::Result<Origin> {
        Origin::start_with(name, AWAY)
    }

    fn start_with(name: &'static str, away: Duration) -> io::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (served, going) = (AtomicU64::new(0), AtomicBool::new(false));
        let connections = Mutex::default();
        let shared = Arc::new(OriginState { name, address, served, going, connections, away });
        thread::Builder::new().name(name.into()).spawn(move || shared.live(listener))?;
        Ok(Origin { name, address })
    }
}

impl OriginState {
    /// Takes the server down for a while, with all connections.
    pub fn go_away(&self) {
        self.going.store(true, Ordering::Release);
        // Wakes the listener's thread from accept.
        drop(TcpStream::connect(self.address));
    }

    fn live(self: Arc<OriginState>, mut listener: TcpListener) {
        loop {
            self.accept(listener);
            for (_, connection) in self.connections().drain() {
                let _ = connection.shutdown(Shutdown::Both);
            }
            thread::sleep(self.away);
            self.going.store(false, Ordering::Release);
            listener = self.rebind();
        }
    }

    /// Returns, closing the port, when the server goes down.
    fn accept(self: &Arc<OriginState>, listener: TcpListener) {
        for (number, connection) in (0..).zip(listener.incoming()) {
            if self.going.load(Ordering::Acquire) {
                return;
            }
            match connection {
                Ok(connection) => self.spawn(number, connection),
                // Probably out of descriptors: wait until a connection ends.
                Err(_) => thread::sleep(REBIND_PAUSE),
            }
        }
    }

    fn rebind(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => return listener,
                Err(_) => thread::sleep(REBIND_PAUSE),
            }
        }
    }

    fn spawn(self: &Arc<OriginState>, number: u64, connection: TcpStream) {
        let shared = self.clone();
        let Ok(other) = connection.try_clone() else { return };
        self.connections().insert(number, other);
        let serve = move || {
            // Errors are peers that left.
            let _ = shared.serve(&connection);
            let _ = connection.shutdown(Shutdown::Both);
            shared.connections().remove(&number);
        };
        if thread::Builder::new().spawn(serve).is_err() {
            self.connections().remove(&number);
        }
    }

    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut input = BufReader::new(connection);
        let mut output = connection;
        while let Some(request) = wire::read_request(&mut input, &mut output)? {
            self.served.fetch_add(1, Ordering::Relaxed);
            pages::answer(self, &request, &mut output)?;
            if request.path() == "/kill" {
                self.go_away();
            }
            if request.path() == "/kill" || request.is_last() {
                break;
            }
        }
        Ok(())
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Instant;

    fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        connection.write_all(request.as_bytes())?;
        connection.shutdown(Shutdown::Write)?;
        let mut response = String::new();
        connection.read_to_string(&mut response)?;
        Ok(response)
    }

    const HELLO: &str = "GET / HTTP/1.1\r\nHost: demo\r\n\r\n";

    #[test]
    fn a_server_shows_its_name_and_the_request_over_keep_alive() {
        let origin = Origin::start("apple").unwrap();
        let response = ask(origin.address, &HELLO.repeat(2)).unwrap();
        assert_eq!(response.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{response}");
        assert!(response.contains("apple") && response.contains("Host: demo"), "{response}");
    }

    #[test]
    fn echo_returns_bodies_of_any_framing() {
        let origin = Origin::start("pear").unwrap();
        let sized = "POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2;x=y\r\nwo\r\n3\r\nrld\r\n0\r\nTrailer: t\r\n\r\n";
        let expecting =
            "POST /echo HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
        let response = ask(origin.address, &[sized, chunked, expecting].concat()).unwrap();
        for wanted in ["\r\n\r\nhelloHTTP/1.1", "\r\n\r\nworldHTTP/1.1 100 Continue\r\n\r\n", "\r\n\r\nok"] {
            assert!(response.contains(wanted), "{response}");
        }
    }

    #[test]
    fn a_killed_server_refuses_connections_and_returns_on_its_port() {
        let origin = Origin::start_with("plum", Duration::from_secs(2)).unwrap();
        let mut idle = TcpStream::connect(origin.address).unwrap();
        assert!(ask(origin.address, "GET /kill HTTP/1.1\r\nHost: d\r\n\r\n").unwrap().contains("plum"));
        assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0, "an idle connection is cut");
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut refused, mut back) = (false, false);
        while !(refused && back) {
            match ask(origin.address, HELLO) {
                Ok(response) => back = refused && response.contains("plum"),
                Err(_) => refused = true,
            }
            assert!(Instant::now() < deadline, "refused: {refused}, back: {back}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
