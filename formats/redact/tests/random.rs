//! No secret is left of random connections. A fuzz target builds others with the same code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod planted;

use sslrec_redact_testing::Random;

#[test]
fn no_secret_is_left_of_random_connections() {
    let mut random = Random::default();
    for _ in 0..4000 {
        let len = random.within(0..1500);
        let input: Vec<u8> = (0..len).map(|_| (random.number() >> 32) as u8).collect();
        planted::check(&input);
    }
}
