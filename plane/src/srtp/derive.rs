//! Key derivation (RFC 3711 section 4.3, RFC 7714 section 11), with a derivation rate of zero.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256};

/// What a derived key is for.
#[derive(Clone, Copy)]
pub enum Label {
    RtpKey = 0,
    RtpMac = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpMac = 4,
    RtcpSalt = 5,
}

/// Fill `out` with the session key of `label`; `master` has 16 or 32 octets, `salt` 12 or 14.
pub fn derive(master: &[u8], salt: &[u8], label: Label, out: &mut [u8]) {
    let mut block = [0u8; 16];
    block[..salt.len()].copy_from_slice(salt);
    block[7] ^= label as u8;
    for (counter, part) in out.chunks_mut(16).enumerate() {
        let mut stream = block;
        stream[14..].copy_from_slice(&(counter as u16).to_be_bytes());
        encrypt(master, &mut stream);
        part.copy_from_slice(&stream[..part.len()]);
    }
}

fn encrypt(master: &[u8], block: &mut [u8; 16]) {
    let block = GenericArray::from_mut_slice(block);
    if master.len() == 32 {
        Aes256::new(GenericArray::from_slice(master)).encrypt_block(block);
    } else {
        Aes128::new(GenericArray::from_slice(master)).encrypt_block(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    #[test]
    fn the_vectors_of_rfc_3711_appendix_b_3_come_out() {
        let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let mut key = [0; 16];
        derive(&master, &salt, Label::RtpKey, &mut key);
        assert_eq!(key.to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut session_salt = [0; 14];
        derive(&master, &salt, Label::RtpSalt, &mut session_salt);
        assert_eq!(session_salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut mac = [0; 94];
        derive(&master, &salt, Label::RtpMac, &mut mac);
        assert_eq!(mac[..16].to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A15"));
    }
}
