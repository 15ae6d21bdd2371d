//! What no packet may cost. Alone in its program: what other tests allocate would be counted too.

mod common;

use std::alloc::System;

use common::{PAIRS, encoded, speech};
use gateway_audio::{Kind, Packet, Settings, Transcoder};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn nothing_is_allocated_once_the_stream_runs() {
    for (from, to) in PAIRS {
        let payloads = encoded(from, &speech(from.rate(), 4.0), 20);
        let mut transcoder = Transcoder::new(from, to, &Settings::default()).unwrap();
        let mut frames = 0;
        let mut feed = |range: std::ops::Range<usize>| {
            for number in range {
                let timestamp = number as u32 * from.clock() / 50;
                let packet = Packet {
                    sequence_number: number as u16,
                    timestamp,
                    marker: false,
                    kind: Kind::Audio,
                    payload: &payloads[number],
                };
                let now = 1_000_000 + number as u64 * 20_000;
                if number % 31 != 0 {
                    transcoder.push(&packet, now);
                }
                frames += usize::from(transcoder.tick(now).is_some());
            }
        };
        feed(0..150);
        let region = Region::new(ALLOCATOR);
        feed(150..200);
        let change = region.change();
        assert_eq!(change.allocations + change.reallocations, 0, "{from:?} -> {to:?}");
        assert!(frames > 180);
    }
}
