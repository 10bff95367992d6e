//! Which queues a worker serves, as a person writes it: `youtube:10,housekeeping`.

use std::str::FromStr;

/// A queue, and how many of its jobs run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The queue's name.
    pub queue: String,
    /// Jobs at once; `None` takes the process's own default.
    pub slots: Option<u32>,
}

/// A queue that was not written as `name` or `name:slots`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a queue: write its name, or name:slots with at least one slot, such as youtube:10")]
pub struct UnreadableQueue(String);

impl FromStr for Served {
    type Err = UnreadableQueue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || UnreadableQueue(text.to_owned());
        let (queue, slots) = match text.trim().split_once(':') {
            None => (text.trim(), None),
            Some((queue, slots)) => {
                (queue, Some(slots.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(unreadable)?))
            }
        };
        if queue.is_empty() { Err(unreadable()) } else { Ok(Self { queue: queue.to_owned(), slots }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_a_name_with_or_without_slots() {
        assert_eq!("youtube".parse(), Ok(Served { queue: "youtube".to_owned(), slots: None }));
        assert_eq!("youtube:10".parse(), Ok(Served { queue: "youtube".to_owned(), slots: Some(10) }));
        for wrong in ["", ":3", "youtube:0", "youtube:many"] {
            assert!(wrong.parse::<Served>().is_err(), "{wrong}");
        }
    }
}
