//! Reads a text: its language, whether its author is pleased, what they want, what it is about.
//!
//! ```text
//!   text ─► normal form ─► language, by script and runs of letters
//!               ├─► hashed features ─► one pass over a table ─► sentiment, spam, toxic
//!               └─► phrases (data/cues.txt) ─► question, collab, complaint, suggestion, praise
//! ```
//!
//! Everything is here: weights, lexicon, phrases. It needs no network, no key and no file, and gives the same answer
//! everywhere. `MODEL_CARD.md` says what it was learned from, how good it is and where it is not.
//!
//! Not here: how urgent a comment is, which takes more than its text; and language models.

mod cues;
mod evidence;
mod features;
mod keywords;
mod lexicon;
mod linear;
mod maths;
mod normalise;
mod reader;
mod script;
mod tongue;
#[cfg(feature = "training")]
pub mod training;

#[cfg(test)]
mod tests;

pub use linear::NoWeights;
pub use reader::{Category, Reader, Reading, Sentiment};
