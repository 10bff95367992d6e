//! `greenroom`: the whole house in one program.

use std::process::ExitCode;

use greenroom_cli::{Terminal, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(std::env::args_os(), Terminal::of_process()).await.into()
}
