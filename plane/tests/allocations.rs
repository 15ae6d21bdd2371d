//! What no packet may cost that is forwarded. Alone in its program: what other tests allocate would be counted too.

use gateway_plane::addr::Addr;
use gateway_plane::counters::ThreadCounters;
use gateway_plane::flow::{Action, Config, Lane, Pair, PairSockets, Receive, Route, Routes, Send, Way};
use gateway_plane::outgoing::Outgoing;
use gateway_plane::rtp::{Header, HEADER};
use gateway_plane::srtp::{Receiver, Sender, Suite, ROOM};
use gateway_plane::sys::{self, Bell};
use gateway_plane::worker::{Carrier, Handle, Made, Order, Uplink, Worker};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};
use std::alloc::System;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BROWSER: u32 = 1;
const PHONE: u32 = 2;
const PAYLOAD: usize = 160;
/// Packets that wait for each other at most.
const BURST: u16 = 40;
/// Keys of what the browser sends and of what it gets.
const THEIRS: [u8; 28] = [1; 28];
const OURS: [u8; 28] = [2; 28];

/// A packet thread by that carrier.
fn start(carrier: Carrier) -> Handle {
    let Made { handle, counters, orders, bell } = Made::new().unwrap();
    let ((punt, punts), (stranger, strangers), (event, events)) = (sync_channel(64), sync_channel(64), channel());
    // Nobody takes what is said here.
    std::mem::forget((punts, strangers, events));
    let (control, attached) = (Arc::new(Bell::new().unwrap()), Arc::new(AtomicBool::new(true)));
    let counters: Arc<ThreadCounters> = counters;
    let uplink = Uplink::new(0, counters, (punt, stranger), event, control, attached, 1);
    let worker = Worker::new(orders, bell, uplink, vec![handle.clone()], 1, (carrier, 1000)).unwrap();
    std::thread::spawn(|| worker.run());
    handle
}

fn bound() -> (OwnedFd, Addr) {
    let socket = sys::udp(&Addr::v4(0x7f00_0001, 0), sys::Binding::default()).unwrap();
    let addr = sys::local(socket.as_raw_fd()).unwrap();
    (socket, addr)
}

fn halves(flow: u32, other: u32, sockets: Option<Arc<PairSockets>>) -> (Box<Receive>, Box<Send>) {
    let (secure, counters) = (sockets.is_none(), Arc::default());
    let config = Config { secure, mux: secure, max_packets_per_second: u32::MAX, idle_after: 0 };
    let mut receive = Receive::new(flow, config, sockets.clone(), Arc::clone(&counters));
    let mut routes: Routes = [Route::default(); 128];
    routes[0] = Route { action: Action::Forward, payload_type: 0, rate_in: 8000, rate_out: 8000 };
    (receive.routes, receive.target) = (Box::new(routes), Some(other));
    let mut send = Send::new(flow, secure, sockets, counters);
    (send.outgoing, send.open) = (Some(Outgoing::new(flow, 1, 1, 8000, false)), true);
    (Box::new(receive), Box::new(send))
}

fn peer() -> (UdpSocket, Addr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, Addr::new(addr.ip(), addr.port()))
}

/// A call: a browser with SRTP on a shared port, and a phone on ports of its own.
struct Call {
    browser: UdpSocket,
    phone: UdpSocket,
    protects: Sender,
    opens: Receiver,
    number: u16,
}

fn call(thread: &Handle) -> Call {
    let ((browser, at_browser), (phone, at_phone)) = (peer(), peer());
    let ((shared, shared_addr), (rtp, rtp_addr), (rtcp, _)) = (bound(), bound(), bound());
    browser.connect((shared_addr.ip(), shared_addr.port)).unwrap();
    phone.connect((rtp_addr.ip(), rtp_addr.port)).unwrap();
    thread.send(Order::OpenShared { number: 0, path: 1, socket: Arc::new(shared), only_from: [].into() });
    let (mut receive, mut send) = halves(BROWSER, PHONE, None);
    receive.set_key(Receiver::new(Suite::Gcm128, &THEIRS), 1);
    send.set_key(Sender::new(Suite::Gcm128, &OURS));
    send.rtp = Some(Way::new(Lane::Shared(0), &at_browser));
    let pair = Pair {
        flow: BROWSER,
        owner: 0,
        slot: usize::MAX,
        selected: true,
        credentials: [].into(),
        checked: Arc::default(),
        counters: Arc::clone(&receive.counters),
    };
    thread.send(Order::PutReceive(receive));
    thread.send(Order::PutSend(send));
    thread.send(Order::PutPair { number: 0, source: at_browser, pair });
    let sockets = PairSockets { rtp, rtcp, rtp_path: 2, rtcp_path: 3 };
    let (mut receive, mut send) = halves(PHONE, BROWSER, Some(Arc::new(sockets)));
    receive.source = Some(at_phone);
    send.rtp = Some(Way::new(Lane::Rtp, &at_phone));
    thread.send(Order::PutReceive(receive));
    thread.send(Order::PutSend(send));
    let (done, wait) = channel();
    thread.send(Order::Fence(done, [].into()));
    wait.recv().unwrap();
    let protects = Sender::new(Suite::Gcm128, &THEIRS).unwrap();
    Call { browser, phone, protects, opens: Receiver::new(Suite::Gcm128, &OURS).unwrap(), number: 0 }
}

impl Call {
    /// So many packets each way at once, each of which is heard.
    fn speak(&mut self, count: u16) {
        let mut room = [0; HEADER + PAYLOAD + ROOM];
        for _ in 0..count {
            self.number += 1;
            let timestamp = 160 * u32::from(self.number);
            Header { sequence_number: self.number, timestamp, ssrc: 7, ..Header::default() }.write(&mut room);
            self.phone.send(&room[..HEADER + PAYLOAD]).unwrap();
            let length = self.protects.protect(&mut room, HEADER + PAYLOAD).unwrap();
            self.browser.send(&room[..length]).unwrap();
        }
        let mut heard = [0; 1500];
        for _ in 0..count {
            assert_eq!(hear(&self.phone, &mut heard), HEADER + PAYLOAD);
            let length = hear(&self.browser, &mut heard);
            assert_eq!(self.opens.open(&mut heard[..length]), Ok(HEADER + PAYLOAD));
        }
    }
}

/// The next datagram's length; a wait that something interrupts goes on.
fn hear(socket: &UdpSocket, room: &mut [u8]) -> usize {
    loop {
        match socket.recv(room) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            heard => return heard.unwrap(),
        }
    }
}

#[test]
fn nothing_is_allocated_for_packets_that_are_forwarded() {
    let mut carriers = vec![Carrier::Epoll];
    carriers.extend(Some(Carrier::best()).filter(|best| *best != Carrier::Epoll));
    for carrier in carriers {
        let mut call = call(&start(carrier));
        (0..10).for_each(|_| call.speak(BURST));
        let region = Region::new(ALLOCATOR);
        (0..100).for_each(|turn| call.speak(1 + turn % BURST));
        let change = region.change();
        assert_eq!(change.allocations + change.reallocations, 0, "{carrier:?}");
    }
}
