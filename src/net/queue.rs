//! Lengths of kernel queues. A connection's send queue can hold megabytes that a slow peer drains without any event; it
//! is queried only when a deadline is near, never per request. A listener's accept queue is queried once per batch,
//! since an accept that finds it empty allocates a socket and discards it.

use std::os::fd::RawFd;

/// Returns the bytes sent but not acknowledged (SIOCOUTQ, tcp(7) and unix(7)); 0 on error.
pub fn unacknowledged(fd: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int through the pointer, which is valid; a bad descriptor is an error.
    match unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) } {
        0 => bytes.max(0) as usize,
        _ => 0,
    }
}

/// Index of `tcpi_unacked` in `struct tcp_info`, in 32-bit words; the first byte is the state.
const UNACKED: usize = 6;
const TCP_LISTEN: u8 = 10;

/// Returns the length of a TCP listener's accept queue, which is its `tcpi_unacked` (TCP_INFO, tcp(7)). `None` if it is
/// unknown.
pub fn waiting(fd: RawFd) -> Option<usize> {
    let mut info = [0_u32; UNACKED + 1];
    let mut size = size_of_val(&info) as libc::socklen_t;
    let place = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `size` bytes to `place`, which has that many, and the length to `size`.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, place, &mut size) };
    let whole = result == 0 && size as usize == size_of_val(&info);
    let listens = info[0].to_ne_bytes()[0] == TCP_LISTEN;
    (whole && listens).then_some(info[UNACKED] as usize)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn unacknowledged_bytes_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        let block = [0; 64 * 1024];
        let mut sent = 0;
        while let Ok(n) = here.write(&block) {
            sent += n;
        }
        let full = super::unacknowledged(here.as_raw_fd());
        assert!(full > 0 && full <= sent);
        let mut taken = 0;
        while super::unacknowledged(here.as_raw_fd()) == full && taken < sent {
            taken += there.read(&mut [0; 64 * 1024]).unwrap();
        }
        assert!(super::unacknowledged(here.as_raw_fd()) < full);
    }

    #[test]
    fn queued_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(0));
        let clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(3));
        listener.accept().unwrap();
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(2));
        assert_eq!(super::waiting(clients[0].as_raw_fd()), None, "it does not listen");
    }

    #[test]
    fn a_descriptor_that_is_not_a_socket_reports_nothing() {
        assert_eq!(super::unacknowledged(-1), 0);
        assert_eq!(super::waiting(-1), None);
    }
}
