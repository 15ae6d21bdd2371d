//! Any message of a gateway, and any greeting of who may be none.
#![no_main]

use gateway_plane::handshake::Greeting;
use gateway_plane::wire::down;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Greeting::read(data);
    if let Some((kind, body)) = data.split_first() {
        let _ = down::read(*kind, body);
    }
});
