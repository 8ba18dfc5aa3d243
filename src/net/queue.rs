//! What the kernel holds of a connection: it takes megabytes for a peer that reads slowly, and says nothing for a
//! long time while they trickle out. Asked only when a deadline is near, never a request.

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
    fn a_descriptor_that_is_no_socket_holds_nothing() {
        assert_eq!(super::unacknowledged(-1), 0);
    }
}
