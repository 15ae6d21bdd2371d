//! One connection of a gateway: frames in, frames out, and first of all the proof that it is one.

use crate::handshake::{Greeting, Secret, NONCE};
use crate::wire::{up, Writer, LONGEST_FRAME};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// Octets waiting to be written beyond which punts are dropped, and beyond which the gateway is given up.
pub const PUNT_ROOM: usize = 4 << 20;
const ALL_ROOM: usize = 512 << 20;
/// The first of these for punts of strangers.
pub const STRANGER_ROOM: usize = PUNT_ROOM / 2;
/// Octets read at a time.
const CHUNK: usize = 64 << 10;
/// Octets of the longest frame of a gateway that has not proved itself.
const LONGEST_GREETING: usize = 256;

enum Stage {
    Greeting,
    Proof { gateway: [u8; NONCE] },
    Proved,
}

/// What a connection has brought.
pub enum Taken {
    Nothing,
    /// It has proved to be a gateway.
    Proved,
    /// A message by its type and its body.
    Message(u8, Vec<u8>),
}

pub struct Connection {
    stream: UnixStream,
    nonce: [u8; NONCE],
    since: u64,
    stage: Stage,
    chunk: Box<[u8]>,
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    written: usize,
    wants_room: bool,
    over: bool,
}

impl Connection {
    pub fn new(stream: UnixStream, nonce: [u8; NONCE], since: u64) -> Self {
        Self {
            stream,
            nonce,
            since,
            stage: Stage::Greeting,
            chunk: vec![0; CHUNK].into_boxed_slice(),
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            written: 0,
            wants_room: false,
            over: false,
        }
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub const fn since(&self) -> u64 {
        self.since
    }

    pub const fn is_proved(&self) -> bool {
        matches!(self.stage, Stage::Proved)
    }

    /// Whether it is to be closed.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Octets that wait to be written.
    pub fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// Read what there is, up to a limit that leaves others their turn.
    pub fn read(&mut self) {
        self.input.drain(..self.taken);
        self.taken = 0;
        for _ in 0..16 {
            match self.stream.read(&mut self.chunk) {
                Ok(0) => {
                    self.over = true;
                    return;
                }
                Ok(length) => {
                    self.input.extend_from_slice(&self.chunk[..length]);
                    if length < CHUNK {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.over |= error.kind() != ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    /// The next thing that came. `busy`: another gateway is there.
    pub fn next(&mut self, secret: &Secret, busy: bool) -> Taken {
        loop {
            let Some((kind, body)) = self.frame() else { return Taken::Nothing };
            match &self.stage {
                Stage::Proved => return Taken::Message(kind, body),
                Stage::Greeting if kind == up::HELLO => self.greet(&body, busy),
                // Another may have proved itself since the greeting.
                Stage::Proof { .. } if busy => self.refuse("busy"),
                Stage::Proof { gateway } if kind == up::PROOF => {
                    if secret.proves("gateway", gateway, &self.nonce, &body) {
                        let proof = secret.proof("plane", gateway, &self.nonce);
                        self.stage = Stage::Proved;
                        self.queue(&Writer::new(up::PROOF, 32).raw(&proof).finish());
                        return Taken::Proved;
                    }
                    self.refuse("refused");
                }
                _ => self.refuse("refused"),
            }
        }
    }

    fn greet(&mut self, body: &[u8], busy: bool) {
        let Ok(greeting) = Greeting::read(body) else { return self.refuse("refused") };
        let Some(version) = greeting.version() else { return self.refuse("version") };
        if busy {
            return self.refuse("busy");
        }
        self.stage = Stage::Proof { gateway: greeting.nonce };
        let nonce = self.nonce;
        self.queue(&Writer::new(up::HELLO, 64).u16(version).raw(&nonce).finish());
    }

    fn refuse(&mut self, code: &str) {
        self.queue(&up::refused(0, code));
        self.write();
        self.over = true;
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if self.over && !self.is_proved() {
            return None;
        }
        let rest = &self.input[self.taken..];
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let longest = if self.is_proved() { LONGEST_FRAME } else { LONGEST_GREETING };
        if length == 0 || length > longest {
            // Nobody knows where the next frame begins.
            self.over = true;
            self.taken = self.input.len();
            return None;
        }
        let frame = rest.get(4..4 + length)?;
        let made = (frame[0], frame[1..].to_vec());
        self.taken += 4 + length;
        Some(made)
    }

    /// Have a frame written soon.
    pub fn queue(&mut self, frame: &[u8]) {
        if self.waiting() > ALL_ROOM {
            self.over = true;
            return;
        }
        self.output.extend_from_slice(frame);
    }

    /// Write what waits; Some where waiting for room has begun or ended.
    pub fn write(&mut self) -> Option<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.over |= error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written > PUNT_ROOM {
            self.output.drain(..self.written);
            self.written = 0;
        }
        let waits = !self.output.is_empty();
        let changed = waits != self.wants_room;
        self.wants_room = waits;
        changed.then_some(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::MAGIC;
    use crate::wire::VERSION;

    const OURS: [u8; NONCE] = [1; NONCE];
    const THEIRS: [u8; NONCE] = [2; NONCE];

    fn hello() -> Vec<u8> {
        Writer::new(up::HELLO, 64).raw(MAGIC).u16(VERSION).u16(VERSION).raw(&OURS).finish()
    }

    /// What a plane makes of a gateway that greets and then proves itself so, and what it answers to the proof.
    fn tried(proof: &[u8]) -> (Connection, bool, Vec<u8>) {
        let secret = Secret::new(&[5; 32]).unwrap();
        let (mut gateway, plane) = UnixStream::pair().unwrap();
        plane.set_nonblocking(true).unwrap();
        let mut connection = Connection::new(plane, THEIRS, 1);
        gateway.write_all(&[hello(), Writer::new(up::PROOF, 64).raw(proof).finish()].concat()).unwrap();
        connection.read();
        let proved = matches!(connection.next(&secret, false), Taken::Proved);
        connection.write();
        let mut answer = [0; 1024];
        let length = gateway.read(&mut answer).unwrap();
        let greeting = Writer::new(up::HELLO, 64).u16(VERSION).raw(&THEIRS).finish();
        (connection, proved, answer[..length].strip_prefix(greeting.as_slice()).unwrap().to_vec())
    }

    #[test]
    fn a_gateway_that_reads_nothing_is_given_up_at_the_bound() {
        let (_gateway, plane) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(plane, THEIRS, 1);
        connection.output = vec![0; ALL_ROOM];
        connection.queue(&[1]);
        assert!(!connection.is_over() && connection.waiting() == ALL_ROOM + 1);
        connection.queue(&[2]);
        assert!(connection.is_over() && connection.waiting() == ALL_ROOM + 1);
    }

    #[test]
    fn who_proves_the_secret_is_the_gateway() {
        let secret = Secret::new(&[5; 32]).unwrap();
        let (connection, proved, answer) = tried(&secret.proof("gateway", &OURS, &THEIRS));
        assert!(proved && connection.is_proved() && !connection.is_over());
        assert_eq!(answer, Writer::new(up::PROOF, 32).raw(&secret.proof("plane", &OURS, &THEIRS)).finish());
    }

    #[test]
    fn who_proves_another_secret_is_refused_and_learns_nothing() {
        let another = Secret::new(&[6; 32]).unwrap().proof("gateway", &OURS, &THEIRS);
        let echoed = Secret::new(&[5; 32]).unwrap().proof("plane", &OURS, &THEIRS);
        for proof in [&[0; 32][..], &another, &echoed, &[], &[7; 31]] {
            let (connection, proved, answer) = tried(proof);
            assert!(!proved && !connection.is_proved() && connection.is_over());
            assert_eq!(answer, up::refused(0, "refused"));
        }
    }

    #[test]
    fn who_has_not_proved_itself_may_send_no_long_frame() {
        let secret = Secret::new(&[5; 32]).unwrap();
        for (length, is_over) in [(LONGEST_GREETING, false), (LONGEST_GREETING + 1, true)] {
            for greeting in [Vec::new(), hello()] {
                let (mut gateway, plane) = UnixStream::pair().unwrap();
                plane.set_nonblocking(true).unwrap();
                let mut connection = Connection::new(plane, THEIRS, 1);
                gateway.write_all(&[greeting, (length as u32).to_be_bytes().to_vec()].concat()).unwrap();
                connection.read();
                assert!(matches!(connection.next(&secret, false), Taken::Nothing));
                assert_eq!(connection.is_over(), is_over, "{length}");
            }
        }
    }
}
