//! recv(2) and send(2) as bare system calls. The C library's wrappers are thread cancellation points: in a
//! multithreaded process each costs two locked operations and about sixty instructions, four times per request, and no
//! thread here is ever cancelled.

use std::io;
use std::os::fd::RawFd;

const NO_FLAGS: libc::c_long = 0;
/// In place of an address and of its length.
const NOBODY: libc::c_long = 0;

/// Reads up to `space.len()` bytes; returns 0 at the end of the stream. Errors as of recv(2).
pub fn recv(fd: RawFd, space: &mut [u8]) -> io::Result<usize> {
    let (address, length) = (space.as_mut_ptr(), space.len());
    // SAFETY: the kernel writes at most `length` bytes to `address`, which is borrowed mutably; the peer's address is
    // not requested. A bad descriptor is an error.
    let n = unsafe { libc::syscall(libc::SYS_recvfrom, long(fd), address, length, NO_FLAGS, NOBODY, NOBODY) };
    said(n)
}

/// Writes as many bytes as the kernel takes. Errors as of send(2), EPIPE without a signal.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let (address, length) = (bytes.as_ptr(), bytes.len());
    // SAFETY: the kernel reads `length` bytes from `address`, which is borrowed for the call. A bad descriptor is an
    // error.
    let n = unsafe {
        libc::syscall(libc::SYS_sendto, long(fd), address, length, long(libc::MSG_NOSIGNAL), NOBODY, NOBODY)
    };
    said(n)
}

/// Widens an argument to a full register.
fn long(n: libc::c_int) -> libc::c_long {
    n.into()
}

fn said(n: libc::c_long) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_are_sent_and_received_and_errors_are_errno() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut space = [0; 16];
        assert_eq!(super::send(here.as_raw_fd(), b"hello").unwrap(), 5);
        assert_eq!(super::recv(there.as_raw_fd(), &mut space).unwrap(), 5);
        assert_eq!(&space[..5], b"hello");
        there.set_nonblocking(true).unwrap();
        let nothing = super::recv(there.as_raw_fd(), &mut space).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        drop(here);
        assert_eq!(super::recv(there.as_raw_fd(), &mut space).unwrap(), 0);
        assert_eq!(super::send(there.as_raw_fd(), b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(super::recv(-1, &mut space).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
