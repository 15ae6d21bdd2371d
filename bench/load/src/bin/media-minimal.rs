//! The least that a forwarder of calls can do, as a yardstick: epoll, one look at each socket that is ready, AES-GCM, one
//! send a packet; one thread, no statistics, no checks of addresses beyond whose packet it is. `bench/path.py` runs it.
//!
//! On standard input: `shared FD`, then a line a call: `call FD BROWSER PHONE RECEIVE SEND` (the phone's socket; where
//! both are; KEY:SALT of the browser's packets and of those to it). It says `ready` and works until standard input ends.

#![allow(unsafe_code)]

#[path = "../srtp.rs"]
#[allow(dead_code)]
mod srtp;

use srtp::Srtp;
use std::collections::HashMap;
use std::io::BufRead;
use std::mem::{size_of, zeroed};
use std::net::SocketAddrV4;
use std::process::exit;

const BATCH: usize = 64;
const LONGEST: usize = 2048;
const READY: usize = 256;
const SHARED: u64 = u64::MAX;

struct Call {
    fd: i32,
    browser: libc::sockaddr_in,
    phone: libc::sockaddr_in,
    receive: Srtp,
    send: Srtp,
}

fn name(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: all zeros is a valid address.
    let mut raw: libc::sockaddr_in = unsafe { zeroed() };
    raw.sin_family = libc::AF_INET as libc::sa_family_t;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    raw
}

fn key(text: &str) -> Option<Srtp> {
    let octets = |text: &str| -> Option<Vec<u8>> {
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    let (key, salt) = text.split_once(':')?;
    Srtp::new(&octets(key)?, &octets(salt)?)
}

fn read() -> Option<(i32, Vec<Call>)> {
    let (mut shared, mut calls) = (-1, Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.ok()?;
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["shared", fd] => shared = fd.parse().ok()?,
            ["call", fd, browser, phone, receive, send] => calls.push(Call {
                fd: fd.parse().ok()?,
                browser: name(browser.parse().ok()?),
                phone: name(phone.parse().ok()?),
                receive: key(receive)?,
                send: key(send)?,
            }),
            _ => break,
        }
    }
    (shared >= 0).then_some((shared, calls))
}

fn send(fd: i32, packet: &[u8], to: &libc::sockaddr_in) {
    let size = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: the pointers and lengths describe `packet` and `to`.
    unsafe {
        libc::sendto(
            fd,
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            (to as *const libc::sockaddr_in).cast(),
            size,
        )
    };
}

struct Batch {
    buffers: Vec<u8>,
    names: Vec<libc::sockaddr_in>,
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new() -> Self {
        let mut buffers = vec![0u8; BATCH * LONGEST];
        // SAFETY: all zeros is valid for these; the pointers lead into vectors that are never resized.
        unsafe {
            let mut names: Vec<libc::sockaddr_in> = (0..BATCH).map(|_| zeroed()).collect();
            let mut parts: Vec<libc::iovec> = (0..BATCH)
                .map(|at| libc::iovec { iov_base: buffers[at * LONGEST..].as_mut_ptr().cast(), iov_len: LONGEST })
                .collect();
            let messages = (0..BATCH)
                .map(|at| {
                    let mut message: libc::mmsghdr = zeroed();
                    message.msg_hdr.msg_name = (&raw mut names[at]).cast();
                    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                    message.msg_hdr.msg_iov = &raw mut parts[at];
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            Self { buffers, names, parts, messages }
        }
    }

    fn receive(&mut self, fd: i32, most: usize) -> usize {
        debug_assert_eq!(self.parts.len(), BATCH);
        // SAFETY: every message describes buffers of this struct.
        let got = unsafe {
            libc::recvmmsg(fd, self.messages.as_mut_ptr(), most as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        got.max(0) as usize
    }
}

fn main() {
    let Some((shared, mut calls)) = read() else {
        eprintln!("media-minimal: that is not understood");
        exit(2);
    };
    let place = |name: &libc::sockaddr_in| (name.sin_addr.s_addr, name.sin_port);
    let by_browser: HashMap<_, _> = calls.iter().enumerate().map(|(at, call)| (place(&call.browser), at)).collect();
    // SAFETY: no pointers; then events that outlive each call.
    let poll = unsafe {
        let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let watched = calls.iter().enumerate().map(|(at, call)| (call.fd, at as u64));
        for (fd, token) in watched.chain([(shared, SHARED)]) {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
            libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, fd, &mut event);
        }
        poll
    };
    println!("ready");
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; READY];
    let mut batch = Batch::new();
    let mut packet = Vec::with_capacity(LONGEST);
    loop {
        // SAFETY: the buffer holds as many events as are said.
        let ready = unsafe { libc::epoll_wait(poll, events.as_mut_ptr(), READY as i32, -1) };
        for event in &events[..ready.max(0) as usize] {
            if event.u64 == SHARED {
                for at in 0..batch.receive(shared, BATCH) {
                    let Some(&call) = by_browser.get(&place(&batch.names[at])) else { continue };
                    let call = &mut calls[call];
                    let length = batch.messages[at].msg_len as usize;
                    let data = &mut batch.buffers[at * LONGEST..at * LONGEST + length];
                    if length < 28 || data[0] != 0x80 {
                        continue;
                    }
                    if let Some(length) = call.receive.unprotect(data, 12) {
                        send(call.fd, &data[..length], &call.phone);
                    }
                }
            } else {
                let call = &mut calls[event.u64 as usize];
                if batch.receive(call.fd, 1) == 1 && batch.messages[0].msg_len >= 12 {
                    packet.clear();
                    packet.extend_from_slice(&batch.buffers[..batch.messages[0].msg_len as usize]);
                    call.send.protect(&mut packet);
                    send(shared, &packet, &call.browser);
                }
            }
        }
    }
}
