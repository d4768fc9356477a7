//! An allocator that wipes what is freed. `Secret` wipes what it owns; this catches the copies that crates
//! leave behind: Sequoia's plaintext buffers, `rsa`'s primes, vectors that grew (measured: of the survivors
//! found in core dumps without it, most are gone with it).

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, wiping every block as it is given back. `main.rs` makes it the global one.
#[derive(Debug, Default)]
pub struct ZeroingAllocator;

#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait; this adds one write within the freed block")]
// SAFETY: every call is handed to `System` unchanged, so its guarantees are ours. `realloc` stays the trait's own
// (allocate, copy, free), so that the block that was outgrown is wiped too.
unsafe impl GlobalAlloc for ZeroingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is also that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block of exactly this layout, so all of it may be written, and nothing
        // reads it any more. After `write_bytes` it is initialised, so that a slice of it may be formed.
        unsafe {
            std::ptr::write_bytes(block, 0, layout.size());
            // Without a barrier the compiler may drop a write that nobody reads before the block is freed.
            zeroize::optimization_barrier(std::slice::from_raw_parts(block, layout.size()));
            System.dealloc(block, layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "calls an allocator by hand")]
    fn blocks_keep_their_content_as_they_grow() {
        // What the system's allocator does with a freed block is undefined, so only what stays defined is seen:
        // a block that grows keeps its content.
        let (small, large) = (Layout::from_size_align(64, 8).unwrap(), Layout::from_size_align(128, 8).unwrap());
        // SAFETY: one block, used within its size, and given back with the layout that it has by then.
        unsafe {
            let block = ZeroingAllocator.alloc(small);
            assert!(!block.is_null());
            std::ptr::write_bytes(block, 0xa5, 64);
            let block = ZeroingAllocator.realloc(block, small, 128);
            assert!(std::slice::from_raw_parts(block, 64).iter().all(|byte| *byte == 0xa5));
            ZeroingAllocator.dealloc(block, large);
            let zeroed = ZeroingAllocator.alloc_zeroed(large);
            assert!(std::slice::from_raw_parts(zeroed, 128).iter().all(|byte| *byte == 0));
            ZeroingAllocator.dealloc(zeroed, large);
        }
    }
}
