//! Rebuilds this crate when a migration is added, since `sqlx::migrate!` reads the folder.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
