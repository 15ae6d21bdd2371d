//! How a packet thread waits and learns what came: io_uring where the kernel has it, epoll elsewhere.

use crate::sys::{Batch, Poll, Post, Ring};
use std::io;
use std::os::fd::RawFd;
use std::str::FromStr;

/// Datagrams read by one system call of epoll's way.
const BATCH: usize = 64;
/// Sockets reported ready by one system call.
const READY: usize = 256;

/// Which system calls carry the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Datagrams reported ready by epoll, received and sent one socket at a time.
    Epoll,
    /// Datagrams of all sockets received and sent by one call each.
    Uring,
}

impl Carrier {
    /// The best that works here.
    pub fn best() -> Self {
        if Ring::works() {
            Self::Uring
        } else {
            Self::Epoll
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Uring => "io_uring",
        }
    }
}

impl FromStr for Carrier {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::best()),
            "epoll" => Ok(Self::Epoll),
            "io_uring" => Ok(Self::Uring),
            _ => Err(()),
        }
    }
}

/// What one thread waits for.
pub enum Waiting {
    Epoll { poll: Poll, batch: Box<Batch> },
    Uring(Box<Ring>),
}

impl Waiting {
    /// The way to wait, and the way to send that belongs to it where that is not one call a socket.
    ///
    /// By io_uring datagrams are gathered for so many us at most: fewer wake-ups, and this much delay more where many come.
    pub fn new(carrier: Carrier, gather: u32) -> io::Result<(Self, Option<Post>)> {
        Ok(match carrier {
            Carrier::Epoll => (Self::Epoll { poll: Poll::new(READY)?, batch: Box::new(Batch::new(BATCH)) }, None),
            Carrier::Uring => (Self::Uring(Box::new(Ring::new(gather)?)), Some(Post::new()?)),
        })
    }

    /// Tell of the datagrams of a socket by that token.
    pub fn add(&mut self, fd: RawFd, token: u64) -> io::Result<()> {
        match self {
            Self::Epoll { poll, .. } => poll.add(fd, token),
            Self::Uring(ring) => {
                ring.add(fd, token);
                Ok(())
            }
        }
    }

    /// Tell by that token that a bell was rung.
    pub fn add_bell(&mut self, fd: RawFd, token: u64) -> io::Result<()> {
        match self {
            Self::Epoll { poll, .. } => poll.add(fd, token),
            Self::Uring(ring) => {
                ring.add_bell(fd, token);
                Ok(())
            }
        }
    }

    pub fn remove(&mut self, fds: &[RawFd]) {
        match self {
            Self::Epoll { poll, .. } => fds.iter().for_each(|fd| poll.remove(*fd)),
            Self::Uring(ring) => ring.remove(fds),
        }
    }
}
