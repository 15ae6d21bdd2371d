//! The load generator of `make bench ARGS=media`: the RTP of many two-way calls, sent on time and checked to the
//! last octet at the other end. See `input` for what it is told, and `report` for what it says:
//!
//! one line `begin` and one line `end` around the measured time, then one line of JSON.

mod flow;
mod histogram;
mod input;
mod payload;
mod srtp;
mod sys;

use std::io::{stdin, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flow::{split, Heard, Receiver, Sender};
use histogram::Histogram;
use input::Run;

/// How long packets may still be under way after the last was sent.
const DRAIN: u64 = 500_000_000;
/// Between two looks at what has come.
const LOOK: u64 = 1_000_000;
/// From reading the input to the first packet.
const START: u64 = 100_000_000;

fn main() -> ExitCode {
    match input::read(stdin().lock()).and_then(|(run, ends)| measure(run, ends)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn measure(run: Run, ends: Vec<flow::End>) -> Result<String, String> {
    let ticks: std::collections::HashMap<(u32, u8), u32> =
        ends.iter().map(|end| ((end.call, end.direction), end.ticks)).collect();
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for end in ends {
        sys::prepare(end.fd, end.remote).map_err(|error| format!("call {}: {error}", end.call))?;
        let other = ticks.get(&(end.call, 1 - end.direction)).copied().unwrap_or(end.ticks);
        let (sender, receiver) = split(end, other, run.schedule);
        senders.push(sender);
        receivers.push(receiver);
    }
    let poll = sys::Poll::new().map_err(|error| error.to_string())?;
    for (token, receiver) in receivers.iter().enumerate() {
        poll.add(receiver.fd, token).map_err(|error| error.to_string())?;
    }
    let over = AtomicBool::new(false);
    let count = senders.len() as u64;
    thread::scope(|scope| {
        let listening = scope.spawn(|| listen(poll, receivers, &over));
        let sent = speak(&run, senders);
        sys::sleep_until(sys::now() + DRAIN);
        over.store(true, Ordering::Relaxed);
        let heard = listening.join().map_err(|_| "the receiving thread ended".to_string())?;
        let measured = count / 2 * u64::from(run.schedule.total - run.schedule.warm);
        Ok(report(&run, &sent, &heard, measured))
    })
}

/// What the sending thread did.
struct Sent {
    refused: u64,
    /// How late packets went out.
    late: Histogram,
    /// Nanoseconds of CPU of the whole process within the measured time, and that time.
    cpu: u64,
    elapsed: u64,
}

/// Send every packet of every end when it is due, each end at its own moment of the interval.
fn speak(run: &Run, mut senders: Vec<Sender>) -> Sent {
    sys::sharpen_timers();
    let count = senders.len() as u64;
    let schedule = run.schedule;
    let (mut packet, mut late) = (Vec::with_capacity(2048), Histogram::new());
    let (mut refused, mut begun) = (0, (0, 0));
    let start = sys::now() + START;
    let consents = (run.consent / schedule.interval).max(1);
    for number in 0..schedule.total {
        if number == schedule.warm {
            begun = (sys::now(), sys::cpu());
            say("begin");
        }
        for (place, sender) in senders.iter_mut().enumerate() {
            let due = start + u64::from(number) * schedule.interval + schedule.interval * place as u64 / count;
            let mut now = sys::now();
            if now < due {
                sys::sleep_until(due.max(now + run.tick));
                now = sys::now();
            }
            let corrupt = schedule.corrupt != 0 && number % schedule.corrupt == schedule.corrupt - 1;
            sender.write(number, sys::wall(), corrupt, &mut packet);
            refused += u64::from(!sys::send(sender.fd, &packet));
            if number >= schedule.warm {
                late.add(now.saturating_sub(due));
            }
            if !sender.consent.is_empty() && (u64::from(number) + place as u64) % consents == 0 {
                sys::send(sender.fd, &sender.consent);
            }
        }
    }
    let sent = Sent { refused, late, cpu: sys::cpu() - begun.1, elapsed: sys::now() - begun.0 };
    say("end");
    sent
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Receive on all sockets until it is over; what was heard, by direction.
fn listen(mut poll: sys::Poll, mut receivers: Vec<Receiver>, over: &AtomicBool) -> [Heard; 2] {
    let mut heard = [Heard::new(), Heard::new()];
    let mut batch = sys::Batch::new();
    while !over.load(Ordering::Relaxed) {
        // The kernel says when each packet came, so nothing is lost by looking once a while, and a wake-up a packet
        // is saved.
        sys::sleep_until(sys::now() + LOOK);
        loop {
            let mut ready = 0;
            for token in poll.ready() {
                ready += 1;
                let receiver = &mut receivers[token];
                let heard = &mut heard[receiver.direction as usize];
                while batch.receive(receiver.fd, |datagram, came| receiver.take(datagram, came, heard)) {}
            }
            if ready == 0 {
                break;
            }
        }
    }
    heard
}

fn report(run: &Run, sent: &Sent, heard: &[Heard; 2], measured: u64) -> String {
    let direction = |heard: &Heard| {
        format!(
            "{{\"sent\":{measured},\"received\":{},\"lost\":{},\"duplicated\":{},\"corrupted\":{},\"misdelivered\":{},\
             \"renumbered\":{},\"unauthentic\":{},\"before\":{},\"after\":{},\"rtcp\":{},\"other\":{},\"delay_us\":{}}}",
            heard.received,
            measured.saturating_sub(heard.received + heard.corrupted),
            heard.duplicated,
            heard.corrupted,
            heard.misdelivered,
            heard.renumbered,
            heard.unauthentic,
            heard.before,
            heard.after,
            heard.rtcp,
            heard.other,
            heard.delay.json()
        )
    };
    let mut both = Heard::new();
    heard.iter().for_each(|each| both.merge(each));
    format!(
        "{{\"seconds\":{:.3},\"interval_us\":{},\"refused\":{},\"cpu_seconds\":{:.3},\"late_us\":{},\"delay_us\":{},\
         \"directions\":[{},{}]}}",
        sent.elapsed as f64 / 1e9,
        run.schedule.interval / 1_000,
        sent.refused,
        sent.cpu as f64 / 1e9,
        sent.late.json(),
        both.delay.json(),
        direction(&heard[0]),
        direction(&heard[1])
    )
}
