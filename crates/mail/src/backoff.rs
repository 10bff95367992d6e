//! When a message that was deferred is tried again.

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The waits between tries; the last one is repeated until the message is too old.
const WAITS: [TimeDelta; 5] = [
    TimeDelta::minutes(1),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(6),
];
/// How far a wait may be off, in percent, so that messages deferred together do not come back together.
const SPREAD: i64 = 20;

/// Returns the wait after this many tries. The chance in it is drawn from the message and the try, so that it can be
/// foretold.
pub(crate) fn wait(message: Uuid, tries: i16) -> TimeDelta {
    let place = usize::try_from(tries.max(1) - 1).unwrap_or(0).min(WAITS.len() - 1);
    let mut hash = Sha256::new();
    hash.update(message.as_bytes());
    hash.update(tries.to_be_bytes());
    let drawn = i64::from(hash.finalize()[0]) * 2 * SPREAD / 255 - SPREAD;
    WAITS[place] + WAITS[place] * i32::try_from(drawn).unwrap_or(0) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_spread() {
        let message = Uuid::from_u128(7);
        for (tries, wanted) in (1..).zip(WAITS.iter().chain(&WAITS[4..])) {
            let waited = wait(message, tries);
            assert!((waited - *wanted).abs() <= *wanted * 20 / 100, "{tries}: {waited}");
            assert_eq!(waited, wait(message, tries));
        }
        let drawn: std::collections::BTreeSet<_> =
            (0..50_u128).map(|n| wait(Uuid::from_u128(n), 1)).collect();
        assert!(drawn.len() > 10, "{drawn:?}");
    }
}
