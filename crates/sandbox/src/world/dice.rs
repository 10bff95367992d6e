//! Randomness that is a pure function of the seed.
//!
//! Every fact of the world is drawn from a [`Dice`] seeded by where the fact stands (channel, video,
//! thread, reply), so any page can be computed without the pages before it, and the same seed gives
//! the same bytes on every machine. For the latter nothing here, or built on it, calls `powf`, `exp`
//! or `ln`: their last digit differs between platforms.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Maps a number to another one so that neighbours land far apart; [`unscramble`] undoes it.
pub(crate) const fn scramble(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Undoes [`scramble`].
pub(crate) const fn unscramble(n: u64) -> u64 {
    // The multipliers are the inverses of scramble's, modulo 2^64.
    let n = (n ^ (n >> 31) ^ (n >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    let n = (n ^ (n >> 27) ^ (n >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    n ^ (n >> 30) ^ (n >> 60)
}

/// Digests bytes, eight at a time: fast enough for an etag of every item of a page.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut state = GOLDEN ^ bytes.len() as u64;
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
    }
    let rest = chunks.remainder().iter().fold(0, |word, &byte| (word << 8) | u64::from(byte));
    scramble(state ^ rest.wrapping_mul(GOLDEN))
}

/// A sequence of draws, fixed by where it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Takes up the dice of one place; `place` is a path such as `[PURPOSE, channel, video]`.
    pub(crate) fn at(seed: u64, place: &[u64]) -> Self {
        let start = scramble(seed.wrapping_add(GOLDEN));
        Self(place.iter().fold(start, |state, &step| scramble(state ^ scramble(step.wrapping_add(GOLDEN)))))
    }

    /// Draws any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        scramble(self.0)
    }

    /// Draws a number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Multiply-shift: the high half of a 128-bit product is below `end`, without a division.
        let product = u128::from(self.any()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Draws from a range, both ends included.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// Answers true `per_mille` times out of 1000.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Draws one of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let at = self.below(choices.len() as u64);
        choices[usize::try_from(at).unwrap_or(0)]
    }

    /// Draws from 0 to 1, 1 excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, all that a double holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws from 1 to `most` with a heavy tail: half of the draws are near 1, few are near `most`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number below 2^53"
    )]
    pub(crate) fn heavy_tail(&mut self, most: u64) -> u64 {
        (1.0 / (self.unit() + 1.0 / most as f64)) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrambling_can_be_undone() {
        for n in (0..10_000).chain([u64::MAX, u64::MAX - 1, 1 << 63]) {
            assert_eq!(unscramble(scramble(n)), n);
        }
    }

    #[test]
    fn a_place_has_its_own_fixed_draws() {
        let draws = |place: &[u64]| {
            let mut dice = Dice::at(7, place);
            [dice.any(), dice.any()]
        };
        assert_eq!(draws(&[1, 2]), draws(&[1, 2]));
        assert_ne!(draws(&[1, 2]), draws(&[2, 1]));
        assert_ne!(draws(&[1]), draws(&[1, 0]));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::at(1, &[]);
        let draws: Vec<u64> = (0..1000).map(|_| dice.between(3, 5)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&3), Some(&5)));
        assert!((0..10_000).all(|_| (1..=501).contains(&dice.heavy_tail(500))));
    }

    #[test]
    fn a_digest_sees_every_byte() {
        let text = b"twenty-one characters";
        for at in 0..text.len() {
            let mut other = *text;
            other[at] ^= 1;
            assert_ne!(digest(text), digest(&other), "byte {at}");
        }
    }
}
