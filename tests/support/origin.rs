//! Origins: servers in threads that do exactly what a test scripts, and record what they received.

use std::collections::HashMap;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use socket2::{Domain, SockAddr, Socket, Type};

use super::client::socket_address;
use super::message::{Head, Message, request_framing};
use super::wait::{DEADLINE, until, within};
use super::wire::Wire;

/// A running origin; dropping it closes all its connections.
pub struct Origin {
    /// As rsp's config writes it: `ip:port` or `unix:path`.
    pub address: String,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    connections: AtomicUsize,
    heads: AtomicUsize,
    requests: Mutex<Vec<Message>>,
    open: Mutex<HashMap<usize, Socket>>,
}

/// One connection, as an origin's script sees it.
pub struct Visit {
    pub wire: Wire,
    /// 1 for the origin's first connection.
    pub number: usize,
    seen: Arc<Seen>,
}

impl Origin {
    /// Runs `script` for every connection, each in its own thread.
    pub fn run(script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
        Origin::run_at("127.0.0.1:0", script)
    }

    /// The same with a small receive buffer. It must be small before the handshake: a sender waits for half of the
    /// largest window it ever saw.
    pub fn run_with_small_buffer(script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
        let listener = listen("127.0.0.1:0", 1024);
        listener.set_recv_buffer_size(4096).expect("a small buffer");
        Origin::run_on(listener, "", script)
    }

    /// The same at a given address: one that refused before, or a Unix socket.
    pub fn run_at(address: &str, script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
        Origin::run_on(listen(address, 1024), address, script)
    }

    fn run_on(
        listener: Socket,
        address: &str,
        script: impl Fn(&mut Visit) + Send + Sync + 'static,
    ) -> Origin {
        let address = match listener.local_addr().ok().and_then(|a| a.as_socket()) {
            Some(bound) => bound.to_string(),
            None => address.to_string(),
        };
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let accepting = std::thread::spawn(move || accept_all(listener, shared, Arc::new(script)));
        Origin { address, seen, accepting }
    }

    /// Answers every request with the same bytes.
    pub fn answering(bytes: impl AsRef<[u8]>) -> Origin {
        let bytes = bytes.as_ref().to_vec();
        Origin::run(move |visit| while visit.request().is_some() && visit.send(&bytes) {})
    }

    /// Answers every request with its name, so that a test sees which server was chosen.
    pub fn named(name: &str) -> Origin {
        Origin::named_at("127.0.0.1:0", name)
    }

    pub fn named_at(address: &str, name: &str) -> Origin {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        Origin::run_at(address, move |visit| while visit.request().is_some() && visit.send(&bytes) {})
    }

    /// Answers 200 with the request's body.
    pub fn echo() -> Origin {
        Origin::run(|visit| {
            while let Some(request) = visit.request() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
                if !visit.send([head.as_bytes(), &request.body].concat()) {
                    return;
                }
            }
        })
    }

    /// The complete requests, in the order of completion.
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.seen.requests).clone()
    }

    pub fn request_count(&self) -> usize {
        lock(&self.seen.requests).len()
    }

    /// Number of request heads, whether or not the script read the body.
    pub fn head_count(&self) -> usize {
        self.seen.heads.load(Ordering::SeqCst)
    }

    /// The last complete request.
    pub fn last(&self) -> Message {
        lock(&self.seen.requests).last().cloned().expect("a request reached the origin")
    }

    /// Connections accepted so far.
    pub fn connection_count(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections whose script is still running.
    pub fn open_count(&self) -> usize {
        lock(&self.seen.open).len()
    }

    pub fn wait_for_requests(&self, count: usize) {
        until(&format!("{count} requests reached the origin"), || self.request_count() >= count);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the listener.
        if let Ok((domain, target)) = socket_address(&self.address)
            && let Ok(socket) = Socket::new(domain, Type::STREAM, None)
            && socket.connect(&target).is_ok()
        {
            // Until the listener is closed, a client could connect again.
            within(DEADLINE, || self.accepting.is_finished());
        }
        for socket in lock(&self.seen.open).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen(address: &str, backlog: i32) -> Socket {
    let (domain, target) = socket_address(address).expect("an address");
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    if domain != Domain::UNIX {
        socket.set_reuse_address(true).expect("reusing an address");
    }
    socket.bind(&target).unwrap_or_else(|error| panic!("an origin cannot bind {address}: {error}"));
    socket.listen(backlog).expect("listening");
    socket
}

fn accept_all(listener: Socket, seen: Arc<Seen>, script: Arc<dyn Fn(&mut Visit) + Send + Sync>) {
    while let Ok((socket, _)) = listener.accept() {
        if seen.stop.load(Ordering::SeqCst) {
            return;
        }
        let _ = socket.set_tcp_nodelay(true);
        let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
        lock(&seen.open).insert(number, socket.try_clone().expect("a descriptor"));
        let (seen, script) = (seen.clone(), script.clone());
        std::thread::spawn(move || {
            let mut visit = Visit { wire: Wire::new(socket), number, seen: seen.clone() };
            // Some readers are slow on purpose, and others get their turn late.
            visit.wire.socket.set_write_timeout(Some(DEADLINE * 6)).expect("a write timeout");
            script(&mut visit);
            // The clone is dropped first: the last descriptor closes (or resets) the connection.
            lock(&seen.open).remove(&number);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Visit {
    /// The next complete request; `None` when the connection ended.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.head()?;
        let framing = request_framing(&head);
        let mut body = Vec::new();
        let trailers = self.wire.body(framing, &mut |bytes| body.extend_from_slice(bytes)).ok()?;
        let message = Message { head, framing, body, trailers };
        lock(&self.seen.requests).push(message.clone());
        Some(message)
    }

    /// The next head, leaving the body unread.
    pub fn head(&mut self) -> Option<Head> {
        let head = self.wire.head().ok()??;
        self.seen.heads.fetch_add(1, Ordering::SeqCst);
        Some(head)
    }

    /// False if the peer is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes).is_ok()
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        self.wire.reset_on_close();
    }

    /// Waits until rsp has closed its end.
    pub fn wait_for_end(&mut self) {
        while matches!(self.wire.read_some(&mut [0; 4096]), Ok(n) if n > 0) {}
    }
}

/// An address that refuses connections and that nobody else can bind meanwhile: bound, not listening.
pub struct RefusingAddress {
    pub address: String,
    _socket: Socket,
}

impl RefusingAddress {
    pub fn new() -> RefusingAddress {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("reusing an address");
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("a port");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("an address").to_string();
        RefusingAddress { address, _socket: socket }
    }
}

/// An address whose connections are never completed: its accept queue is full, so the kernel drops SYNs.
pub struct FullListener {
    pub address: String,
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl FullListener {
    pub fn new() -> FullListener {
        let listener = listen("127.0.0.1:0", 0);
        let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("an address");
        let fillers = (0..4).map(|_| knock(&address.into())).collect();
        FullListener { address: address.to_string(), _listener: listener, _fillers: fillers }
    }
}

/// The same as a Unix socket, which reports the full queue at once.
pub struct FullSocket {
    pub address: String,
    listener: Socket,
    fillers: Vec<Socket>,
}

impl FullSocket {
    pub fn at(path: &std::path::Path) -> FullSocket {
        let address = format!("unix:{}", path.display());
        let listener = listen(&address, 0);
        let target = SockAddr::unix(path).expect("a path");
        let mut fillers = Vec::new();
        loop {
            let filler = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("nonblocking");
            if filler.connect(&target).is_err() {
                return FullSocket { address, listener, fillers };
            }
            fillers.push(filler);
        }
    }

    /// Begins to accept and to answer.
    pub fn serve(self, name: &str) -> Origin {
        drop(self.fillers);
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let script = move |visit: &mut Visit| while visit.request().is_some() && visit.send(&bytes) {};
        Origin::run_on(self.listener, &self.address, script)
    }
}

fn knock(target: &SockAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("nonblocking");
    let _ = socket.connect(target);
    socket
}

/// The first port of the kernel's ephemeral range.
fn first_ephemeral_port() -> u32 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(0)
}

/// A free port for a program that cannot choose one itself. It is outside of the ephemeral range, and each is used
/// once in a process: it stays free until that program takes it, also while the program is down.
pub fn free_port() -> u16 {
    const LOWEST: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = first_ephemeral_port().saturating_sub(LOWEST);
    // Another test process begins elsewhere.
    let first = std::process::id().wrapping_mul(97);
    let port = |_| {
        let at = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        u16::try_from(LOWEST + at).ok().filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    };
    (0..count).find_map(port).unwrap_or_else(any_port)
}

/// A port that was free a moment ago.
fn any_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
