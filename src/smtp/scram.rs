//! The arithmetic of SCRAM-SHA-256 (RFC 5802, section 3; RFC 7677). Pure.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};

pub const KEY: usize = 32;

/// What a server keeps of a password.
#[derive(Clone, Copy)]
pub struct Keys {
    pub stored: [u8; KEY],
    pub server: [u8; KEY],
}

/// Slow on purpose: the more iterations, the slower.
pub fn keys(password: &str, salt: &[u8], iterations: NonZeroU32) -> Keys {
    let mut salted = [0; KEY];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared(password).as_bytes(), &mut salted);
    Keys { stored: hash(&mac(&salted, b"Client Key")), server: mac(&salted, b"Server Key") }
}

/// SASLprep (RFC 4013). What it forbids stays as it is: the mechanism must not be the reason why a password is none.
fn prepared(password: &str) -> std::borrow::Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(std::borrow::Cow::Borrowed(password))
}

/// Whether the client's proof shows that it knows the password: RFC 5802, section 3.
pub fn proves(stored_key: &[u8; KEY], auth_message: &[u8], proof: &[u8; KEY]) -> bool {
    let signature = mac(stored_key, auth_message);
    let mut client_key = *proof;
    for (octet, other) in client_key.iter_mut().zip(signature) {
        *octet ^= other;
    }
    same(&hash(&client_key), stored_key)
}

/// By which the client knows that the server knows the password.
pub fn signature(server_key: &[u8; KEY], auth_message: &[u8]) -> [u8; KEY] {
    mac(server_key, auth_message)
}

/// Takes as long whatever differs.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

pub fn mac(key: &[u8], message: &[u8]) -> [u8; KEY] {
    let mut out = [0; KEY];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

fn hash(octets: &[u8]) -> [u8; KEY] {
    let mut out = [0; KEY];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    out
}
