//! Processor time as the kernel counts it: of PostgreSQL, of this process and its children, of the machine.

use std::fs;

use crate::CliError;

/// The kernel shows times in hundredths of a second, whatever it counts in.
#[expect(clippy::cast_precision_loss, reason = "seconds to two places are wanted")]
fn secs(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

/// What `/proc/PID/stat` says of one process, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Its own user and system time.
    own: u64,
    /// The same of its children that have ended and were waited for.
    ended_children: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name before it may hold spaces and parentheses; it ends with the last one.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            ended_children: number(13)? + number(14)?,
        })
    }

    fn of(pid: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Returns the seconds that a server has used: the postmaster, its living children, and those that ended.
pub(super) fn of_server(postmaster: u32) -> Result<f64, CliError> {
    let gone = || CliError::Failed(format!("the server's process {postmaster} is gone"));
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // One that ends meanwhile is counted with its parent, read last.
        if let Some(stat) = Stat::of(pid).filter(|stat| stat.parent == postmaster) {
            ticks += stat.own;
        }
    }
    let parent = Stat::of(&postmaster.to_string()).ok_or_else(gone)?;
    Ok(secs(ticks + parent.own + parent.ended_children))
}

/// Returns the seconds that this process and its children that have ended used.
pub(super) fn of_us() -> f64 {
    Stat::of("self").map_or(0.0, |stat| secs(stat.own + stat.ended_children))
}

/// Returns the seconds in which a processor of the machine was not idle, taken together.
pub(super) fn of_machine() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().next().and_then(busy).map_or(0.0, secs)
}

/// Adds up the first line of `/proc/stat`, but for the idle time and the waiting for disks.
fn busy(line: &str) -> Option<u64> {
    let times: Vec<u64> =
        line.strip_prefix("cpu ")?.split_whitespace().map(|time| time.parse().unwrap_or(0)).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is contained in these.
    Some(times.iter().take(8).sum::<u64>() - times.get(3)? - times.get(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "17 (a) b (c) S 4 17 17 0 -1 4194560 1 2 3 4 150 50 20 5 20 0 1 0 99 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 4, own: 200, ended_children: 25 }));
        assert_eq!(Stat::parse("17 (short) S 4"), None);
    }

    #[test]
    fn a_server_is_its_postmaster_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let used = of_server(std::process::id()).unwrap();
        assert!(used >= of_us() - 0.05, "{used}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_server(u32::MAX).is_err());
    }

    #[test]
    fn waiting_is_not_work() {
        assert_eq!(busy("cpu  100 1 50 9000 700 3 4 5 60 0"), Some(163));
        assert_eq!(busy("intr 5"), None);
    }
}
