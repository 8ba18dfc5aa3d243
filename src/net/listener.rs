//! Listening sockets: bound before anything starts, so that a port in use or a missing permission is an error of
//! the start and nothing is half up.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::Stream;
use crate::config::Address;

/// Connections the kernel keeps for us while we are busy; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 4096;

pub struct Listener {
    socket: Bound,
}

enum Bound {
    Tcp(TcpListener),
    /// The path is removed when the listener goes.
    Unix(UnixListener, PathBuf),
}

/// A new connection and who is at its other end (`None` on a Unix socket).
pub struct Accepted {
    pub stream: Stream,
    pub peer: Option<SocketAddr>,
}

/// Binds and listens.
pub fn bind(address: &Address) -> io::Result<Listener> {
    let socket = match address {
        Address::Ip(address) => Bound::Tcp(bind_tcp(*address)?),
        Address::Unix(path) => Bound::Unix(bind_unix(path)?, path.clone()),
    };
    Ok(Listener { socket })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it (Linux), which saves a system call each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    // As nginx does: who may connect is decided by the directory's permissions.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(UnixListener::from_std(listener))
}

/// A socket file whose owner is gone would make every bind fail: it is removed, but only if it is a socket and
/// nobody answers there.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match StdUnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

impl Listener {
    /// The address with the port the kernel chose for port 0.
    pub fn address(&self) -> String {
        match &self.socket {
            Bound::Tcp(l) => {
                l.local_addr().map_or_else(|e| format!("unknown address ({e})"), |a| a.to_string())
            }
            Bound::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub fn watch(&mut self, registry: &Registry, token: u64) -> io::Result<()> {
        let token = Token(token as usize);
        match &mut self.socket {
            Bound::Tcp(l) => registry.register(l, token, Interest::READABLE),
            Bound::Unix(l, _) => registry.register(l, token, Interest::READABLE),
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

impl Drop for Listener {
    fn drop(&mut self) {
        if let Bound::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_noticed() {
        let first = bind(&Address::Ip("127.0.0.1:0".parse().unwrap())).unwrap();
        let second = bind(&Address::Ip(first.address().parse().unwrap()));
        assert_eq!(second.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_stale_socket_file_is_replaced_a_live_one_and_a_plain_file_are_not() {
        let path = std::env::temp_dir().join(format!("rsp-listener-{}.sock", std::process::id()));
        drop(StdUnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let live = bind(&address).unwrap();
        assert_eq!(bind(&address).err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        drop(live);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert_eq!(bind(&address).err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
        fs::remove_file(&path).unwrap();
    }
}
