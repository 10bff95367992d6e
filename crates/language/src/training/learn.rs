//! Softmax regression by stochastic gradients whose steps shrink where much was learned (the method `AdaGrad`), then
//! rounded to bytes.

use crate::linear::{Counted, Table, worth};
use crate::maths::{ln, softmax};

use super::data::Row;

/// How far the first steps go.
const RATE: f32 = 0.3;
/// What of it is gone in the end.
const DECAY: f32 = 0.7;
/// A difference to the truth that is not worth a step.
const ENOUGH: f32 = 1e-4;
/// Steps of a byte.
const STEPS: f32 = 127.0;
/// Of all weights that are not zero this part may be cut to what a byte holds.
const CUT: f32 = 0.000_02;

/// What is learned, and how.
pub(super) struct Plan<'a> {
    pub(super) labels: &'a [&'a str],
    pub(super) bits: u8,
    pub(super) epochs: u32,
    /// How far rare labels are raised: 0 not at all, 1 until all weigh the same.
    pub(super) balance: f32,
    /// Keeps the first steps of a rare feature small; the more, the smaller.
    pub(super) calm: f32,
    /// Pulls the weights of what is met back to nothing, so that no rare feature decides alone.
    pub(super) pull: f32,
    /// How far a feature counts by how unevenly the labels share it: 0 all alike, 1 by that alone.
    pub(super) skew: f32,
    /// What a text counts beside others.
    pub(super) worth: fn(&Row) -> f32,
}

/// A text to learn from.
pub(super) struct Example {
    pub(super) features: Vec<Counted>,
    pub(super) label: usize,
    pub(super) weight: f32,
}

impl Plan<'_> {
    pub(super) fn label(&self, row: &Row) -> usize {
        self.labels.iter().position(|label| *label == row.label).unwrap_or_default()
    }

    /// Returns what each row counts.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    pub(super) fn weights(&self, rows: &[Row]) -> Vec<f32> {
        let mut counts = vec![0_usize; self.labels.len()];
        for row in rows {
            counts[self.label(row)] += 1;
        }
        let even = rows.len() as f32 / self.labels.len() as f32;
        // A blend and not a power: powers are not the same on every machine.
        let raised = |count: usize| 1.0 - self.balance + self.balance * even / (count.max(1) as f32);
        rows.iter().map(|row| raised(counts[self.label(row)]).min(4.0) * (self.worth)(row)).collect()
    }
}

/// Learns a head.
#[expect(clippy::cast_precision_loss, reason = "a few epochs")]
pub(super) fn learn(examples: &[Example], plan: &Plan<'_>) -> Table {
    let outputs = plan.labels.len();
    let mask = (1_u32 << plan.bits) - 1;
    let mut weights = vec![0.0_f32; outputs << plan.bits];
    let mut steps = vec![0.0_f32; outputs << plan.bits];
    let (mut biases, mut bias_steps) = (vec![0.0_f32; outputs], vec![0.0_f32; outputs]);
    let skews = skews(examples, plan);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut scores = vec![0.0_f32; outputs];
    for epoch in 0..plan.epochs {
        dice.shuffle(&mut order);
        let rate = RATE * (1.0 - DECAY * epoch as f32 / plan.epochs as f32);
        for example in order.iter().map(|at| &examples[*at]) {
            scores.copy_from_slice(&biases);
            for (feature, value) in &example.features {
                let row = (feature & mask) as usize * outputs;
                for (output, score) in scores.iter_mut().enumerate() {
                    *score += weights[row + output] * skews[row + output] * value;
                }
            }
            softmax(&mut scores);
            for output in 0..outputs {
                let truth = if output == example.label { 1.0 } else { 0.0 };
                let wrong = (scores[output] - truth) * example.weight;
                if wrong.abs() < ENOUGH {
                    continue;
                }
                for (feature, value) in &example.features {
                    let at = (feature & mask) as usize * outputs + output;
                    let step = wrong * value * skews[at] + plan.pull * weights[at];
                    steps[at] += step * step;
                    weights[at] -= rate * step / (steps[at].sqrt() + plan.calm);
                }
                bias_steps[output] += wrong * wrong;
                biases[output] -= rate * wrong / bias_steps[output].sqrt();
            }
        }
    }
    weights.iter_mut().zip(&skews).for_each(|(weight, skew)| *weight *= skew);
    rounded(plan.bits, &weights, biases)
}

/// Features that are met once or twice are taken to be met so often more, by every label.
const SMOOTH: f32 = 1.0;
/// More uneven than this is as uneven.
const MOST_SKEW: f32 = 3.0;

/// Returns what each feature counts for each label, by the logarithm of how much more often the label has it than the others:
/// what all have says little, and is told so before anything is learned (Wang and Manning, 2012).
fn skews(examples: &[Example], plan: &Plan<'_>) -> Vec<f32> {
    let outputs = plan.labels.len();
    let mask = (1_u32 << plan.bits) - 1;
    let mut met = vec![0.0_f32; outputs << plan.bits];
    let mut all_met = vec![0.0_f32; outputs];
    for example in examples {
        for (feature, _) in &example.features {
            met[(feature & mask) as usize * outputs + example.label] += example.weight;
            all_met[example.label] += example.weight;
        }
    }
    let all: f32 = all_met.iter().sum();
    let mut skews = Vec::with_capacity(met.len());
    for counts in met.chunks(outputs) {
        let sum: f32 = counts.iter().sum();
        for (count, all_of) in counts.iter().zip(&all_met) {
            let here = (count + SMOOTH) / (all_of + SMOOTH);
            let elsewhere = (sum - count + SMOOTH) / (all - all_of + SMOOTH);
            let skew = ln(here / elsewhere).abs().min(MOST_SKEW);
            skews.push(1.0 - plan.skew + plan.skew * skew);
        }
    }
    skews
}

/// Rounds weights to bytes, each output by a scale of its own.
fn rounded(bits: u8, weights: &[f32], biases: Vec<f32>) -> Table {
    let outputs = biases.len();
    let scales: Vec<f32> = (0..outputs)
        .map(|output| {
            let mut sizes: Vec<f32> = weights
                .iter()
                .skip(output)
                .step_by(outputs)
                .map(|weight| weight.abs())
                .filter(|size| *size > 0.0)
                .collect();
            sizes.sort_unstable_by(f32::total_cmp);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in a list"
            )]
            let at = (sizes.len() as f32 * (1.0 - CUT)) as usize;
            sizes.get(at).or(sizes.last()).copied().unwrap_or(1.0) / (STEPS * STEPS)
        })
        .collect();
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what a byte holds")]
    let weights = weights
        .iter()
        .enumerate()
        .map(|(at, weight)| {
            let size = (weight.abs() / scales[at % outputs]).sqrt().round().min(STEPS);
            size.copysign(*weight) as i8
        })
        .collect();
    Table { bits, scales, biases, weights }
}

/// Makes one output of two: how much more the second is so than the first.
pub(super) fn difference(table: &Table) -> Table {
    let real = |at: usize| worth(table.weights[at]) * table.scales[at % 2];
    let weights: Vec<f32> =
        (0..table.weights.len() / 2).map(|row| real(2 * row + 1) - real(2 * row)).collect();
    rounded(table.bits, &weights, vec![table.biases[1] - table.biases[0]])
}

/// Puts tables of the same buckets side by side.
pub(super) fn join(bits: u8, tables: &[Table]) -> Table {
    let mut weights = Vec::new();
    for row in 0..1_usize << bits {
        for table in tables {
            let outputs = table.biases.len();
            weights.extend_from_slice(&table.weights[row * outputs..(row + 1) * outputs]);
        }
    }
    let all = |part: fn(&Table) -> &Vec<f32>| tables.iter().flat_map(part).copied().collect();
    Table { bits, scales: all(|table| &table.scales), biases: all(|table| &table.biases), weights }
}

/// Numbers that look thrown and are the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_possible_truncation, reason = "less than the number of sides")]
        let side = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides as u64) as usize;
        side
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for at in (1..order.len()).rev() {
            order.swap(at, self.throw(at + 1));
        }
    }
}
