//! Functions that give the same bits on every machine, since they use nothing but sums and products.
//!
//! Those of the platform may differ in the last bit, and then a text would read differently elsewhere, and weights could
//! not be learned again bit for bit.

/// Returns e to the power of `x`, to six digits; 0 far below and a large number far above.
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-80.0, 80.0);
    // 2^k · e^r with r within half a step of the logarithm of two.
    let k = (x * std::f32::consts::LOG2_E).round();
    let r = x - k * std::f32::consts::LN_2;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0)))));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "k is within ±116")]
    let power = f32::from_bits(((k as i32 + 127) as u32) << 23);
    series * power
}

/// Returns the natural logarithm of a number above zero, to six digits.
#[cfg(feature = "training")]
pub(crate) fn ln(x: f32) -> f32 {
    // 2^k · m with m around one, and the logarithm of m as a series of (m - 1) / (m + 1).
    let bits = x.max(f32::MIN_POSITIVE).to_bits();
    #[expect(clippy::cast_precision_loss, reason = "an exponent")]
    let k = (bits >> 23) as f32 - 127.0;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let (k, m) = if m > std::f32::consts::SQRT_2 { (k + 1.0, m / 2.0) } else { (k, m) };
    let part = (m - 1.0) / (m + 1.0);
    let square = part * part;
    let series = 1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0)));
    k * std::f32::consts::LN_2 + 2.0 * part * series
}

/// Returns the chance that a score stands for.
pub(crate) fn chance(score: f32) -> f32 {
    1.0 / (1.0 + exp(-score))
}

/// Turns scores into chances that sum to one.
pub(crate) fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = exp(*score - most);
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

/// Returns how much a feature counts that is there so often: 1 + ln(n).
pub(crate) fn weight_of_count(count: usize) -> f32 {
    const LOGS: [f32; 8] = [1.0, 1.693, 2.099, 2.386, 2.609, 2.792, 2.946, 3.079];
    LOGS[count.clamp(1, LOGS.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_near_the_real_one() {
        for step in -400_i16..400 {
            let x = f32::from(step) / 10.0;
            let (ours, real) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / real - 1.0).abs() < 1e-5, "exp({x}) is {ours}, not {real}");
        }
        assert!(exp(f32::MIN).abs() < 1e-30 && exp(f32::MAX).is_finite());
        assert_eq!(chance(0.0).to_bits(), 0.5_f32.to_bits());
    }

    #[test]
    #[cfg(feature = "training")]
    fn the_logarithm_is_near_the_real_one() {
        for step in 1_u16..4_000 {
            let x = f32::from(step) / 100.0;
            let (ours, real) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((ours - real).abs() < 2e-6 * (1.0 + real.abs()), "ln({x}) is {ours}, not {real}");
        }
        assert!(ln(0.0) < -80.0);
    }

    #[test]
    fn its_bits_are_these() {
        assert_eq!(
            [exp(1.0), exp(-3.3), chance(0.7)].map(f32::to_bits),
            [0x402d_f84a, 0x3d17_12ce, 0x3f2b_0e5a]
        );
    }
}
