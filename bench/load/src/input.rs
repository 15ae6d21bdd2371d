//! What is to be done, line by line on standard input:
//!
//! ```text
//! run key=value ...       seconds, warmup (s), interval_us, tick_us, corrupt (every n-th packet), consent (s),
//!                         first (RTP number)
//! frames NAME hex hex ... encoded frames of audio
//! end key=value ...       call, direction (0 or 1), fd, remote (address:port), pt, ssrc, ticks,
//!                         source (pattern:OCTETS or frames:NAME), check (pattern, tone:HZ, any),
//!                         send and receive (KEY:SALT in hex: SRTP AES-GCM session keys; - for plain RTP),
//!                         consent (hex of a Binding request; - for none)
//! ```

use std::collections::HashMap;
use std::io::BufRead;

use crate::flow::{End, Schedule};
use crate::payload::{Check, Source};
use crate::srtp::Srtp;

pub struct Run {
    pub schedule: Schedule,
    /// Nanoseconds; sends that are due within one are done together.
    pub tick: u64,
    /// Nanoseconds from one Binding request of an end to its next.
    pub consent: u64,
}

type Fields<'a> = HashMap<&'a str, &'a str>;

/// Read all of `lines`; the error names the line that cannot be used.
pub fn read(lines: impl BufRead) -> Result<(Run, Vec<End>), String> {
    let mut run = None;
    let mut frames: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    let mut ends = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| error.to_string())?;
        let wrong = |what: String| format!("line {}: {what}", number + 1);
        let mut words = line.split_whitespace();
        match words.next() {
            None => continue,
            Some("run") => run = Some(read_run(&fields(words)).map_err(wrong)?),
            Some("frames") => {
                let name = words.next().ok_or_else(|| wrong("frames without a name".into()))?;
                let read: Option<Vec<_>> = words.map(octets).collect();
                frames.insert(name.into(), read.ok_or_else(|| wrong("not hexadecimal".into()))?);
            }
            Some("end") => ends.push(read_end(&fields(words), &frames).map_err(wrong)?),
            Some(other) => return Err(wrong(format!("{other} is nothing to do"))),
        }
    }
    Ok((run.ok_or("no line begins with run")?, ends))
}

fn fields<'a>(words: impl Iterator<Item = &'a str>) -> Fields<'a> {
    words.filter_map(|word| word.split_once('=')).collect()
}

fn get<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<T, String> {
    let text = fields.get(name).ok_or_else(|| format!("{name} is missing"))?;
    text.parse().map_err(|_| format!("{name} is not usable"))
}

fn read_run(fields: &Fields) -> Result<Run, String> {
    let interval = get::<u64>(fields, "interval_us")? * 1_000;
    let packets = |name| get::<f64>(fields, name).map(|seconds| (seconds * 1e9 / interval as f64).round() as u32);
    let warm = packets("warmup")?;
    Ok(Run {
        schedule: Schedule {
            interval,
            first: get(fields, "first")?,
            warm,
            total: warm + packets("seconds")?,
            corrupt: get(fields, "corrupt")?,
        },
        tick: get::<u64>(fields, "tick_us")? * 1_000,
        consent: (get::<f64>(fields, "consent")? * 1e9) as u64,
    })
}

fn read_end(fields: &Fields, frames: &HashMap<String, Vec<Vec<u8>>>) -> Result<End, String> {
    let source: String = get(fields, "source")?;
    let check: String = get(fields, "check")?;
    let consent: String = get(fields, "consent")?;
    let direction = get::<u8>(fields, "direction")?;
    Ok(End {
        call: get(fields, "call")?,
        direction: if direction < 2 { direction } else { return Err("direction is 0 or 1".into()) },
        fd: get(fields, "fd")?,
        remote: get(fields, "remote")?,
        payload_type: get::<u8>(fields, "pt")? & 0x7f,
        ssrc: get(fields, "ssrc")?,
        ticks: get(fields, "ticks")?,
        source: match source.split_once(':') {
            Some(("pattern", length)) => Source::Pattern(length.parse().map_err(|_| "source is not usable")?),
            Some(("frames", name)) => match frames.get(name) {
                Some(found) if !found.is_empty() => Source::Frames(found.clone()),
                _ => return Err(format!("there are no frames {name}")),
            },
            _ => return Err("source is not usable".into()),
        },
        check: match check.split_once(':') {
            Some(("tone", frequency)) => Check::Tone(frequency.parse().map_err(|_| "check is not usable")?),
            None if check == "pattern" => Check::Pattern,
            None if check == "any" => Check::Any,
            _ => return Err("check is not usable".into()),
        },
        send: key(fields, "send")?,
        receive: key(fields, "receive")?,
        consent: if consent == "-" { Vec::new() } else { octets(&consent).ok_or("consent is not hexadecimal")? },
    })
}

fn key(fields: &Fields, name: &str) -> Result<Option<Srtp>, String> {
    let text: String = get(fields, name)?;
    if text == "-" {
        return Ok(None);
    }
    let parts = text.split_once(':').and_then(|(key, salt)| Some((octets(key)?, octets(salt)?)));
    let made = parts.and_then(|(key, salt)| Srtp::new(&key, &salt));
    made.map(Some).ok_or_else(|| format!("{name} is no key"))
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "run seconds=1 warmup=0.5 interval_us=20000 tick_us=200 corrupt=0 consent=5 first=0\n";

    #[test]
    fn a_run_and_its_ends_are_read() {
        let end = "end call=1 direction=0 fd=3 remote=127.0.0.1:5000 pt=0 ssrc=7 ticks=160 source=pattern:160 \
                   check=pattern send=- receive=- consent=-\n";
        let (run, ends) = read(format!("{RUN}{end}").as_bytes()).unwrap();
        assert_eq!((run.schedule.warm, run.schedule.total), (25, 75));
        assert_eq!(ends.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for text in ["", "run seconds=x", "what", "frames f zz", &format!("{RUN}end call=1")] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
