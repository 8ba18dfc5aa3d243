//! Memory that was freed goes back to the kernel at once: the allocator would keep the blocks of a burst for itself,
//! or have to be asked for them in one long call.

/// Makes every allocation from this size on a mapping of its own, which goes when it is freed (mallopt(3)). To be
/// called before threads start. The blocks of connections are such allocations; a pool keeps those in use.
pub fn map_allocations_from(bytes: usize) {
    #[cfg(target_env = "gnu")]
    {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: the call only sets a parameter of the allocator. A refusal leaves the usual one.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}
