//! Memory that was freed goes back to the kernel: the allocator keeps it for itself otherwise, and a burst of slow
//! clients would be seen in the process's size for ever.

/// Gives freed pages back (malloc_trim(3)); takes up to a few milliseconds, so not on the path of a request.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions and takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
