//! Tests of the house as a whole, which belong to no single crate.

#[cfg(test)]
mod floors;
#[cfg(test)]
mod ignored;
#[cfg(test)]
mod schema;
