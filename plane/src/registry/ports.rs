//! Opening and closing sockets.

use super::{Port, Registry, SharedHost};
use crate::addr::Addr;
use crate::flow::PairSockets;
use crate::sys::{self, Binding, SockAddr};
use crate::wire::up;
use crate::worker::Order;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Pairs of numbers tried where any will do.
const ATTEMPTS: usize = 64;

/// The name of a socket: its port, the thread that reads it, its place in the port.
pub fn path(port: u32, thread: usize, index: usize) -> u64 {
    u64::from(port) << 32 | (thread as u64) << 16 | index as u64
}

/// Port, thread and place of a path.
pub fn parts(path: u64) -> (u32, usize, usize) {
    ((path >> 32) as u32, (path >> 16 & 0xffff) as usize, (path & 0xffff) as usize)
}

fn code(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE | libc::EACCES) => "busy",
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => "full",
        _ => "refused",
    }
}

fn failure(request: u32, error: &io::Error) -> Vec<u8> {
    up::failure(request, code(error), &error.to_string())
}

impl Registry {
    pub(super) fn open_shared(
        &mut self,
        request: u32,
        port: u32,
        number: u16,
        binding: Binding,
        hosts: &[Addr],
        only_from: Arc<[Addr]>,
    ) -> Vec<u8> {
        if self.ports.contains_key(&port) {
            return up::failure(request, "refused", "the port is open");
        }
        let mut number = number;
        let mut opened: Vec<(Addr, Vec<Arc<OwnedFd>>)> = Vec::new();
        for host in hosts {
            match bind_shared(&host.with_port(number), binding, self.threads.len()) {
                Ok((bound, sockets)) => {
                    number = bound.port;
                    opened.push((bound, sockets));
                }
                Err(error) => {
                    let text = format!("{} port {number}/udp: {error}", host.ip());
                    return up::failure(request, code(&error), &text);
                }
            }
        }
        let mut kept = Vec::new();
        let mut reply = up::reply(request, 0).u8(opened.len() as u8);
        for (index, (bound, sockets)) in opened.into_iter().enumerate() {
            let number = self.next_number;
            self.next_number += 1;
            for (thread, socket) in sockets.iter().enumerate() {
                let path = path(port, thread, index);
                let (socket, only_from) = (Arc::clone(socket), Arc::clone(&only_from));
                self.order(thread, Order::OpenShared { number, path, socket, only_from });
            }
            reply = reply.u64(path(port, 0, index)).addr(&bound);
            kept.push(SharedHost { number, bound, sockets });
        }
        self.ports.insert(port, Port::Shared(kept));
        self.steer();
        reply.finish()
    }

    pub(super) fn open_pair(&mut self, request: u32, port: u32, host: &Addr, dscp: u8) -> Vec<u8> {
        if self.ports.contains_key(&port) {
            return up::failure(request, "refused", "the port is open");
        }
        let binding = Binding { dscp, ..Binding::default() };
        let mut bound = bind_pair(host, binding);
        if bound.is_err() && self.leaving.get() {
            // The port may be that of a flow which has just ended.
            self.settle(&[]);
            bound = bind_pair(host, binding);
        }
        match bound {
            Ok((rtp, rtcp, bound)) => {
                let (rtp_path, rtcp_path) = (path(port, 0, 0), path(port, 0, 1));
                let sockets = Arc::new(PairSockets { rtp, rtcp, rtp_path, rtcp_path });
                self.ports.insert(port, Port::Pair { sockets, bound, flow: None });
                up::reply(request, 0).u8(2).u64(rtp_path).addr(&bound.0).u64(rtcp_path).addr(&bound.1).finish()
            }
            Err(error) => failure(request, &error),
        }
    }

    pub(super) fn close_port(&mut self, port: u32) {
        let flows: Vec<u32> = match self.ports.get(&port) {
            Some(Port::Pair { flow, .. }) => flow.iter().copied().collect(),
            // The browsers' port is closed once, with everything on it.
            Some(Port::Shared(_)) => {
                self.flows.iter().filter(|(_, flow)| flow.port == port).map(|(id, _)| *id).collect()
            }
            None => Vec::new(),
        };
        for flow in flows {
            self.close_flow(flow);
        }
        match self.ports.remove(&port) {
            Some(Port::Shared(hosts)) => {
                for host in &hosts {
                    for thread in 0..self.threads.len() {
                        self.order(thread, Order::CloseShared { number: host.number });
                    }
                }
                self.settle(&[]);
            }
            Some(Port::Pair { .. }) => {}
            None => self.unknown += 1,
        }
    }

    /// Wait until every thread has done what it was told, and has let the counts of `flows` be read.
    pub fn settle(&self, flows: &[u32]) {
        for known in flows.iter().filter_map(|flow| self.flows.get(flow)) {
            self.threads[known.receive_thread].busy.set(true);
            self.threads[known.send_thread].busy.set(true);
        }
        let flows: Arc<[u32]> = flows.into();
        let (sender, done) = std::sync::mpsc::channel();
        let busy: Vec<usize> = (0..self.threads.len()).filter(|thread| self.threads[*thread].busy.get()).collect();
        for thread in &busy {
            self.order(*thread, Order::Fence(sender.clone(), Arc::clone(&flows)));
        }
        self.wake();
        for thread in busy {
            let _ = done.recv();
            self.threads[thread].busy.set(false);
        }
        self.leaving.set(false);
    }

    pub(super) fn send_raw(&mut self, path: u64, to: &Addr, data: &[u8]) {
        let (port, thread, index) = parts(path);
        let socket: Option<RawFd> = match self.ports.get(&port) {
            Some(Port::Shared(hosts)) => {
                hosts.get(index).and_then(|host| host.sockets.get(thread)).map(|socket| socket.as_raw_fd())
            }
            Some(Port::Pair { sockets, .. }) => {
                Some(if index == 0 { sockets.rtp.as_raw_fd() } else { sockets.rtcp.as_raw_fd() })
            }
            None => None,
        };
        match socket {
            Some(socket) => {
                sys::send_to(socket, data, &SockAddr::new(to));
            }
            None => self.unknown += 1,
        }
    }
}

/// A socket for each thread on one address; the kernel spreads sources over them.
fn bind_shared(addr: &Addr, binding: Binding, threads: usize) -> io::Result<(Addr, Vec<Arc<OwnedFd>>)> {
    // Bound alone first: with SO_REUSEPORT another gateway's port would seem to be free.
    let probe = sys::udp(addr, Binding::default())?;
    let bound = sys::local(probe.as_raw_fd())?;
    drop(probe);
    let sockets = (0..threads).map(|_| sys::udp(&bound, binding).map(Arc::new)).collect::<io::Result<_>>()?;
    Ok((bound, sockets))
}

fn bind_pair(host: &Addr, binding: Binding) -> io::Result<(OwnedFd, OwnedFd, (Addr, Addr))> {
    if host.port != 0 {
        return bind_two(host, host.port & !1, binding);
    }
    let mut last = io::Error::from_raw_os_error(libc::EADDRINUSE);
    for _ in 0..ATTEMPTS {
        let probe = sys::udp(host, Binding::default())?;
        let number = sys::local(probe.as_raw_fd())?.port & !1;
        drop(probe);
        match bind_two(host, number, binding) {
            Ok(made) => return Ok(made),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_two(host: &Addr, number: u16, binding: Binding) -> io::Result<(OwnedFd, OwnedFd, (Addr, Addr))> {
    let (rtp_addr, rtcp_addr) = (host.with_port(number), host.with_port(number + 1));
    let rtp = sys::udp(&rtp_addr, binding)?;
    let rtcp = sys::udp(&rtcp_addr, binding)?;
    Ok((rtp, rtcp, (rtp_addr, rtcp_addr)))
}
