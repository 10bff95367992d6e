//! `greenroom`: the whole house in one program.
fn main() {}
