//! Listening sockets. All are bound before anything starts, so that a port in use or a missing permission fails the
//! start as a whole.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Stream, options, queue};
use crate::config::{self, Address};

pub struct Listener {
    socket: Bound,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<SocketFile>),
}

/// The socket's file, removed with its last listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A new connection and its peer's address (`None` on a Unix socket).
pub struct Accepted {
    pub stream: Stream,
    pub peer: Option<SocketAddr>,
}

/// Binds and listens.
pub fn bind(wanted: &config::ListenerConfig) -> io::Result<Listener> {
    let socket = match &wanted.address {
        Address::Ip(address) => Bound::Tcp(TcpListener::from_std(bind_tcp(*address, wanted)?.into())),
        Address::Unix(path) => {
            let (listener, file) = bind_unix(path, wanted.backlog, MODE)?;
            Bound::Unix(UnixListener::from_std(listener), Arc::new(file))
        }
        name @ (Address::Name { .. } | Address::Srv(_)) => return Err(name.not_resolved()),
    };
    Ok(Listener { socket })
}

/// A socket at this path, whose file has these permissions before anybody can connect.
pub fn bind_private(path: &Path, mode: u32) -> io::Result<Listener> {
    let (listener, file) = bind_unix(path, config::BACKLOG, mode)?;
    Ok(Listener { socket: Bound::Unix(UnixListener::from_std(listener), Arc::new(file)) })
}

/// Binds and listens for `workers` workers that accept independently.
pub fn bind_for(wanted: &config::ListenerConfig, workers: usize) -> io::Result<Vec<Listener>> {
    match &wanted.address {
        _ if workers == 1 => Ok(vec![bind(wanted)?]),
        Address::Ip(address) => {
            let tcp = |socket: Socket| Bound::Tcp(TcpListener::from_std(socket.into()));
            let group = bind_group(*address, wanted, workers)?;
            Ok(group.into_iter().map(|socket| Listener { socket: tcp(socket) }).collect())
        }
        Address::Unix(path) => share_unix(path, wanted, workers),
        name @ (Address::Name { .. } | Address::Srv(_)) => Err(name.not_resolved()),
    }
}

fn bind_tcp(address: SocketAddr, wanted: &config::ListenerConfig) -> io::Result<Socket> {
    let socket = tcp_socket(address, wanted)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(wanted))?;
    Ok(socket)
}

/// Binds sockets to one port, among which the kernel distributes connections by a hash of their addresses
/// (SO_REUSEPORT, socket(7)). With that option alone, a second program could join the port unnoticed, so the first
/// socket binds without it, which fails if the port is in use, and sets it afterwards.
fn bind_group(address: SocketAddr, wanted: &config::ListenerConfig, count: usize) -> io::Result<Vec<Socket>> {
    let first = bind_tcp(address, wanted)?;
    // Port 0 was replaced by the kernel.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    first.set_reuse_port(true)?;
    let mut group = vec![first];
    for _ in 1..count {
        group.push(join_group(address, wanted)?);
    }
    Ok(group)
}

fn join_group(address: SocketAddr, wanted: &config::ListenerConfig) -> io::Result<Socket> {
    let socket = tcp_socket(address, wanted)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(wanted))?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr, wanted: &config::ListenerConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit these (Linux), which saves system calls.
    socket.set_tcp_nodelay(true)?;
    options::set(SockRef::from(&socket), &wanted.sockets);
    if wanted.defer_accept {
        options::defer_accept(&SockRef::from(&socket), true)?;
    }
    Ok(socket)
}

/// The kernel caps it at net.core.somaxconn.
fn backlog(wanted: &config::ListenerConfig) -> i32 {
    i32::try_from(wanted.backlog).unwrap_or(i32::MAX)
}

/// As in nginx: access is controlled by the directory's permissions.
const MODE: u32 = 0o666;

fn bind_unix(path: &Path, backlog: u32, mode: u32) -> io::Result<(StdUnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = StdUnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// Unix sockets have no SO_REUSEPORT: all workers accept from one queue.
fn share_unix(path: &Path, wanted: &config::ListenerConfig, count: usize) -> io::Result<Vec<Listener>> {
    let (listener, file) = bind_unix(path, wanted.backlog, MODE)?;
    let file = Arc::new(file);
    let copy = |_| {
        let copy = UnixListener::from_std(listener.try_clone()?);
        Ok(Listener { socket: Bound::Unix(copy, file.clone()) })
    };
    (0..count).map(copy).collect()
}

/// Removes a stale socket file, which would make bind fail: only if it is a socket that refuses connections.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match connect_at_once(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Does not wait where the queue of a socket is full.
fn connect_at_once(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

impl Listener {
    /// Another descriptor of the same socket: the socket is open until all of them are dropped.
    pub fn share(&self) -> io::Result<Listener> {
        let socket = match &self.socket {
            Bound::Tcp(l) => Bound::Tcp(TcpListener::from_std(l.as_fd().try_clone_to_owned()?.into())),
            Bound::Unix(l, file) => {
                let copy = l.as_fd().try_clone_to_owned()?;
                Bound::Unix(UnixListener::from_std(copy.into()), file.clone())
            }
        };
        Ok(Listener { socket })
    }

    /// Lets no further connections into the queue, as far as the kernel can do that: its shortest queue is one.
    pub fn refuse_more(&self) {
        // A failure only lets some more in.
        let _ = match &self.socket {
            Bound::Tcp(l) => SockRef::from(l).listen(0),
            Bound::Unix(l, _) => SockRef::from(l).listen(0),
        };
    }

    /// Changes the options of a socket that listens already. Connections that wait in its queue keep the old ones.
    /// Returns a line if one cannot be taken back.
    pub fn change_options(
        &self,
        from: &config::ListenerConfig,
        to: &config::ListenerConfig,
    ) -> io::Result<Option<String>> {
        match &self.socket {
            Bound::Tcp(l) => {
                let line = options::change(SockRef::from(l), &from.sockets, &to.sockets);
                options::defer_accept(&SockRef::from(l), to.defer_accept)?;
                SockRef::from(l).listen(backlog(to))?;
                Ok(line)
            }
            Bound::Unix(l, _) => SockRef::from(l).listen(backlog(to)).map(|()| None),
        }
    }

    /// Returns the address, with the kernel's choice for port 0.
    pub fn address(&self) -> String {
        match &self.socket {
            Bound::Tcp(l) => {
                l.local_addr().map_or_else(|e| format!("unknown address ({e})"), |a| a.to_string())
            }
            Bound::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    pub fn watch(&mut self, registry: &Registry, token: u64) -> io::Result<()> {
        let token = Token(token as usize);
        match &mut self.socket {
            Bound::Tcp(l) => registry.register(l, token, Interest::READABLE),
            Bound::Unix(l, _) => registry.register(l, token, Interest::READABLE),
        }
    }

    /// Returns the length of the accept queue, if the kernel reports it. Later connections raise a new event.
    pub fn waiting(&self) -> Option<usize> {
        match &self.socket {
            Bound::Tcp(l) => queue::waiting(l.as_raw_fd()),
            Bound::Unix(..) => None,
        }
    }

    pub fn accept(&mut self) -> io::Result<Accepted> {
        match &mut self.socket {
            Bound::Tcp(l) => {
                l.accept().map(|(s, peer)| Accepted { stream: Stream::Tcp(s), peer: Some(peer) })
            }
            Bound::Unix(l, _) => l.accept().map(|(s, _)| Accepted { stream: Stream::Unix(s), peer: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::SocketOptions;

    fn on(address: &str) -> config::ListenerConfig {
        config::ListenerConfig::at(Address::Ip(address.parse().unwrap()))
    }

    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let sockets = SocketOptions { receive_buffer: Some(8192), send_buffer: Some(16384), busy_poll: None };
        let mut listener = bind(&config::ListenerConfig { sockets, ..on("127.0.0.1:0") }).unwrap();
        let _client = std::net::TcpStream::connect(listener.address()).unwrap();
        let Stream::Tcp(accepted) = listener.accept().unwrap().stream else { panic!("no TCP") };
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.recv_buffer_size().unwrap(), 16384);
        assert_eq!(accepted.send_buffer_size().unwrap(), 32768);
    }

    #[test]
    fn a_deferred_connection_is_accepted_once_bytes_arrive() {
        let mut listener = bind(&config::ListenerConfig { defer_accept: true, ..on("127.0.0.1:0") }).unwrap();
        let mut client = std::net::TcpStream::connect(listener.address()).unwrap();
        assert_eq!(listener.accept().err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        client.write_all(b"GET").unwrap();
        // Loopback: the written bytes have arrived.
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn binding_a_port_in_use_fails() {
        let first = bind(&on("127.0.0.1:0")).unwrap();
        let second = bind(&on(&first.address()));
        assert_eq!(second.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_group_shares_its_port_and_no_other_socket_can_join() {
        let mut group = bind_for(&on("127.0.0.1:0"), 3).unwrap();
        let address = group[0].address();
        assert!(group.iter().all(|listener| listener.address() == address));
        let taken = on(&address);
        for again in [bind(&taken).err(), bind_for(&taken, 2).err()] {
            assert_eq!(again.map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        }
        let clients: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
        let counts: Vec<usize> =
            group.iter_mut().map(|l| std::iter::from_fn(|| l.accept().ok()).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }

    #[test]
    fn a_shared_socket_file_is_removed_with_its_last_listener() {
        let path = std::env::temp_dir().join(format!("rsp-shared-{}.sock", std::process::id()));
        let mut listeners = bind_for(&config::ListenerConfig::at(Address::Unix(path.clone())), 2).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        listeners.pop();
        assert!(path.exists() && listeners[0].accept().is_ok());
        listeners.pop();
        assert!(!path.exists());
    }

    #[test]
    fn only_a_stale_socket_file_is_replaced() {
        let path = std::env::temp_dir().join(format!("rsp-listener-{}.sock", std::process::id()));
        drop(StdUnixListener::bind(&path).unwrap());
        let address = config::ListenerConfig::at(Address::Unix(path.clone()));
        let live = bind(&address).unwrap();
        assert_eq!(bind(&address).err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        drop(live);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert_eq!(bind(&address).err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
        fs::remove_file(&path).unwrap();
    }
}
