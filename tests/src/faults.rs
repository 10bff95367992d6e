//! The faults that the queue is promised to survive, each brought about for real.
//!
//! The list and what is promised stand in `docs/reliability.md`, with the numbers of the long runs. Workers
//! are processes of their own where signals, clocks or networks matter, else they run here. What a job
//! does, it does in the transaction that completes it, into a table without a key: so SQL counts what was
//! lost and what was done twice.

mod clocks;
mod errand;
mod house;
mod kills;
mod leaders;
mod load;
mod network;
mod poison;
mod secrets;
mod server;
mod storm;
mod wire;
