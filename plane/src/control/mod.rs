//! The control thread: one gateway at a time over a Unix socket, the punts of the packet threads, timers.

mod connection;

use crate::handshake::Secret;
use crate::registry::Registry;
use crate::sys::{self, Bell, Poll};
use crate::wire::down::{self, Message};
use crate::wire::up;
use crate::worker::Up;
use connection::{Connection, Taken, PUNT_ROOM, STRANGER_ROOM};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::Arc;

const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
/// ms between two looks at what has fallen silent.
const WATCH: i32 = 250;
/// Gateways that may be proving themselves at a time.
const MAX_CONNECTIONS: usize = 8;
/// ns that the gateway which has started it may take to connect.
const FIRST_GATEWAY: u64 = 30_000_000_000;
/// ns a gateway has to prove itself.
const PROOF_TIME: u64 = 5_000_000_000;
/// Frames of punts taken a turn, so that messages of the gateway get their turn.
const PUNTS: usize = 1024;

/// What the control thread is made of.
pub struct Control {
    poll: Poll,
    listener: UnixListener,
    secret: Secret,
    registry: Registry,
    connections: Vec<Option<Connection>>,
    /// Place of the gateway among the connections.
    gateway: Option<usize>,
    alone_since: u64,
    had_gateway: bool,
    orphan_timeout: u64,
    attached: Arc<AtomicBool>,
    bell: Arc<Bell>,
    punts: Receiver<Up>,
    strangers: Receiver<Up>,
    events: Receiver<Up>,
}

/// What the packet threads have in common with the control thread.
pub struct Uplinks {
    pub bell: Arc<Bell>,
    pub attached: Arc<AtomicBool>,
    pub punts: Receiver<Up>,
    /// Punts of strangers: taken where there are no others.
    pub strangers: Receiver<Up>,
    pub events: Receiver<Up>,
}

impl Control {
    /// `orphan_timeout` in ns: how long the plane goes on without a gateway.
    pub fn new(
        listener: UnixListener,
        secret: Secret,
        registry: Registry,
        uplinks: Uplinks,
        orphan_timeout: u64,
    ) -> io::Result<Self> {
        let poll = Poll::new(64)?;
        listener.set_nonblocking(true)?;
        poll.add(listener.as_raw_fd(), LISTENER)?;
        poll.add(uplinks.bell.fd(), BELL)?;
        Ok(Self {
            poll,
            listener,
            secret,
            registry,
            connections: (0..MAX_CONNECTIONS).map(|_| None).collect(),
            gateway: None,
            alone_since: sys::now(),
            had_gateway: false,
            orphan_timeout,
            attached: uplinks.attached,
            bell: uplinks.bell,
            punts: uplinks.punts,
            strangers: uplinks.strangers,
            events: uplinks.events,
        })
    }

    /// Work until the gateway says so, or none has come for too long.
    pub fn run(mut self) {
        let mut watched = 0;
        while !self.is_over(sys::now()) {
            let ready = self.poll.wait(WATCH);
            let now = sys::now();
            for index in 0..ready {
                match self.poll.token(index) {
                    LISTENER => self.accept(now),
                    BELL => self.bell.silence(),
                    place => {
                        if self.serve(place as usize, now) {
                            return;
                        }
                    }
                }
            }
            self.take_up();
            if now.saturating_sub(watched) >= WATCH as u64 * 1_000_000 {
                watched = now;
                self.on_timer(now);
            }
            self.registry.wake();
            self.write(now);
        }
    }

    fn is_over(&self, now: u64) -> bool {
        if self.gateway.is_some() {
            return false;
        }
        let alone = now.saturating_sub(self.alone_since);
        let abandoned = self.had_gateway && self.registry.is_empty();
        let patience = if self.had_gateway { self.orphan_timeout } else { self.orphan_timeout.max(FIRST_GATEWAY) };
        alone >= patience || (abandoned && self.connections.iter().all(Option::is_none))
    }

    fn accept(&mut self, now: u64) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let Some(place) = self.connections.iter().position(Option::is_none) else { return };
        let mut nonce = [0; crate::handshake::NONCE];
        if stream.set_nonblocking(true).is_err() || sys::random(&mut nonce).is_err() {
            return;
        }
        if self.poll.add(stream.as_raw_fd(), place as u64).is_ok() {
            self.connections[place] = Some(Connection::new(stream, nonce, now));
        }
    }

    /// Do what came on one connection; whether the plane is to end.
    fn serve(&mut self, place: usize, now: u64) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return false };
        connection.read();
        loop {
            let busy = self.gateway.is_some_and(|gateway| gateway != place);
            let Some(Some(connection)) = self.connections.get_mut(place) else { return false };
            match connection.next(&self.secret, busy) {
                Taken::Nothing => break,
                Taken::Proved => self.attach(place),
                Taken::Message(kind, body) => {
                    if self.message(place, kind, &body, now) {
                        return true;
                    }
                }
            }
        }
        if self.connections[place].as_ref().is_some_and(Connection::is_over) {
            self.close(place, now);
        }
        false
    }

    fn message(&mut self, place: usize, kind: u8, body: &[u8], now: u64) -> bool {
        let answer = match down::read(kind, body) {
            Some(Ok(Message::Shutdown)) => return true,
            Some(Ok(message)) => {
                if let Message::Snapshot { flows, .. } = &message {
                    // What was asked for before is done, and what came of it known, when the answer is made.
                    self.registry.settle(flows);
                    self.take_up();
                }
                self.registry.apply(message, now)
            }
            Some(Err(_)) => {
                self.registry.malformed += 1;
                Some(up::refused(kind, "malformed"))
            }
            None => {
                self.registry.malformed += 1;
                Some(up::refused(kind, "unknown type"))
            }
        };
        if let (Some(frame), Some(Some(connection))) = (answer, self.connections.get_mut(place)) {
            connection.queue(&frame);
        }
        false
    }

    fn attach(&mut self, place: usize) {
        self.gateway = Some(place);
        self.had_gateway = true;
        self.attached.store(true, Ordering::Relaxed);
    }

    fn close(&mut self, place: usize, now: u64) {
        if let Some(connection) = self.connections[place].take() {
            self.poll.remove(connection.descriptor());
        }
        if self.gateway == Some(place) {
            self.gateway = None;
            self.alone_since = now;
            self.attached.store(false, Ordering::Relaxed);
        }
    }

    /// What the packet threads say; without a gateway only what the registry must know.
    fn take_up(&mut self) {
        for _ in 0..PUNTS {
            let queues = [&self.events, &self.punts, &self.strangers];
            let Some(said) = queues.iter().find_map(|queue| queue.try_recv().ok()) else { return };
            let (frame, room) = match said {
                Up::Frame(frame) => (frame, PUNT_ROOM),
                Up::Stranger(frame) => (frame, STRANGER_ROOM),
                Up::Learned { flow, source, description, now } => {
                    let Some(frame) = self.registry.learned(flow, source, description, now) else { continue };
                    (frame, usize::MAX)
                }
                Up::Report { flow, packet } => {
                    self.registry.report(flow, packet);
                    continue;
                }
                Up::Begins { target, source } => {
                    self.registry.begin_feed(target, source);
                    continue;
                }
            };
            self.say(&frame, room);
        }
        self.bell.ring();
    }

    /// Queue a frame for the gateway where no more than `room` octets wait.
    fn say(&mut self, frame: &[u8], room: usize) {
        let Some(Some(connection)) = self.gateway.map(|place| &mut self.connections[place]) else { return };
        if connection.waiting() < room {
            connection.queue(frame);
        } else {
            self.registry.unsent += 1;
        }
    }

    fn on_timer(&mut self, now: u64) {
        for frame in self.registry.watch(now) {
            self.say(&frame, usize::MAX);
        }
        for place in 0..self.connections.len() {
            let late = self.connections[place]
                .as_ref()
                .is_some_and(|each| !each.is_proved() && now.saturating_sub(each.since()) > PROOF_TIME);
            if late {
                self.close(place, now);
            }
        }
    }

    fn write(&mut self, now: u64) {
        for place in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[place] else { continue };
            let wanted = connection.write();
            if let Some(wanted) = wanted {
                let _ = self.poll.writable(connection.descriptor(), place as u64, wanted);
            }
            if connection.is_over() {
                self.close(place, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Config;
    use crate::worker::Made;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{channel, sync_channel, Sender, SyncSender};

    type Queues = (SyncSender<Up>, SyncSender<Up>, Sender<Up>);

    /// A control thread of that name, and what packet threads say: punts, punts of strangers, events.
    fn control(name: &str, orphan_timeout: u64) -> (Control, Queues, std::path::PathBuf) {
        let name = std::env::temp_dir().join(format!("gateway-plane-{name}-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&name).unwrap();
        let ((punt, punts), (stranger, strangers), (event, events)) = (sync_channel(9), sync_channel(9), channel());
        let (bell, attached) = (Arc::new(Bell::new().unwrap()), Arc::default());
        let uplinks = Uplinks { bell, attached, punts, strangers, events };
        let Made { handle, counters, .. } = Made::new().unwrap();
        let registry = Registry::new(vec![(handle, counters)], 1);
        let secret = Secret::new(&[7; 32]).unwrap();
        let control = Control::new(listener, secret, registry, uplinks, orphan_timeout).unwrap();
        (control, (punt, stranger, event), name)
    }

    #[test]
    fn who_does_not_prove_itself_in_time_makes_room() {
        let (mut control, _queues, name) = control("late", 0);
        let here = |control: &Control| control.connections.iter().flatten().count();
        let made: Vec<_> = (0..MAX_CONNECTIONS).map(|_| UnixStream::connect(&name).unwrap()).collect();
        (0..=made.len()).for_each(|_| control.accept(1));
        std::fs::remove_file(name).unwrap();
        control.on_timer(1 + PROOF_TIME);
        assert_eq!(here(&control), MAX_CONNECTIONS);
        control.on_timer(2 + PROOF_TIME);
        assert_eq!(here(&control), 0);
    }

    /// The control thread with a gateway, whose end of the connection it is.
    fn attached(control: &mut Control) -> UnixStream {
        let (gateway, plane) = UnixStream::pair().unwrap();
        plane.set_nonblocking(true).unwrap();
        control.connections[0] = Some(Connection::new(plane, [1; crate::handshake::NONCE], 1));
        control.attach(0);
        gateway
    }

    #[test]
    fn events_are_told_of_before_punts_and_strangers_last() {
        let (mut control, (punt, stranger, event), name) = control("order", 0);
        std::fs::remove_file(name).unwrap();
        let mut gateway = attached(&mut control);
        for number in 0..3 {
            stranger.send(Up::Stranger(vec![6 + number])).unwrap();
            punt.send(Up::Frame(vec![3 + number])).unwrap();
            event.send(Up::Frame(vec![number])).unwrap();
        }
        control.take_up();
        control.write(1);
        let mut told = [9; 20];
        assert_eq!(gateway.read(&mut told).unwrap(), 9);
        assert_eq!(told[..9], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn without_its_gateway_a_plane_with_flows_goes_on_for_its_time_and_no_longer() {
        const TIME: u64 = 1_000;
        let (mut control, _queues, name) = control("orphan", TIME);
        std::fs::remove_file(name).unwrap();
        let _gateway = attached(&mut control);
        let host = crate::addr::Addr::v4(0x7f00_0001, 0);
        control.registry.apply(Message::OpenPair { request: 1, port: 1, host, dscp: 0 }, 1);
        control.registry.apply(Message::OpenFlow { flow: 1, port: 1, config: Config::default() }, 1);
        assert!(!control.is_over(u64::MAX) && control.attached.load(Ordering::Relaxed));
        control.close(0, 5_000);
        assert!(!control.attached.load(Ordering::Relaxed));
        assert!(!control.is_over(5_000 + TIME - 1));
        assert!(control.is_over(5_000 + TIME));
        control.registry.apply(Message::CloseFlow { flow: 1 }, 1);
        assert!(control.is_over(5_001));
    }
}
