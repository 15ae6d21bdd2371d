//! Every system call the standard library does not wrap; the only place with `unsafe`.

mod post;
mod ring;
mod steer;

use crate::addr::Addr;
pub use post::Post;
pub use ring::{Arrival, Ring};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
pub use steer::{Steering, BUCKETS};

/// Octets kept for one datagram.
pub const SLOT: usize = 2048;
/// Octets of a cache line, and lines of one value that are fetched ahead.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
#[cfg(target_arch = "x86_64")]
const PREFETCHED: usize = 16;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// CLOCK_MONOTONIC in ns.
pub fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> u64 {
    // SAFETY: `time` is a valid place for the result.
    unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(clock, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// CPU time of this process in ns.
pub fn cpu_time() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The kernel's number of this thread.
pub fn thread() -> u64 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u64 }
}

/// ns that a thread of this process has worked, and has waited for a core (proc(5), schedstat); None: the kernel does
/// not tell.
pub fn scheduled(thread: u64) -> Option<(u64, u64)> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut numbers = told.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Have a value's cache lines, or the first of many, fetched while others are worked on.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        for line in 0..size_of::<T>().div_ceil(LINE).min(PREFETCHED) {
            // SAFETY: a prefetch is a hint: it changes nothing and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>((value as *const T).cast::<i8>().wrapping_add(LINE * line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Fill `buffer` with random octets from the system.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        // SAFETY: the pointer and the length describe the rest of `buffer`.
        let got = unsafe { libc::getrandom(buffer[done..].as_mut_ptr().cast(), buffer.len() - done, 0) };
        if got < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            continue;
        }
        done += got as usize;
    }
    Ok(())
}

/// What the kernel calls an address.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub struct SockAddr {
    bytes: [u8; 28],
    length: u32,
}

impl SockAddr {
    pub const fn empty() -> Self {
        Self { bytes: [0; 28], length: 28 }
    }

    pub fn new(addr: &Addr) -> Self {
        let mut made = Self::empty();
        made.bytes[2..4].copy_from_slice(&addr.port.to_be_bytes());
        if addr.is_v6() {
            made.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            made.bytes[8..24].copy_from_slice(&addr.bits().to_be_bytes());
            made.length = size_of::<libc::sockaddr_in6>() as u32;
        } else {
            made.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            made.bytes[4..8].copy_from_slice(&(addr.bits() as u32).to_be_bytes());
            made.length = size_of::<libc::sockaddr_in>() as u32;
        }
        made
    }

    pub fn addr(&self) -> Addr {
        let bytes = &self.bytes;
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        if i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) == libc::AF_INET6 {
            let mut bits = [0; 16];
            bits.copy_from_slice(&bytes[8..24]);
            Addr::v6(u128::from_be_bytes(bits), port)
        } else {
            Addr::v4(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]), port)
        }
    }
}

/// How a socket is bound.
#[derive(Clone, Copy, Default)]
pub struct Binding {
    /// Several sockets share the number, the kernel spreads the sources over them.
    pub reuse: bool,
    /// SO_RCVBUF and SO_SNDBUF in octets, 0: the system's.
    pub receive_buffer: u32,
    pub send_buffer: u32,
    /// Differentiated services code point of what is sent (RFC 2474), 0: none.
    pub dscp: u8,
}

fn option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the size describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(fd, level, name, (&value as *const libc::c_int).cast(), size_of::<libc::c_int>() as u32)
    })
    .map(|_| ())
}

/// A non-blocking UDP socket on `addr`.
pub fn udp(addr: &Addr, binding: Binding) -> io::Result<OwnedFd> {
    let family = if addr.is_v6() { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointer goes in; the descriptor that comes out is owned from here on.
    let fd = unsafe {
        let raw = check(libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0))?;
        OwnedFd::from_raw_fd(raw)
    };
    let raw = fd.as_raw_fd();
    if addr.is_v6() {
        option(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if binding.reuse {
        option(raw, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if binding.receive_buffer > 0 {
        option(raw, libc::SOL_SOCKET, libc::SO_RCVBUF, binding.receive_buffer as libc::c_int)?;
    }
    if binding.send_buffer > 0 {
        option(raw, libc::SOL_SOCKET, libc::SO_SNDBUF, binding.send_buffer as libc::c_int)?;
    }
    if binding.dscp > 0 {
        let (level, name) = match addr.is_v6() {
            true => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            false => (libc::IPPROTO_IP, libc::IP_TOS),
        };
        option(raw, level, name, libc::c_int::from(binding.dscp) << 2)?;
    }
    let name = SockAddr::new(addr);
    // SAFETY: `name` holds an address of its stated length.
    check(unsafe { libc::bind(raw, name.bytes.as_ptr().cast(), name.length) })?;
    Ok(fd)
}

/// The address a socket is bound to.
pub fn local(fd: RawFd) -> io::Result<Addr> {
    let mut name = SockAddr::empty();
    // SAFETY: both pointers lead to places of `name`, whose length is stated.
    check(unsafe { libc::getsockname(fd, name.bytes.as_mut_ptr().cast(), &mut name.length) })?;
    Ok(name.addr())
}

/// Send one datagram at once or not at all.
pub fn send_to(fd: RawFd, data: &[u8], to: &SockAddr) -> bool {
    // SAFETY: the pointers and lengths describe `data` and `to`.
    let sent = unsafe {
        libc::sendto(fd, data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT, to.bytes.as_ptr().cast(), to.length)
    };
    sent >= 0
}

/// Receive one datagram: its whole length (it may be longer than `buffer`) and its source.
pub fn receive_from(fd: RawFd, buffer: &mut [u8]) -> Option<(usize, Addr)> {
    let mut name = SockAddr::empty();
    // SAFETY: the pointers and lengths describe `buffer` and `name`.
    let got = unsafe {
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            name.bytes.as_mut_ptr().cast(),
            &mut name.length,
        )
    };
    (got >= 0).then(|| (got as usize, name.addr()))
}

/// Buffers for many datagrams of one system call, in or out.
pub struct Batch {
    buffers: Box<[u8]>,
    names: Box<[SockAddr]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Datagrams in it.
    pub count: usize,
}

// SAFETY: the raw pointers lead into the boxes of the same struct, which move with it.
unsafe impl Send for Batch {}

impl Batch {
    pub fn new(size: usize) -> Self {
        let mut buffers = vec![0; size * SLOT].into_boxed_slice();
        let mut names = vec![SockAddr::empty(); size].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = (0..size)
            .map(|each| libc::iovec { iov_base: buffers[each * SLOT..].as_mut_ptr().cast(), iov_len: SLOT })
            .collect();
        let headers = (0..size)
            .map(|each| {
                // SAFETY: all zeros is a valid header; the pointers lead into boxes that live as long as this one.
                let mut header: libc::mmsghdr = unsafe { zeroed() };
                header.msg_hdr.msg_name = names[each].bytes.as_mut_ptr().cast();
                header.msg_hdr.msg_iov = &mut vectors[each];
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { buffers, names, vectors, headers, count: 0 }
    }

    /// Fill it from `fd`; how many came.
    pub fn receive(&mut self, fd: RawFd) -> usize {
        for (vector, header) in self.vectors.iter_mut().zip(self.headers.iter_mut()) {
            vector.iov_len = SLOT;
            header.msg_hdr.msg_namelen = 28;
        }
        // SAFETY: every header describes buffers of this struct.
        let got = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.count = usize::try_from(got).unwrap_or(0);
        self.count
    }

    /// The datagram that came at `index`, empty where it did not fit, and its source.
    pub fn datagram(&mut self, index: usize) -> (&mut [u8], Addr) {
        let header = &self.headers[index];
        let fits = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
        let length = if fits { (header.msg_len as usize).min(SLOT) } else { 0 };
        (&mut self.buffers[index * SLOT..index * SLOT + length], self.names[index].addr())
    }

    pub fn is_full(&self) -> bool {
        self.count == self.headers.len()
    }

    /// Where the next datagram out is written; call `push` when it is.
    pub fn room(&mut self) -> &mut [u8] {
        let at = self.count * SLOT;
        &mut self.buffers[at..at + SLOT]
    }

    /// The datagram in `room` is `length` octets for `to`.
    pub fn push(&mut self, length: usize, to: &SockAddr) {
        self.vectors[self.count].iov_len = length;
        self.names[self.count] = *to;
        self.headers[self.count].msg_hdr.msg_namelen = to.length;
        self.count += 1;
    }

    /// Send all; `failed` gets the index of each datagram that the system did not take.
    pub fn flush(&mut self, fd: RawFd, mut failed: impl FnMut(usize)) {
        let mut done = 0;
        while done < self.count {
            // SAFETY: every header describes buffers of this struct.
            let sent = unsafe {
                libc::sendmmsg(fd, self.headers[done..].as_mut_ptr(), (self.count - done) as u32, libc::MSG_DONTWAIT)
            };
            if sent > 0 {
                done += sent as usize;
            } else {
                failed(done);
                done += 1;
            }
        }
        self.count = 0;
    }
}

/// A set of descriptors to wait for.
pub struct Poll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    pub fn new(size: usize) -> io::Result<Self> {
        // SAFETY: no pointer goes in; the descriptor that comes out is owned from here on.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; size] })
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, token: u64, writable: bool) -> io::Result<()> {
        let events = if writable { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) }).map(|_| ())
    }

    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, false)
    }

    /// Wait for room to write as well.
    pub fn writable(&self, fd: RawFd, token: u64, wanted: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, wanted)
    }

    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, false);
    }

    /// Wait at most `timeout` ms (-1: for ever); how many are ready.
    pub fn wait(&mut self, timeout: i32) -> usize {
        // SAFETY: the pointer and the length describe `events`.
        let ready = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), self.events.len() as i32, timeout)
        };
        usize::try_from(ready).unwrap_or(0)
    }

    pub fn token(&self, index: usize) -> u64 {
        self.events[index].u64
    }
}

/// A descriptor that wakes the thread which waits for it.
pub struct Bell {
    fd: OwnedFd,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer goes in; the descriptor that comes out is owned from here on.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?) };
        Ok(Self { fd })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn ring(&self) {
        let one = 1u64;
        // SAFETY: the pointer and the length describe `one`.
        unsafe { libc::write(self.fd(), (&one as *const u64).cast(), 8) };
    }

    pub fn silence(&self) {
        let mut value = 0u64;
        // SAFETY: the pointer and the length describe `value`.
        unsafe { libc::read(self.fd(), (&mut value as *mut u64).cast(), 8) };
    }
}

/// Have files made from now on readable by this user only.
pub fn private_files() {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::umask(0o077) };
}

/// Let this process have as many descriptors as the system allows it; each call takes two.
pub fn raise_descriptor_limit() -> u64 {
    // SAFETY: `limit` is a valid place for what is read and written.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 0;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        limit.rlim_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_form() {
        for addr in [Addr::v4(0x7f00_0001, 5060), Addr::v6(u128::MAX - 5, 65535)] {
            assert_eq!(SockAddr::new(&addr).addr(), addr);
        }
    }

    #[test]
    fn a_batch_sent_on_one_socket_comes_in_on_another() {
        let here = udp(&Addr::v4(0x7f00_0001, 0), Binding::default()).unwrap();
        let there = udp(&Addr::v4(0x7f00_0001, 0), Binding::default()).unwrap();
        let to = SockAddr::new(&local(there.as_raw_fd()).unwrap());
        let mut out = Batch::new(4);
        for value in 0..4u8 {
            out.room()[..3].fill(value);
            out.push(3, &to);
        }
        assert!(out.is_full());
        out.flush(here.as_raw_fd(), |_| panic!("not sent"));
        let mut batch = Batch::new(8);
        assert_eq!(batch.receive(there.as_raw_fd()), 4);
        let (data, from) = batch.datagram(2);
        assert_eq!(data, [2, 2, 2]);
        assert_eq!(from, local(here.as_raw_fd()).unwrap());
    }
}
