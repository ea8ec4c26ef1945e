//! No secret is left of random connections. A fuzz target builds others with the same code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod planted;

#[test]
fn no_secret_is_left_of_random_connections() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..4000 {
        let len = next() % 1500;
        let input: Vec<u8> = (0..len).map(|_| (next() >> 32) as u8).collect();
        planted::check(&input);
    }
}
