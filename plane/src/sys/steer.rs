//! Which of the sockets that share a port gets a datagram: told in the kernel by its source (SO_REUSEPORT, classic BPF).

use crate::addr::Addr;
use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;

/// Groups of sources that are told apart, by a hash of address and port.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 12;
/// Threads that are chosen from: with more, too few buckets are free by the time that another thread is needed.
const MAX_THREADS: usize = 4;
const WORD_BITS: u32 = 32;
/// Odd, with which each word of an address is multiplied.
const FACTOR: u32 = 0x9E37_79B1;

type Instruction = libc::sock_filter;

const fn code(parts: u32) -> u16 {
    parts as u16
}

const LOAD_WORD: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
const LOAD_HALF: u16 = code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS);
const LOAD_NUMBER: u16 = code(libc::BPF_LD | libc::BPF_IMM);
const LOAD_KEPT: u16 = code(libc::BPF_LD | libc::BPF_MEM);
const KEEP: u16 = code(libc::BPF_ST);
const TO_INDEX: u16 = code(libc::BPF_MISC | libc::BPF_TAX);
const XOR_INDEX: u16 = code(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X);
const SHIFT_INDEX: u16 = code(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_X);
const MULTIPLY: u16 = code(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K);
const SHIFT: u16 = code(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K);
const AND: u16 = code(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K);
const AT_LEAST: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
const JUMP: u16 = code(libc::BPF_JMP | libc::BPF_JA);
const RETURN: u16 = code(libc::BPF_RET | libc::BPF_A);
const RETURN_NUMBER: u16 = code(libc::BPF_RET | libc::BPF_K);

/// An offset in the IP header of a datagram.
const fn header(offset: u32) -> u32 {
    (libc::SKF_NET_OFF as u32).wrapping_add(offset)
}

const fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Which thread hears each bucket of sources.
pub struct Steering {
    seed: u32,
    threads: Box<[u8]>,
    /// Bits that tell a thread's number in the program.
    bits: u32,
}

impl Steering {
    /// The first thread hears all of them. None where there is nothing to choose, or too much.
    pub fn new(threads: usize, seed: u32) -> Option<Self> {
        let bits = (threads.max(2) - 1).ilog2() + 1;
        let known = (2..=MAX_THREADS).contains(&threads);
        known.then(|| Self { seed, threads: vec![0; BUCKETS].into(), bits: bits.next_power_of_two() })
    }

    /// The bucket of a source.
    pub fn bucket(&self, source: &Addr) -> usize {
        let words = if source.is_v6() { 4 } else { 1 };
        let mixed = (0..words).rev().fold(self.seed, |mixed, word| {
            let part = (source.bits() >> (WORD_BITS * word)) as u32;
            (mixed ^ part).wrapping_mul(FACTOR)
        });
        let mixed = (mixed ^ u32::from(source.port)).wrapping_mul(FACTOR);
        (mixed >> (WORD_BITS - BUCKET_BITS)) as usize
    }

    /// The thread that hears a bucket.
    pub fn thread(&self, bucket: usize) -> usize {
        usize::from(self.threads[bucket])
    }

    /// Have another thread hear it once `attach` is called; whether that is another one.
    pub fn set(&mut self, bucket: usize, thread: usize) -> bool {
        let thread = thread as u8;
        std::mem::replace(&mut self.threads[bucket], thread) != thread
    }

    /// Have the kernel do so for the sockets that share the port of this one, by the order in which they were bound.
    pub fn attach(&self, socket: RawFd, v6: bool) -> io::Result<()> {
        let mut program = self.program(v6);
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the pointer and the size describe `filter`, which leads to `program`; the kernel copies both.
        super::check(unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                (&filter as *const libc::sock_fprog).cast(),
                size_of::<libc::sock_fprog>() as u32,
            )
        })
        .map(|_| ())
    }

    /// The buckets' threads, packed into words.
    fn words(&self) -> Vec<u32> {
        let pack = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, thread| word << self.bits | u32::from(*thread));
        self.threads.chunks((WORD_BITS / self.bits) as usize).map(pack).collect()
    }

    fn program(&self, v6: bool) -> Vec<Instruction> {
        let first = self.threads[0];
        if self.threads.iter().all(|thread| *thread == first) {
            return vec![plain(RETURN_NUMBER, u32::from(first))];
        }
        let mut made = vec![plain(LOAD_NUMBER, self.seed)];
        let (address, words, port) = if v6 { (8, 4, 40) } else { (12, 1, 20) };
        for (load, offset) in
            (0..words).map(|word| (LOAD_WORD, address + 4 * word)).chain(std::iter::once((LOAD_HALF, port)))
        {
            made.extend([
                plain(TO_INDEX, 0),
                plain(load, header(offset)),
                plain(XOR_INDEX, 0),
                plain(MULTIPLY, FACTOR),
            ]);
        }
        let a_word = WORD_BITS / self.bits;
        made.extend([
            plain(SHIFT, WORD_BITS - BUCKET_BITS),
            plain(KEEP, 0),
            plain(AND, a_word - 1),
            plain(MULTIPLY, self.bits),
            plain(TO_INDEX, 0),
            plain(LOAD_KEPT, 0),
            plain(SHIFT, a_word.ilog2()),
        ]);
        let mut found = Vec::new();
        choose(&self.words(), 0, &mut made, &mut found);
        for at in found {
            made[at].k = (made.len() - at - 1) as u32;
        }
        made.extend([plain(SHIFT_INDEX, 0), plain(AND, (1 << self.bits) - 1), plain(RETURN, 0)]);
        made
    }
}

/// Load the word whose number is loaded, one of `words` that begin with `first`; `found`: the jumps from there to the end.
fn choose(words: &[u32], first: usize, made: &mut Vec<Instruction>, found: &mut Vec<usize>) {
    if words.iter().all(|word| *word == words[0]) {
        made.push(plain(LOAD_NUMBER, words[0]));
        found.push(made.len());
        return made.push(plain(JUMP, 0));
    }
    let half = words.len() / 2;
    made.push(Instruction { code: AT_LEAST, jt: 0, jf: 1, k: (first + half) as u32 });
    let above = made.len();
    made.push(plain(JUMP, 0));
    choose(&words[..half], first, made, found);
    made[above].k = (made.len() - above - 1) as u32;
    choose(&words[half..], first + half, made, found);
}

#[cfg(test)]
mod tests {
    use super::super::{local, receive_from, send_to, udp, Binding, SockAddr};
    use super::*;
    use std::os::fd::{AsRawFd, OwnedFd};

    fn group(host: &Addr, threads: usize) -> (Addr, Vec<OwnedFd>) {
        let binding = Binding { reuse: true, ..Binding::default() };
        let first = udp(host, binding).unwrap();
        let bound = local(first.as_raw_fd()).unwrap();
        let others = (1..threads).map(|_| udp(&bound, binding).unwrap());
        (bound, std::iter::once(first).chain(others).collect())
    }

    fn heard(group: &[OwnedFd]) -> Vec<(usize, Addr)> {
        let mut found = Vec::new();
        for (thread, socket) in group.iter().enumerate() {
            while let Some((_, source)) = receive_from(socket.as_raw_fd(), &mut [0; 16]) {
                found.push((thread, source));
            }
        }
        found
    }

    #[test]
    fn each_source_is_heard_where_its_bucket_says() {
        for host in [Addr::v4(0x7f00_0001, 0), Addr::v6(1, 0)] {
            for threads in [2, 3, 4] {
                let (bound, sockets) = group(&host, threads);
                let mut steering = Steering::new(threads, 12345).unwrap();
                for bucket in 0..BUCKETS {
                    steering.set(bucket, bucket * 7 / 5 % threads);
                }
                steering.attach(sockets[0].as_raw_fd(), host.is_v6()).unwrap();
                let peers: Vec<OwnedFd> = (0..100).map(|_| udp(&host, Binding::default()).unwrap()).collect();
                peers.iter().for_each(|peer| assert!(send_to(peer.as_raw_fd(), b"here", &SockAddr::new(&bound))));
                let found = heard(&sockets);
                assert_eq!(found.len(), peers.len());
                for (thread, source) in found {
                    assert_eq!(thread, steering.thread(steering.bucket(&source)), "{source:?} of {threads}");
                }
            }
        }
    }

    #[test]
    fn all_are_heard_by_the_first_until_it_is_said_otherwise() {
        let host = Addr::v4(0x7f00_0001, 0);
        let (bound, sockets) = group(&host, 2);
        let mut steering = Steering::new(2, 1).unwrap();
        steering.attach(sockets[0].as_raw_fd(), false).unwrap();
        let peers: Vec<OwnedFd> = (0..50).map(|_| udp(&host, Binding::default()).unwrap()).collect();
        let send = || peers.iter().for_each(|peer| assert!(send_to(peer.as_raw_fd(), b"x", &SockAddr::new(&bound))));
        send();
        assert!(heard(&sockets).iter().all(|(thread, _)| *thread == 0));
        let one = local(peers[7].as_raw_fd()).unwrap();
        let bucket = steering.bucket(&one);
        assert!(steering.set(bucket, 1) && !steering.set(bucket, 1));
        steering.attach(sockets[0].as_raw_fd(), false).unwrap();
        send();
        for (thread, source) in heard(&sockets) {
            assert_eq!(thread, usize::from(steering.bucket(&source) == bucket));
        }
    }

    #[test]
    fn buckets_are_even_and_a_program_has_an_end() {
        let mut steering = Steering::new(4, 99).unwrap();
        let mut counts = vec![0; BUCKETS];
        for each in 0..40_960u32 {
            counts[steering.bucket(&Addr::v4(0x0a00_0000 + each / 7, 1024 + (each % 7 * 9001) as u16))] += 1;
        }
        assert!(counts.iter().all(|count| *count < 60), "{:?}", counts.iter().max());
        for bucket in 0..BUCKETS {
            steering.set(bucket, bucket * 31 / 7 % 4);
        }
        assert!(steering.program(true).len() <= 4096);
        assert!(Steering::new(1, 0).is_none() && Steering::new(5, 0).is_none());
    }
}
