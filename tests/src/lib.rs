//! Tests of the house as a whole, which belong to no single crate.

#[cfg(test)]
mod doctor;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod floors;
#[cfg(test)]
mod ignored;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod process;
#[cfg(test)]
mod procfile;
#[cfg(test)]
mod raw_sql;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod world;
