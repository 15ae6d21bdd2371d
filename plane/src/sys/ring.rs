//! Datagrams of many sockets received by one system call (io_uring).

use super::{local, now, udp, Binding, Post, SockAddr, SLOT};
use crate::addr::Addr;
use io_uring::types::{self, BufRingEntry, SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, squeue, IoUring};
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

/// Requests that are handed over by one call.
const REQUESTS: u32 = 256;
/// Completions that wait; the kernel keeps what is more.
const COMPLETIONS: u32 = 4096;
/// Datagrams that are received and not yet taken; more stay in their sockets.
const BUFFERS: u16 = 512;
/// Datagrams that end the time of gathering.
const GATHERED: usize = 32;
/// What the kernel writes before a datagram: four lengths, and room for the longest name.
const HEADER: usize = 16;
const NAME: usize = 28;
const SIZE: usize = HEADER + NAME + SLOT;
/// User data of requests whose end nobody asks for.
const NOBODY: u64 = u64::MAX;
/// Calls within which a cancelled request must have ended.
const PATIENCE: usize = 10_000;

/// The buffers the kernel receives into.
struct Buffers {
    entries: *mut BufRingEntry,
    data: *mut u8,
    tail: u16,
}

// SAFETY: both pointers lead to memory that only this struct owns.
unsafe impl Send for Buffers {}

impl Buffers {
    fn layouts() -> (Layout, Layout) {
        let entries = Layout::from_size_align(usize::from(BUFFERS) * size_of::<BufRingEntry>(), 4096);
        let data = Layout::from_size_align(usize::from(BUFFERS) * SIZE, 4096);
        match (entries, data) {
            (Ok(entries), Ok(data)) => (entries, data),
            _ => unreachable!("constants of this file"),
        }
    }

    fn new() -> io::Result<Self> {
        let (entries, data) = Self::layouts();
        // SAFETY: both layouts have a size.
        let made = unsafe { Self { entries: alloc_zeroed(entries).cast(), data: alloc_zeroed(data), tail: 0 } };
        if made.entries.is_null() || made.data.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(made)
    }

    /// Hand a buffer to the kernel.
    fn give(&mut self, buffer: u16) {
        let buffer = buffer % BUFFERS;
        // SAFETY: the index is within the entries, the offset within the data; the tail is an aligned u16 which the
        // kernel reads only.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.data.add(usize::from(buffer) * SIZE) as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut());
            tail.store(self.tail, Ordering::Release);
        }
    }

    fn peek(&self, buffer: u16) -> &[u8] {
        // SAFETY: the buffer is within the data, and the kernel has given it up until `give`.
        unsafe { std::slice::from_raw_parts(self.data.add(usize::from(buffer % BUFFERS) * SIZE), SIZE) }
    }

    fn octets(&mut self, buffer: u16) -> &mut [u8] {
        // SAFETY: the buffer is within the data, and the kernel has given it up until `give`.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(usize::from(buffer % BUFFERS) * SIZE), SIZE) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        let (entries, data) = Self::layouts();
        // SAFETY: allocated with these layouts where not null; the ring that used them is closed already.
        unsafe {
            if !self.entries.is_null() {
                dealloc(self.entries.cast(), entries);
            }
            if !self.data.is_null() {
                dealloc(self.data, data);
            }
        }
    }
}

/// The source of the datagram in a buffer.
fn name_in(octets: &[u8]) -> SockAddr {
    let mut name = SockAddr::empty();
    name.bytes.copy_from_slice(&octets[HEADER..HEADER + NAME]);
    name
}

/// One descriptor that is waited for.
struct Watch {
    fd: RawFd,
    token: u64,
    /// Tells it from those that had its place before.
    serial: u32,
    datagrams: bool,
    live: bool,
    /// The kernel has a request for it.
    armed: bool,
}

impl Watch {
    fn user_data(&self, index: usize) -> u64 {
        u64::from(self.serial) << 32 | index as u64
    }
}

/// Something that came: a datagram, or that a descriptor can be read.
pub struct Arrival {
    pub token: u64,
    buffer: Option<u16>,
    length: usize,
}

/// Descriptors to wait for, and the datagrams that came on them.
pub struct Ring {
    // Before the buffers: it is dropped first.
    ring: IoUring,
    buffers: Buffers,
    form: Box<libc::msghdr>,
    watches: Vec<Watch>,
    free: Vec<usize>,
    by_fd: HashMap<RawFd, usize>,
    again: Vec<usize>,
    come: VecDeque<(u64, i32, u32)>,
    enabled: bool,
    /// How long datagrams are gathered after the thread began to wait, us.
    gather: u32,
}

// SAFETY: `form` leads nowhere; all else is owned.
unsafe impl Send for Ring {}

impl Ring {
    pub fn new(gather: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            // The thread that works is not the one that makes it.
            .setup_r_disabled()
            .build(REQUESTS)?;
        let mut buffers = Buffers::new()?;
        // SAFETY: the entries are aligned to a page, there are as many as said, and they outlive the ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers.entries as u64, BUFFERS, 0, 0)? };
        (0..BUFFERS).for_each(|buffer| buffers.give(buffer));
        // SAFETY: all zeros is a valid header.
        let mut form: Box<libc::msghdr> = Box::new(unsafe { zeroed() });
        form.msg_namelen = NAME as u32;
        Ok(Self {
            ring,
            buffers,
            form,
            watches: Vec::new(),
            free: Vec::new(),
            by_fd: HashMap::new(),
            again: Vec::new(),
            come: VecDeque::new(),
            enabled: false,
            gather,
        })
    }

    /// Whether this kernel does all that is asked of it: a datagram sent and received by rings.
    pub fn works() -> bool {
        Self::tried().unwrap_or(false)
    }

    fn tried() -> io::Result<bool> {
        let here = udp(&Addr::v4(0x7f00_0001, 0), Binding::default())?;
        let addr = local(here.as_raw_fd())?;
        let (mut ring, mut post) = (Self::new(1)?, Post::new()?);
        ring.add(here.as_raw_fd(), 7);
        post.room()[..3].copy_from_slice(b"try");
        post.push(here.as_raw_fd(), 3, &SockAddr::new(&addr));
        let mut sent = true;
        post.flush(|_| sent = false);
        let deadline = now() + 100_000_000;
        while sent && now() < deadline {
            ring.wait(10_000_000)?;
            if let Some(arrival) = ring.next() {
                let (data, source) = ring.datagram(&arrival);
                return Ok(data == b"try" && source == addr && arrival.token == 7);
            }
        }
        Ok(false)
    }

    /// Receive the datagrams of a socket.
    pub fn add(&mut self, fd: RawFd, token: u64) {
        self.watch(fd, token, true);
    }

    /// Be told when a descriptor can be read.
    pub fn add_bell(&mut self, fd: RawFd, token: u64) {
        self.watch(fd, token, false);
    }

    fn watch(&mut self, fd: RawFd, token: u64, datagrams: bool) {
        self.remove(&[fd]);
        let mut watch = Watch { fd, token, serial: 0, datagrams, live: true, armed: false };
        let index = match self.free.pop() {
            Some(index) => {
                watch.serial = self.watches[index].serial.wrapping_add(1);
                self.watches[index] = watch;
                index
            }
            None => {
                self.watches.push(watch);
                self.watches.len() - 1
            }
        };
        self.by_fd.insert(fd, index);
        self.again.push(index);
    }

    /// Wait for these no longer; when this returns, the kernel has let go of them.
    pub fn remove(&mut self, fds: &[RawFd]) {
        let gone: Vec<usize> = fds.iter().filter_map(|fd| self.by_fd.remove(fd)).collect();
        for &index in &gone {
            self.watches[index].live = false;
            if self.watches[index].armed {
                self.push(&opcode::AsyncCancel::new(self.watches[index].user_data(index)).build().user_data(NOBODY));
            }
        }
        for _ in 0..PATIENCE {
            if gone.iter().all(|index| !self.watches[*index].armed) {
                break;
            }
            let _ = self.ring.submit_and_wait(1);
            self.collect();
        }
        self.free.extend(gone);
    }

    fn push(&mut self, request: &squeue::Entry) {
        // SAFETY: a request leads to nothing but `form` and the buffers, which live as long as the ring.
        while unsafe { self.ring.submission().push(request) }.is_err() {
            let _ = self.ring.submit();
        }
    }

    /// Have the kernel wait for those it does not wait for yet.
    fn arm(&mut self) {
        while let Some(index) = self.again.pop() {
            let watch = &mut self.watches[index];
            if !watch.live || watch.armed {
                continue;
            }
            watch.armed = true;
            let fd = types::Fd(watch.fd);
            let request = if watch.datagrams {
                opcode::RecvMsgMulti::new(fd, &*self.form, 0).build()
            } else {
                opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build()
            };
            let request = request.user_data(watch.user_data(index));
            self.push(&request);
        }
    }

    /// Wait at most `longest` ns, or the time of gathering where that is more: what falls due within it is done in one turn.
    /// What came is told by `next`.
    ///
    /// Within the time of gathering only many datagrams end the wait, afterwards the first does.
    pub fn wait(&mut self, longest: u64) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        self.arm();
        let gather = if self.come.is_empty() { self.gather } else { 0 };
        let longest = if self.come.is_empty() { longest.max(u64::from(gather) * 1000) } else { 0 };
        let time = Timespec::new().sec(longest / 1_000_000_000).nsec((longest % 1_000_000_000) as u32);
        let args = SubmitArgs::new().timespec(&time).min_wait_usec(gather);
        let want = if gather == 0 { 1 } else { GATHERED };
        let waited = self.ring.submitter().submit_with_args(want, &args);
        self.collect();
        match waited {
            Err(error)
                if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Keep what the kernel says, and note whom it waits for no longer.
    fn collect(&mut self) {
        let Self { ring, watches, again, come, .. } = self;
        for done in ring.completion() {
            let (data, result, flags) = (done.user_data(), done.result(), done.flags());
            let index = (data & 0xffff_ffff) as usize;
            let Some(watch) = watches.get_mut(index).filter(|_| data != NOBODY) else { continue };
            if !cqueue::more(flags) && watch.user_data(index) == data {
                watch.armed = false;
                let hopeless = [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EOPNOTSUPP, libc::ECANCELED];
                if watch.live && !hopeless.contains(&-result) {
                    again.push(index);
                }
            }
            come.push_back((data, result, flags));
        }
    }

    /// What `next` will tell: tokens, and the sources of datagrams.
    pub fn pending(&self) -> impl Iterator<Item = (u64, Option<Addr>)> + '_ {
        self.come.iter().filter_map(|(data, _, flags)| {
            let watch = self.watches.get((data & 0xffff_ffff) as usize)?;
            let source = cqueue::buffer_select(*flags).map(|buffer| name_in(self.buffers.peek(buffer)).addr());
            Some((watch.token, source))
        })
    }

    /// What came next; `give_back` it when it is done with.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Arrival> {
        while let Some((data, result, flags)) = self.come.pop_front() {
            let buffer = cqueue::buffer_select(flags);
            let index = (data & 0xffff_ffff) as usize;
            let watch = self.watches.get(index).filter(|watch| watch.live && watch.user_data(index) == data);
            match (watch, usize::try_from(result)) {
                (Some(watch), Ok(length)) if buffer.is_some() || !watch.datagrams => {
                    return Some(Arrival { token: watch.token, buffer, length });
                }
                _ => buffer.into_iter().for_each(|buffer| self.buffers.give(buffer)),
            }
        }
        None
    }

    /// The datagram that came, empty where it did not fit, and its source.
    pub fn datagram(&mut self, arrival: &Arrival) -> (&mut [u8], Addr) {
        let Some(buffer) = arrival.buffer else { return (&mut [], SockAddr::empty().addr()) };
        let octets = self.buffers.octets(buffer);
        let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let (payload, flags) = (word(8) as usize, word(12));
        let fits = flags & libc::MSG_TRUNC as u32 == 0;
        let there = arrival.length.saturating_sub(HEADER + NAME).min(SLOT);
        let length = if fits { payload.min(there) } else { 0 };
        let name = name_in(octets);
        (&mut octets[HEADER + NAME..HEADER + NAME + length], name.addr())
    }

    /// Let the kernel have the buffer again.
    pub fn give_back(&mut self, arrival: Arrival) {
        if let Some(buffer) = arrival.buffer {
            self.buffers.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Addr = Addr::v4(0x7f00_0001, 0);

    /// Where this kernel has no io_uring, or may not be asked for it, there is nothing to prove.
    fn ring() -> Option<Ring> {
        Ring::works().then(|| Ring::new(1).unwrap())
    }

    fn wait_for(ring: &mut Ring) -> Option<Arrival> {
        let deadline = now() + 2_000_000_000;
        while now() < deadline {
            ring.wait(50_000_000).unwrap();
            if let Some(arrival) = ring.next() {
                return Some(arrival);
            }
        }
        None
    }

    fn socket() -> (std::os::fd::OwnedFd, Addr) {
        let fd = udp(&HERE, Binding::default()).unwrap();
        let addr = local(fd.as_raw_fd()).unwrap();
        (fd, addr)
    }

    #[test]
    fn more_datagrams_than_buffers_come_in_their_order() {
        let Some(mut ring) = ring() else { return };
        let ((here, to), (there, from)) = (socket(), socket());
        ring.add(here.as_raw_fd(), 3);
        for round in 0..40u8 {
            for number in 0..50u8 {
                assert!(super::super::send_to(there.as_raw_fd(), &[round, number], &SockAddr::new(&to)));
            }
            for number in 0..50u8 {
                let arrival = wait_for(&mut ring).unwrap();
                let (data, source) = ring.datagram(&arrival);
                assert_eq!((&*data, source), (&[round, number][..], from));
                ring.give_back(arrival);
            }
        }
    }

    #[test]
    fn what_is_due_sooner_does_not_cut_the_gathering_short() {
        let Some(_) = ring() else { return };
        let mut ring = Ring::new(5_000).unwrap();
        let began = now();
        ring.wait(0).unwrap();
        assert!(now() - began >= 5_000_000);
    }

    #[test]
    fn what_is_pending_is_what_comes_next() {
        let Some(mut ring) = ring() else { return };
        let ((here, to), (there, from)) = (socket(), socket());
        ring.add(here.as_raw_fd(), 3);
        ring.wait(1_000_000).unwrap();
        assert_eq!(ring.pending().count(), 0);
        for _ in 0..3 {
            super::super::send_to(there.as_raw_fd(), b"soon", &SockAddr::new(&to));
        }
        let first = wait_for(&mut ring).unwrap();
        let rest: Vec<_> = ring.pending().collect();
        ring.give_back(first);
        assert_eq!(rest, [(3, Some(from)); 2]);
        for _ in rest {
            let arrival = ring.next().unwrap();
            assert_eq!(ring.datagram(&arrival), (&mut b"soon".to_owned()[..], from));
            ring.give_back(arrival);
        }
        assert_eq!(ring.pending().count(), 0);
    }

    #[test]
    fn what_came_for_a_removed_socket_is_nobodys_and_its_number_is_free() {
        let Some(mut ring) = ring() else { return };
        let ((here, to), (there, _)) = (socket(), socket());
        ring.add(here.as_raw_fd(), 3);
        ring.wait(1_000_000).unwrap();
        for _ in 0..100 {
            super::super::send_to(there.as_raw_fd(), b"late", &SockAddr::new(&to));
        }
        ring.remove(&[here.as_raw_fd()]);
        drop(here);
        let again = udp(&to, Binding::default()).expect("the kernel has let go of it");
        ring.add(again.as_raw_fd(), 4);
        ring.wait(1_000_000).unwrap();
        assert!(ring.next().is_none());
        super::super::send_to(there.as_raw_fd(), b"new", &SockAddr::new(&to));
        let arrival = wait_for(&mut ring).unwrap();
        assert_eq!(arrival.token, 4);
        assert_eq!(ring.datagram(&arrival).0, b"new");
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_empty_and_one_without_octets_ends_nothing() {
        let Some(mut ring) = ring() else { return };
        let ((here, to), (there, _)) = (socket(), socket());
        ring.add(here.as_raw_fd(), 3);
        for data in [&[1u8; SLOT + 1][..], &[], &[2; SLOT]] {
            super::super::send_to(there.as_raw_fd(), data, &SockAddr::new(&to));
        }
        for length in [0, 0, SLOT] {
            let arrival = wait_for(&mut ring).unwrap();
            assert_eq!(ring.datagram(&arrival).0.len(), length);
            ring.give_back(arrival);
        }
    }

    #[test]
    fn one_call_sends_through_many_sockets_and_tells_which_did_not_go() {
        let Some(mut ring) = ring() else { return };
        let ((here, to), (there, from), (other, from_other)) = (socket(), socket(), socket());
        ring.add(here.as_raw_fd(), 3);
        let mut post = Post::new().unwrap();
        let nowhere = Addr::v6(1, 9);
        for (fd, to) in [(&there, to), (&there, nowhere), (&other, to)] {
            post.room()[..2].copy_from_slice(b"hi");
            post.push(fd.as_raw_fd(), 2, &SockAddr::new(&to));
        }
        let mut failed = Vec::new();
        post.flush(|index| failed.push(index));
        assert_eq!(failed, [1]);
        for source in [from, from_other] {
            let arrival = wait_for(&mut ring).unwrap();
            assert_eq!(ring.datagram(&arrival), (&mut b"hi".to_owned()[..], source));
        }
    }
}
