//! What the kernel holds for us. Of a connection: it takes megabytes for a peer that reads slowly, and says nothing for
//! a long time while they trickle out; asked only when a deadline is near, never a request. Of a listener: how many
//! connections wait; asked once a batch, since an accept in vain makes a socket and throws it away.

use std::os::fd::RawFd;

/// Bytes sent that the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7) and unix(7)); 0 where it cannot say.
pub fn unacknowledged(fd: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int through the pointer, which is valid; a bad descriptor is an error.
    match unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) } {
        0 => bytes.max(0) as usize,
        _ => 0,
    }
}

/// The fields of `struct tcp_info` up to `tcpi_unacked`, as words; the first byte is the state.
const UNACKED: usize = 6;
const TCP_LISTEN: u8 = 10;

/// Connections that a TCP listener's queue holds: `tcpi_unacked` of one that listens (TCP_INFO, tcp(7)). `None`
/// where it cannot be said.
pub fn waiting(fd: RawFd) -> Option<usize> {
    let mut info = [0_u32; UNACKED + 1];
    let mut size = size_of_val(&info) as libc::socklen_t;
    let place = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `size` bytes at `place`, which are there, and the length through the pointer.
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
    fn what_the_peer_has_not_taken_is_counted() {
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
    fn connections_that_wait_for_being_accepted_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(0));
        let clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(3));
        listener.accept().unwrap();
        assert_eq!(super::waiting(listener.as_raw_fd()), Some(2));
        assert_eq!(super::waiting(clients[0].as_raw_fd()), None, "it does not listen");
    }

    #[test]
    fn a_descriptor_that_is_no_socket_holds_nothing() {
        assert_eq!(super::unacknowledged(-1), 0);
        assert_eq!(super::waiting(-1), None);
    }
}
