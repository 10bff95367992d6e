//! A worker as a process of its own: this test binary, told to be one.
//!
//! Real signals need real processes, and a binary of the worker may be missing or older than the test.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::world::World;

/// Names the queues that a worker process serves; where it is not set, there is none to be.
const ROLE: &str = "GREENROOM_TESTS_WORKER_OF";

/// A worker that is killed when the test is over.
pub(crate) struct WorkerProcess {
    child: Child,
    log: File,
}

impl WorkerProcess {
    /// Starts a worker of these queues, quick to notice what happened to others.
    pub(crate) fn start(world: &World, queues: &str) -> Self {
        Self::start_with(world, queues, None)
    }

    /// Starts a worker that answers probes on this port.
    pub(crate) fn start_with(world: &World, queues: &str, probe_port: Option<u16>) -> Self {
        let port = probe_port.map(|port| port.to_string());
        let env: Vec<(&str, &str)> =
            port.iter().map(|port| ("GREENROOM_PROBE_PORT", port.as_str())).collect();
        Self::start_in(world, queues, &env)
    }

    /// Starts a worker with more in its environment.
    pub(crate) fn start_in(world: &World, queues: &str, env: &[(&str, &str)]) -> Self {
        let log = tempfile::tempfile().unwrap();
        let this = module_path!().split_once("::").unwrap().1;
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{this}::a_worker"), "--ignored", "--nocapture"])
            // Whatever the developer has set, this process works on the test's database only.
            .env_clear()
            .envs(world.environment())
            .envs([
                (ROLE, queues),
                ("GREENROOM__QUEUE__LEASE_SECS", "3"),
                ("GREENROOM__QUEUE__STATEMENT_TIMEOUT_MS", "1000"),
                ("GREENROOM__QUEUE__SWEEP_INTERVAL_MS", "200"),
                ("GREENROOM__DATABASE__IDLE_IN_TRANSACTION_TIMEOUT_MS", "2000"),
            ])
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Sends a signal, such as `-KILL`.
    pub(crate) fn send(&self, signal: &str) {
        send(self.child.id(), signal);
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it had ended by itself");
        self.send("-KILL");
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// Asks it to stop; returns how it ended and how long that took.
    pub(crate) async fn stop(&mut self) -> (ExitStatus, Duration) {
        stop(&mut self.child).await
    }

    /// Returns what it has written to standard error.
    pub(crate) fn log(&mut self) -> String {
        let mut text = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        greenroom_testkit::overhear("a worker process", &self.log());
        if std::thread::panicking() {
            eprintln!("what worker {} wrote:\n{}", self.child.id(), self.log());
        }
    }
}

/// Sends a signal to a process of the test's own.
pub(crate) fn send(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// Asks a process to stop; returns how it ended and how long that took.
pub(crate) async fn stop(child: &mut Child) -> (ExitStatus, Duration) {
    let asked = Instant::now();
    send(child.id(), "-TERM");
    loop {
        // Not `wait`, which would close its standard input.
        if let Some(status) = child.try_wait().unwrap() {
            return (status, asked.elapsed());
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "it does not stop");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of other tests: the process that they kill"]
async fn a_worker() {
    let Ok(queues) = std::env::var(ROLE) else { return };
    // A test that is itself killed leaves no worker behind: standard input ends with it.
    std::thread::spawn(|| {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let queues: Vec<&str> = queues.split(',').collect();
    let probe_port = std::env::var("GREENROOM_PROBE_PORT").map_or(0, |port| port.parse().unwrap());
    let probe = greenroom_worker::ProbeArgs { probe_port };
    let args = greenroom_worker::Args { queues: Vec::new(), concurrency: 10, probe };
    greenroom_worker::run_worker("youtube-worker", &queues, args).await.unwrap();
}
