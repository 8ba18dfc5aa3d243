//! Returns freed memory to the kernel at once: the allocator would keep a burst's blocks, or need one long call to
//! return them.

/// Gives allocations of at least this many bytes their own mapping, which is unmapped when freed (mallopt(3)). Call
/// before threads start. Blocks of connections are that large; a pool keeps those in use.
pub fn map_allocations_from(bytes: usize) {
    #[cfg(target_env = "gnu")]
    {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: the call only sets a parameter of the allocator. On failure the default remains.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}
