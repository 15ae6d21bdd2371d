//! The system calls, and the only unsafe code: datagrams with kernel timestamps, epoll, sleeping, CPU time.

#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Nanoseconds of `clock` (CLOCK_REALTIME, CLOCK_MONOTONIC).
fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since 1970, the clock of the kernel's receive timestamps.
pub fn wall() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Nanoseconds of the clock that never jumps.
pub fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Sleep until `deadline` nanoseconds of `now`.
pub fn sleep_until(deadline: u64) {
    let time = libc::timespec {
        tv_sec: (deadline / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `time` is valid; no remainder is asked for.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &time, std::ptr::null_mut()) };
}

/// Have this thread's sleeps end on time instead of up to 50 us late.
pub fn sharpen_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes nanoseconds and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) };
}

/// Nanoseconds of CPU, user and system, that this process has had.
pub fn cpu() -> u64 {
    // SAFETY: an all-zero rusage is valid, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let of = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Connect a datagram socket, make it non-blocking and have the kernel say when each datagram came.
pub fn prepare(fd: RawFd, remote: SocketAddr) -> Result<()> {
    let on: libc::c_int = 1;
    let buffer: libc::c_int = 1 << 20;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to live integers of the size given.
    unsafe {
        check(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), size))?;
        check(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const buffer).cast(), size))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    connect(fd, remote)
}

fn connect(fd: RawFd, remote: SocketAddr) -> Result<()> {
    // SAFETY: each address structure is initialised and passed with its own size.
    unsafe {
        match remote {
            SocketAddr::V4(address) => {
                let raw = raw_v4(address);
                let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                check(libc::connect(fd, (&raw const raw).cast(), size)).map(drop)
            }
            SocketAddr::V6(address) => {
                let raw = raw_v6(address);
                let size = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                check(libc::connect(fd, (&raw const raw).cast(), size)).map(drop)
            }
        }
    }
}

fn raw_v4(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: an all-zero sockaddr_in is valid.
    let mut raw: libc::sockaddr_in = unsafe { zeroed() };
    raw.sin_family = libc::AF_INET as libc::sa_family_t;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    raw
}

fn raw_v6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: an all-zero sockaddr_in6 is valid.
    let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
    raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    raw.sin6_port = address.port().to_be();
    raw.sin6_addr.s6_addr = address.ip().octets();
    raw
}

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Send one datagram on a connected socket; false where the kernel refused it.
pub fn send(fd: RawFd, datagram: &[u8]) -> bool {
    // SAFETY: the pointer and length are those of a live slice.
    unsafe { libc::send(fd, datagram.as_ptr().cast(), datagram.len(), 0) == datagram.len() as isize }
}

/// Datagrams of one look at one socket.
const BATCH: usize = 4;
const LONGEST: usize = 2048;

/// Room for the datagrams of one look.
pub struct Batch {
    datagrams: [[u8; LONGEST]; BATCH],
    control: [[u64; 8]; BATCH],
}

impl Batch {
    pub fn new() -> Box<Batch> {
        Box::new(Batch { datagrams: [[0; LONGEST]; BATCH], control: [[0; 8]; BATCH] })
    }

    /// Receive what waits on `fd` and give each datagram, with when it came (nanoseconds of `wall`), to `take`;
    /// whether there may be more.
    pub fn receive(&mut self, fd: RawFd, mut take: impl FnMut(&mut [u8], u64)) -> bool {
        // SAFETY: all-zero messages are valid; each points to live buffers with their sizes, the control buffers are
        // aligned for cmsghdr, and headers and timestamps are read only where the kernel says that they are whole.
        unsafe {
            let mut parts: [libc::iovec; BATCH] = zeroed();
            let mut messages: [libc::mmsghdr; BATCH] = zeroed();
            for place in 0..BATCH {
                parts[place].iov_base = self.datagrams[place].as_mut_ptr().cast();
                parts[place].iov_len = LONGEST;
                messages[place].msg_hdr.msg_iov = &raw mut parts[place];
                messages[place].msg_hdr.msg_iovlen = 1;
                messages[place].msg_hdr.msg_control = self.control[place].as_mut_ptr().cast();
                messages[place].msg_hdr.msg_controllen = size_of::<[u64; 8]>();
            }
            let count =
                libc::recvmmsg(fd, messages.as_mut_ptr(), BATCH as libc::c_uint, 0, std::ptr::null_mut()).max(0);
            for (message, datagram) in messages[..count as usize].iter().zip(&mut self.datagrams) {
                let came = timestamp(&message.msg_hdr).unwrap_or_else(wall);
                take(&mut datagram[..message.msg_len as usize], came);
            }
            count as usize == BATCH
        }
    }
}

/// When the kernel took a datagram in.
///
/// # Safety
/// `message` was filled by the kernel, and its control buffer is live.
unsafe fn timestamp(message: &libc::msghdr) -> Option<u64> {
    let header = libc::CMSG_FIRSTHDR(message);
    if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    let time: libc::timespec = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Readiness of many sockets.
pub struct Poll {
    fd: RawFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    pub fn new() -> Result<Poll> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Poll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    pub fn add(&self, fd: RawFd, token: usize) -> Result<()> {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: token as u64 };
        // SAFETY: `event` is live for the call.
        check(unsafe { libc::epoll_ctl(self.fd, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
    }

    /// The tokens of sockets that something has come to since they were last told; each is to be read empty.
    pub fn ready(&mut self) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: the buffer holds as many events as are said.
        let count = unsafe { libc::epoll_wait(self.fd, self.events.as_mut_ptr(), self.events.len() as i32, 0) };
        self.events[..count.max(0) as usize].iter().map(|event| event.u64 as usize)
    }
}
