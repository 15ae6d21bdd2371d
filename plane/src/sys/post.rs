//! Datagrams of many sockets sent by one system call.

use super::{SockAddr, SLOT};
use io_uring::{opcode, squeue, types, IoUring};
use std::io;
use std::os::fd::RawFd;

/// Datagrams of one system call.
const SIZE: usize = 256;

/// Datagrams that wait to be sent, each through a socket of its own choice.
///
/// No request outlives `flush`: each is asked to be done at once or not at all, so the kernel needs
/// the buffers no longer when the call that submits them returns.
pub struct Post {
    ring: IoUring,
    buffers: Box<[u8]>,
    names: Box<[SockAddr]>,
    /// Socket and length of each.
    items: Box<[(RawFd, u32)]>,
    count: usize,
}

impl Post {
    pub const SIZE: usize = SIZE;

    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_submit_all().setup_coop_taskrun().build(SIZE as u32)?;
        Ok(Self {
            ring,
            buffers: vec![0; SIZE * SLOT].into_boxed_slice(),
            names: vec![SockAddr::empty(); SIZE].into_boxed_slice(),
            items: vec![(-1, 0); SIZE].into_boxed_slice(),
            count: 0,
        })
    }

    pub fn is_full(&self) -> bool {
        self.count == SIZE
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where the next datagram is written; call `push` when it is.
    pub fn room(&mut self) -> &mut [u8] {
        let at = self.count * SLOT;
        &mut self.buffers[at..at + SLOT]
    }

    /// The datagram in `room` is `length` octets, through `socket` to `to`.
    pub fn push(&mut self, socket: RawFd, length: usize, to: &SockAddr) {
        self.names[self.count] = *to;
        self.items[self.count] = (socket, length.min(SLOT) as u32);
        self.count += 1;
    }

    fn request(&self, index: usize) -> squeue::Entry {
        let (socket, length) = self.items[index];
        let name = &self.names[index];
        opcode::Send::new(types::Fd(socket), self.buffers[index * SLOT..].as_ptr(), length)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(name.bytes.as_ptr().cast())
            .dest_addr_len(name.length)
            .build()
            // What was sent says nothing; what was not does.
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(index as u64)
    }

    /// Send all; `failed` gets the index of each datagram that the system did not take.
    pub fn flush(&mut self, mut failed: impl FnMut(usize)) {
        for index in 0..self.count {
            let request = self.request(index);
            // SAFETY: buffer and name live in this struct and are left alone until the call below has returned; there
            // is room, since the queue has as many places as `items` and was emptied.
            let _ = unsafe { self.ring.submission().push(&request) };
        }
        self.count = 0;
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                // Only a ring that is none answers otherwise: nothing of this process can be trusted any more.
                Err(_) => std::process::abort(),
            }
        }
        for done in self.ring.completion() {
            failed(done.user_data() as usize);
        }
    }
}
