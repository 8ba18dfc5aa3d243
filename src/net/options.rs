//! Socket options of TCP, and a check of what the kernel applies: it silently lowers sizes to its own limits, so these
//! are reported once, at the start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::os_error::os_error;
use crate::config::SocketOptions;

/// Sets the options before `listen` or `connect`: the window scale is negotiated in the handshake. Accepted sockets
/// inherit them from their listener (Linux). Errors leave the default; `shortfalls` reports them.
pub fn set(socket: SockRef<'_>, options: &SocketOptions) {
    if let Some(bytes) = options.receive_buffer {
        let _ = socket.set_recv_buffer_size(bytes as usize);
    }
    if let Some(bytes) = options.send_buffer {
        let _ = socket.set_send_buffer_size(bytes as usize);
    }
    if let Some(micros) = options.busy_poll {
        let _ = socket.set_busy_poll(micros);
    }
}

/// Gives connections within this machine Reno's congestion control where they would have BBR's: those of a listener on
/// a loopback address, and those to a server there. There is nothing to congest, and BBR sends by a timer: a body of
/// 1 MiB costs up to three times the CPU time with it. A connection that began to pace goes
/// on with it, so this is called before `connect`, and before `listen` where the listener is not inherited: what waits in
/// its queue by then is paced. Reno is always there, and every user may choose it (tcp(7),
/// tcp_allowed_congestion_control).
pub fn stop_pacing_within_machine(socket: SockRef<'_>, address: SocketAddr) {
    let is_paced = || socket.tcp_congestion().is_ok_and(|name| name.starts_with(b"bbr"));
    if address.ip().to_canonical().is_loopback() && is_paced() {
        // Without it, the connections only cost more.
        let _ = socket.set_tcp_congestion(b"reno");
    }
}

/// A line if options cannot be taken back from an open socket: the kernel has no way to choose the sizes of buffers
/// again.
pub fn kept(from: &SocketOptions, to: &SocketOptions) -> Option<String> {
    let is_lost = |from: Option<u32>, to: Option<u32>| from.is_some() && to.is_none();
    let stays = is_lost(from.receive_buffer, to.receive_buffer)
        || is_lost(from.send_buffer, to.send_buffer)
        || is_lost(from.busy_poll, to.busy_poll);
    stays.then(|| {
        "receive_buffer, send_buffer and busy_poll of the open socket stay until a restart".to_owned()
    })
}

/// Returns the options that the kernel does not apply as requested, found by trying them on a socket.
pub fn shortfalls(options: &SocketOptions) -> Vec<String> {
    if *options == SocketOptions::default() {
        return Vec::new();
    }
    let socket = match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => socket,
        Err(error) => return vec![format!("cannot try the socket options: {}", os_error(&error))],
    };
    set(SockRef::from(&socket), options);
    let sizes = [
        ("receive_buffer", "net.core.rmem_max", options.receive_buffer, socket.recv_buffer_size()),
        ("send_buffer", "net.core.wmem_max", options.send_buffer, socket.send_buffer_size()),
    ];
    let lowered = sizes.into_iter().filter_map(|(key, limit, asked, got)| lowered(key, limit, asked?, got));
    lowered.chain(unpolled(&socket, options)).collect()
}

fn lowered(key: &str, limit: &str, asked: u32, got: io::Result<usize>) -> Option<String> {
    // The kernel doubles it to account for its own overhead (socket(7)).
    let got = got.ok()? / 2;
    (got < asked as usize)
        .then(|| format!("{key} lowered from {asked} to {got} bytes: the kernel's limit is {limit} (sysctl)"))
}

fn unpolled(socket: &Socket, options: &SocketOptions) -> Option<String> {
    let error = socket.set_busy_poll(options.busy_poll?).err()?;
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => " (needs CAP_NET_ADMIN)",
        _ => "",
    };
    Some(format!("busy_poll is not used: {}{hint}", os_error(&error)))
}

/// Returns a message if the kernel will shorten the listener's queue (listen(2)).
pub fn short_backlog(asked: u32) -> Option<String> {
    const LIMIT: &str = "/proc/sys/net/core/somaxconn";
    let most: u32 = fs::read_to_string(LIMIT).ok()?.trim().parse().ok()?;
    (most < asked).then(|| {
        format!("backlog lowered from {asked} to {most}: the kernel's limit is net.core.somaxconn (sysctl)")
    })
}

/// Accepts connections only after their first bytes have arrived (TCP_DEFER_ACCEPT, tcp(7)). A silent client is
/// accepted when it acknowledges the kernel's retransmitted SYN-ACK, about a second later.
pub fn defer_accept(listener: &SockRef<'_>, on: bool) -> io::Result<()> {
    let seconds = libc::c_int::from(on);
    let size = size_of_val(&seconds) as libc::socklen_t;
    let value = (&raw const seconds).cast();
    let fd = listener.as_raw_fd();
    // SAFETY: the kernel reads `size` bytes at `value`, an int that lives until the call returns.
    match unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    #[test]
    fn only_what_paces_within_the_machine_is_changed() {
        let after = |address: &str, before: &[u8]| {
            let socket = tcp();
            // A system may lack it, or may not allow it to this user.
            socket.set_tcp_congestion(before).ok()?;
            stop_pacing_within_machine(SockRef::from(&socket), address.parse().unwrap());
            let name = String::from_utf8(socket.tcp_congestion().unwrap()).unwrap();
            Some(name.trim_end_matches('\0').to_owned())
        };
        let [bbr, cubic]: [&[u8]; 2] = [b"bbr", b"cubic"];
        for here in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(after(here, bbr).is_none_or(|name| name == "reno"), "{here}");
            assert!(after(here, cubic).is_none_or(|name| name == "cubic"), "{here}");
        }
        for elsewhere in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            assert!(after(elsewhere, bbr).is_none_or(|name| name == "bbr"), "{elsewhere}");
        }
    }

    #[test]
    fn buffer_sizes_are_applied() {
        let socket = tcp();
        let options = SocketOptions { receive_buffer: Some(8192), send_buffer: Some(16384), busy_poll: None };
        set(SockRef::from(&socket), &options);
        assert_eq!((socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()), (16384, 32768));
        assert_eq!(shortfalls(&options), Vec::<String>::new());
    }

    #[test]
    fn lowered_sizes_are_reported() {
        let huge =
            SocketOptions { receive_buffer: Some(1 << 30), send_buffer: Some(1 << 30), busy_poll: None };
        let said = shortfalls(&huge);
        assert!(said[0].starts_with("receive_buffer lowered from 1073741824 to "), "{said:?}");
        assert!(said[0].ends_with(" bytes: the kernel's limit is net.core.rmem_max (sysctl)"), "{said:?}");
        assert!(said[1].starts_with("send_buffer lowered from 1073741824 to "), "{said:?}");
    }

    #[test]
    fn default_options_change_nothing() {
        let (plain, socket) = (tcp(), tcp());
        set(SockRef::from(&socket), &SocketOptions::default());
        assert_eq!(socket.recv_buffer_size().unwrap(), plain.recv_buffer_size().unwrap());
        assert!(shortfalls(&SocketOptions::default()).is_empty());
    }

    #[test]
    fn a_backlog_beyond_the_kernels_limit_is_reported() {
        assert_eq!(short_backlog(1), None);
        let said = short_backlog(u32::MAX).unwrap();
        assert!(said.starts_with("backlog lowered from 4294967295 to "), "{said}");
    }
}
