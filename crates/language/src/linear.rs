//! Linear heads over hashed features, and the file that holds their weights.
//!
//! A head is a table of bytes: a row for each bucket, a column for each output, scaled by its output. All heads over the
//! same features share a table, so that a feature is looked up once for all of them.

use crate::maths::weight_of_count;

/// What a file of weights begins with; the number is that of its format.
const MAGIC: &[u8; 8] = b"GRREAD\x00\x01";
const HEADER: usize = MAGIC.len() + 4 + 1;

/// A feature of one text and how much it counts in it.
pub(crate) type Counted = (u32, f32);

/// Counts features, those of each list weighed so that together they have its share of a length of one.
pub(crate) fn count(lists: &mut [(&mut Vec<u32>, f32)], into: &mut Vec<Counted>) {
    into.clear();
    for (features, share) in lists {
        features.sort_unstable();
        let from = into.len();
        for same in features.chunk_by(|a, b| a == b) {
            into.push((same[0], weight_of_count(same.len())));
        }
        let length = into[from..].iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt().max(1e-6);
        let scale = share.sqrt() / length;
        into[from..].iter_mut().for_each(|(_, weight)| *weight *= scale);
    }
}

/// Returns what a byte stands for: its square, with its sign. Most weights are small, and small ones are told apart best.
pub(crate) fn worth(byte: i8) -> f32 {
    let byte = f32::from(byte);
    byte * byte.abs()
}

/// A table of weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Two to this many buckets.
    pub(crate) bits: u8,
    /// What one is worth, by output.
    pub(crate) scales: Vec<f32>,
    /// What each output begins with.
    pub(crate) biases: Vec<f32>,
    /// Rows of outputs.
    pub(crate) weights: Vec<i8>,
}

impl Table {
    /// Scores a text for every output.
    pub(crate) fn score(&self, features: &[Counted], scores: &mut Vec<f32>) {
        let outputs = self.biases.len();
        scores.clear();
        scores.resize(outputs, 0.0);
        let mask = (1_u32 << self.bits) - 1;
        for (feature, weight) in features {
            let row = (feature & mask) as usize * outputs;
            for (score, byte) in scores.iter_mut().zip(&self.weights[row..row + outputs]) {
                *score += worth(*byte) * weight;
            }
        }
        for ((score, scale), bias) in scores.iter_mut().zip(&self.scales).zip(&self.biases) {
            *score = *score * scale + bias;
        }
    }

    /// Returns the only byte of a feature.
    pub(crate) fn byte(&self, feature: u32) -> i8 {
        let mask = (1_u32 << self.bits) - 1;
        self.weights.get((feature & mask) as usize).copied().unwrap_or_default()
    }
}

/// All tables of a reader, with the version of their model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) version: u32,
    pub(crate) tables: Vec<Table>,
}

/// Why a file holds no weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no weights of a reader, or they are cut off")]
pub struct NoWeights;

impl Weights {
    /// Reads a file of weights.
    pub(crate) fn read(file: &[u8]) -> Result<Self, NoWeights> {
        let header = file.get(..HEADER).filter(|header| header.starts_with(MAGIC)).ok_or(NoWeights)?;
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let mut rest = &file[HEADER..];
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at_checked(length).ok_or(NoWeights)?;
            rest = left;
            Ok(taken)
        };
        let mut tables = Vec::new();
        for _ in 0..header[12] {
            let shape = take(2)?;
            let (bits, outputs) = (shape[0], usize::from(shape[1]));
            if bits > 24 {
                return Err(NoWeights);
            }
            let mut floats = || {
                let bytes = take(4 * outputs)?.as_chunks::<4>().0;
                Ok(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            };
            let (scales, biases) = (floats()?, floats()?);
            let weights = take(outputs << bits)?.iter().map(|byte| byte.cast_signed()).collect();
            tables.push(Table { bits, scales, biases, weights });
        }
        Ok(Self { version, tables })
    }

    /// Writes the file.
    #[cfg(feature = "training")]
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(self.version.to_le_bytes());
        file.push(u8::try_from(self.tables.len()).unwrap_or(u8::MAX));
        for table in &self.tables {
            file.push(table.bits);
            file.push(u8::try_from(table.biases.len()).unwrap_or(u8::MAX));
            file.extend(table.scales.iter().chain(&table.biases).flat_map(|float| float.to_le_bytes()));
            file.extend(table.weights.iter().map(|weight| weight.cast_unsigned()));
        }
        file
    }
}
