//! The schema as it must be: every table and column, who owns what, and who may look.

mod access;
mod columns;
mod owners;
mod rules;
