//! Listening sockets. All are bound before anything starts, so that a port in use or a missing permission fails the
//! start as a whole. Those that another process has opened (`inherited`) take the place of new ones.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::inherited::{Inherited, deal};
use super::{Stream, options, queue};
use crate::config::{self, Address};

/// A listener of the config in one worker.
pub struct Listener {
    /// One; several if they were passed to this process.
    sockets: Vec<Bound>,
    /// The socket that the next accept tries first.
    next: usize,
}

enum Bound {
    Tcp(TcpListener),
    /// The file is another's if the socket came from systemd.
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

/// The socket's file, removed with its last listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !HANDED_OVER.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// The sockets of this process are another's now, and their files too.
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Whether the files of Unix sockets are another process's: the one that has taken over, or the one that this one has
/// not taken over from yet.
pub fn leave_socket_files(leave: bool) {
    HANDED_OVER.store(leave, Ordering::Release);
}

/// A new connection and its peer's address (`None` on a Unix socket).
pub struct Accepted {
    pub stream: Stream,
    pub peer: Option<SocketAddr>,
}

/// Binds and listens.
pub fn bind(wanted: &config::ListenerConfig) -> io::Result<Listener> {
    Ok(Listener::of(match &wanted.address {
        Address::Ip(address) => tcp(bind_tcp(*address, wanted)?),
        Address::Unix(path) => {
            let (listener, file) = bind_unix(path, wanted.backlog, MODE)?;
            Bound::Unix(UnixListener::from_std(listener), Some(Arc::new(file)))
        }
        other => return Err(other.not_bindable()),
    }))
}

/// A socket at this path, whose file has these permissions before anybody can connect.
pub fn bind_private(path: &Path, mode: u32) -> io::Result<Listener> {
    let (listener, file) = bind_unix(path, config::BACKLOG, mode)?;
    Ok(Listener::of(Bound::Unix(UnixListener::from_std(listener), Some(Arc::new(file)))))
}

/// Binds and listens for `workers` workers that accept independently.
pub fn bind_for(wanted: &config::ListenerConfig, workers: usize) -> io::Result<Vec<Listener>> {
    match &wanted.address {
        _ if workers == 1 => Ok(vec![bind(wanted)?]),
        Address::Ip(address) => {
            let group = bind_group(*address, wanted, workers)?;
            Ok(group.into_iter().map(|socket| Listener::of(tcp(socket))).collect())
        }
        Address::Unix(path) => share_unix(path, wanted, workers),
        other => Err(other.not_bindable()),
    }
}

/// The same, with sockets that were passed for this listener, if there are any. `number`: from 1, among the listeners
/// with this address.
pub fn open_for(
    wanted: &config::ListenerConfig,
    number: usize,
    workers: usize,
    inherited: &Inherited,
) -> io::Result<Vec<Listener>> {
    let passed = inherited.sockets_of(&wanted.address, number)?;
    if passed.is_empty() {
        return bind_for(wanted, workers);
    }
    let mut listeners: Vec<Listener> =
        (0..workers).map(|_| Listener { sockets: Vec::new(), next: 0 }).collect();
    let file = match &wanted.address {
        Address::Unix(path) => Some(Arc::new(SocketFile(path.clone()))),
        _ => None,
    };
    for group in by_address(passed)? {
        group.iter().try_for_each(|socket| set_listening(&SockRef::from(socket), wanted))?;
        for (listener, hand) in listeners.iter_mut().zip(deal(group.len(), workers)) {
            for index in hand {
                listener.sockets.push(bound(group[index].try_clone()?, &file)?);
            }
        }
    }
    Ok(listeners)
}

/// A socket that was passed under this name, if there is one. `path`: of its file.
pub fn open_named(key: &str, path: Option<&Path>, inherited: &Inherited) -> io::Result<Option<Listener>> {
    let Some(socket) = inherited.sockets_named(key)?.into_iter().next() else { return Ok(None) };
    let file = path.map(|path| Arc::new(SocketFile(path.to_owned())));
    bound(socket, &file).map(|socket| Some(Listener::of(socket)))
}

/// Sockets on one address share its connections: a worker that accepts from one of them has its share.
fn by_address(sockets: Vec<Socket>) -> io::Result<Vec<Vec<Socket>>> {
    let mut groups: Vec<(SockAddr, Vec<Socket>)> = Vec::new();
    for socket in sockets {
        let address = socket.local_addr()?;
        match groups.iter_mut().find(|(known, _)| *known == address) {
            Some((_, group)) => group.push(socket),
            None => groups.push((address, vec![socket])),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// Sets the options of a socket that listens already. A second listen(2) only changes the length of the queue.
fn set_listening(socket: &SockRef<'_>, wanted: &config::ListenerConfig) -> io::Result<()> {
    if socket.domain()? != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        if let Some(address) = socket.local_addr()?.as_socket() {
            options::stop_pacing_within_machine(SockRef::from(&**socket), address);
        }
        options::set(SockRef::from(&**socket), &wanted.sockets);
        options::defer_accept(socket, wanted.defer_accept)?;
    }
    socket.listen(backlog(wanted))
}

fn bound(socket: Socket, file: &Option<Arc<SocketFile>>) -> io::Result<Bound> {
    Ok(match socket.domain()? {
        Domain::UNIX => Bound::Unix(UnixListener::from_std(StdUnixListener::from(socket)), file.clone()),
        _ => tcp(socket),
    })
}

fn tcp(socket: Socket) -> Bound {
    Bound::Tcp(TcpListener::from_std(socket.into()))
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
    options::stop_pacing_within_machine(SockRef::from(&socket), address);
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
        Ok(Listener::of(Bound::Unix(copy, Some(file.clone()))))
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
    fn of(socket: Bound) -> Listener {
        Listener { sockets: vec![socket], next: 0 }
    }

    /// Other descriptors of the same sockets: a socket is open until all of its are dropped.
    pub fn share(&self) -> io::Result<Listener> {
        let sockets = self.sockets.iter().map(Bound::share).collect::<io::Result<_>>()?;
        Ok(Listener { sockets, next: 0 })
    }

    /// Ends what `watch` began. Another process may have the same sockets: dropping them alone would not.
    pub fn unwatch(&mut self, registry: &Registry) {
        for socket in &mut self.sockets {
            // Fails only if it was not watched.
            let _ = match socket {
                Bound::Tcp(l) => registry.deregister(l),
                Bound::Unix(l, _) => registry.deregister(l),
            };
        }
    }

    /// Lets no further connections into the queue, as far as the kernel can do that: its shortest queue is one.
    pub fn refuse_more(&self) {
        // A failure only lets some more in.
        self.sockets.iter().for_each(|socket| _ = socket.as_socket().listen(0));
    }

    /// Changes the options of sockets that listen already. Connections that wait in a queue keep the old ones. Returns a
    /// line if one cannot be taken back.
    pub fn change_options(
        &self,
        from: &config::ListenerConfig,
        to: &config::ListenerConfig,
    ) -> io::Result<Option<String>> {
        self.sockets.iter().try_for_each(|socket| set_listening(&socket.as_socket(), to))?;
        let is_tcp = self.sockets.iter().any(|socket| matches!(socket, Bound::Tcp(_)));
        Ok(is_tcp.then(|| options::kept(&from.sockets, &to.sockets)).flatten())
    }

    /// Returns the first address, with the kernel's choice for port 0.
    pub fn address(&self) -> String {
        self.addresses().next().unwrap_or_default()
    }

    pub fn addresses(&self) -> impl Iterator<Item = String> {
        self.sockets.iter().map(Bound::address)
    }

    /// Returns a descriptor of each socket, to be passed to another process.
    pub fn handles(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(|socket| socket.as_socket().try_clone().map(OwnedFd::from)).collect()
    }

    pub fn watch(&mut self, registry: &Registry, token: u64) -> io::Result<()> {
        let token = Token(token as usize);
        self.sockets.iter_mut().try_for_each(|socket| match socket {
            Bound::Tcp(l) => registry.register(l, token, Interest::READABLE),
            Bound::Unix(l, _) => registry.register(l, token, Interest::READABLE),
        })
    }

    /// Returns the length of the accept queues, if the kernel reports them. Later connections raise a new event.
    pub fn waiting(&self) -> Option<usize> {
        self.sockets.iter().try_fold(0, |sum, socket| match socket {
            Bound::Tcp(l) => queue::waiting(l.as_raw_fd()).map(|waiting| sum + waiting),
            Bound::Unix(..) => None,
        })
    }

    /// Accepts from the sockets by turns, so that a busy one cannot keep the others waiting.
    pub fn accept(&mut self) -> io::Result<Accepted> {
        let mut accepted = Err(io::ErrorKind::WouldBlock.into());
        for _ in 0..self.sockets.len() {
            accepted = self.sockets[self.next].accept();
            self.next = if self.next + 1 == self.sockets.len() { 0 } else { self.next + 1 };
            if !accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
        accepted
    }
}

impl Bound {
    fn as_socket(&self) -> SockRef<'_> {
        match self {
            Bound::Tcp(l) => SockRef::from(l),
            Bound::Unix(l, _) => SockRef::from(l),
        }
    }

    fn share(&self) -> io::Result<Bound> {
        let file = match self {
            Bound::Tcp(_) => None,
            Bound::Unix(_, file) => file.clone(),
        };
        bound(self.as_socket().try_clone()?, &file)
    }

    fn address(&self) -> String {
        match self {
            Bound::Tcp(l) => {
                l.local_addr().map_or_else(|e| format!("unknown address ({e})"), |a| a.to_string())
            }
            Bound::Unix(_, Some(file)) => format!("unix:{}", file.0.display()),
            Bound::Unix(l, None) => {
                let address = l.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or("unix:".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    fn accept(&mut self) -> io::Result<Accepted> {
        match self {
            Bound::Tcp(l) => {
                l.accept().map(|(s, peer)| Accepted { stream: Stream::Tcp(s), peer: Some(unmapped(peer)) })
            }
            Bound::Unix(l, _) => l.accept().map(|(s, _)| Accepted { stream: Stream::Unix(s), peer: None }),
        }
    }
}

/// Without IPV6_V6ONLY, as systemd's sockets are, an IPv4 client has an IPv6 address.
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::new(four.into(), six.port()),
            None => address,
        },
        four => four,
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
        assert!(!accepted.tcp_congestion().unwrap().starts_with(b"bbr"), "paced within the machine");
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
    fn passed_sockets_are_accepted_from_by_turns_and_have_the_options_of_the_config() {
        let sockets = SocketOptions { receive_buffer: Some(8192), send_buffer: None, busy_poll: None };
        let wanted =
            config::ListenerConfig { sockets, ..config::ListenerConfig::at(Address::Systemd("web".into())) };
        let mut inherited = Inherited::default();
        let opened = ["127.0.0.1:0", "[::]:0"].map(|address| std::net::TcpListener::bind(address).unwrap());
        let addresses = [0, 1].map(|at: usize| {
            let port = opened[at].local_addr().unwrap().port();
            format!("127.0.0.1:{port}")
        });
        opened.into_iter().for_each(|socket| inherited.add("systemd:web", socket));
        let path = std::env::temp_dir().join(format!("rsp-passed-{}.sock", std::process::id()));
        inherited.add("systemd:web", StdUnixListener::bind(&path).unwrap());
        let mut workers = open_for(&wanted, 1, 2, &inherited).unwrap();
        let last = workers[1].addresses().last().unwrap();
        assert_eq!(last, format!("unix:{}", path.display()));
        let _busy: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(&addresses[0]).unwrap()).collect();
        let _mapped = std::net::TcpStream::connect(&addresses[1]).unwrap();
        let _local = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let accepted: Vec<Accepted> =
            workers.iter_mut().rev().flat_map(|l| std::iter::from_fn(|| l.accept().ok())).collect();
        assert_eq!(accepted.len(), 5);
        assert!(accepted[1].peer.unwrap().is_ipv4() && accepted[2].peer.is_none(), "by turns");
        let Stream::Tcp(first) = &accepted[0].stream else { panic!("no TCP") };
        let first = SockRef::from(first);
        assert_eq!(first.recv_buffer_size().unwrap(), 16384);
        assert!(!first.tcp_congestion().unwrap().starts_with(b"bbr"), "paced within the machine");
        drop(workers);
        assert!(path.exists(), "the file is systemd's");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn sockets_of_one_address_have_an_acceptor_each() {
        let group = bind_for(&on("127.0.0.1:0"), 3).unwrap();
        let address = group[0].address();
        let mut inherited = Inherited::default();
        let handles = group.iter().flat_map(|listener| listener.handles().unwrap());
        handles.for_each(|handle| inherited.add(&address, handle));
        let workers = open_for(&on(&address), 1, 2, &inherited).unwrap();
        assert_eq!(workers.iter().map(|worker| worker.sockets.len()).collect::<Vec<_>>(), [2, 1]);
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
