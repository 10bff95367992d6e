//! Comments: when they were written, by whom, in which language, and what they say.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Dice, Purpose, World,
    keys::{CommentKey, ThreadKey},
    phrases::{INTENTS, Intent, NAMES, SURNAMES, TAILS, TONGUES, Tongue},
};

/// A comment with all changes applied.
#[derive(Clone, Debug)]
pub(crate) struct Comment {
    pub(crate) key: CommentKey,
    pub(crate) author: Author,
    pub(crate) text: String,
    pub(crate) likes: u64,
    pub(crate) liked_by_owner: bool,
    pub(crate) published_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// A thread with all changes applied: its opening and how many replies can be seen.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) key: ThreadKey,
    pub(crate) opening: Comment,
    pub(crate) replies: u32,
}

/// Who wrote a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The channel itself.
    Owner,
    /// Someone of its audience.
    Viewer(u64),
    /// Someone whose account is gone: his words stay, his channel's id does not.
    Deleted(u64),
}

impl Author {
    /// Returns a viewer's handle.
    pub(crate) fn handle(number: u64) -> String {
        let names = NAMES.len() as u64;
        let surnames = SURNAMES.len() as u64;
        let pick = |list: &[&'static str], at: u64| list[usize::try_from(at).unwrap_or(0)];
        let name = pick(NAMES, number % names);
        let surname = pick(SURNAMES, number / names % surnames);
        match number / (names * surnames) {
            0 => format!("@{name}.{surname}"),
            more => format!("@{name}{surname}-{}", 1_000 + more),
        }
    }
}

/// Draws how many replies a thread gets: most none, one in eleven more than the five shown inline,
/// and a few more than a page of 100.
pub(crate) fn replies_drawn(seed: u64, thread: ThreadKey) -> u32 {
    let mut dice = Dice::at(
        seed,
        &[
            Purpose::Replies as u64,
            u64::from(thread.video.channel),
            u64::from(thread.video.index),
            u64::from(thread.index),
        ],
    );
    let replies = match dice.below(1_000) {
        0..630 => 0,
        630..830 => 1,
        830..908 => dice.between(2, 5),
        908..999 => dice.between(6, 12),
        _ => dice.between(101, 240),
    };
    u32::try_from(replies).unwrap_or(0)
}

impl World {
    /// Returns when a thread of the seed was opened: later for a higher index, most soon after the
    /// video came out.
    pub(crate) fn commented_at(&self, thread: ThreadKey) -> DateTime<Utc> {
        let threads = self
            .channel(thread.video.channel)
            .and_then(|channel| channel.counts.get(thread.video.index as usize))
            .map_or(1, |counts| counts.threads.max(1));
        let from = self.published_at(thread.video);
        let mut dice = self.dice(Purpose::Commented, place(thread.opening()));
        let way = (f64::from(thread.index) + dice.unit()) / f64::from(threads);
        from + part_of(self.newest_at - from, way * way * way)
    }

    /// Returns when a reply was written, the thread having this many.
    fn replied_at(&self, thread: ThreadKey, reply: u32, replies: u32) -> DateTime<Utc> {
        let from = self.commented_at(thread);
        let mut dice = self.dice(Purpose::Commented, place(thread.reply(reply)));
        let way = (f64::from(reply) + dice.unit()) / f64::from(replies.max(1));
        from + part_of((self.newest_at - from).min(TimeDelta::days(21)), way * way)
    }

    /// Draws which reply of a thread, if any, is the channel's own.
    fn owner_reply(&self, thread: ThreadKey, replies: u32) -> Option<u32> {
        let mut dice = self.dice(Purpose::Author, place(thread.opening()));
        (replies > 0 && dice.chance(260))
            .then(|| u32::try_from(dice.below(u64::from(replies.min(3)))).unwrap_or(0))
    }

    /// Writes a comment as the seed has it; `replies` is what the seed gave its thread.
    pub(crate) fn comment(&self, key: CommentKey, replies: u32, topic: &str) -> Comment {
        let published_at = match key.reply {
            None => self.commented_at(key.thread),
            Some(reply) => self.replied_at(key.thread, reply, replies),
        };
        let by_owner = key.reply.is_some() && self.owner_reply(key.thread, replies) == key.reply;
        self.comment_at(key, published_at, by_owner, topic)
    }

    /// Writes a comment whose time and author's role are known.
    pub(crate) fn comment_at(
        &self,
        key: CommentKey,
        published_at: DateTime<Utc>,
        by_owner: bool,
        topic: &str,
    ) -> Comment {
        let mut dice = self.dice(Purpose::Comment, place(key));
        let audience = self.channel(key.thread.video.channel).map_or(0, |channel| channel.comments) / 3 + 40;
        let author = match (by_owner, dice.below(audience), dice.chance(6)) {
            (true, ..) => Author::Owner,
            (false, number, true) => Author::Deleted(number),
            (false, number, false) => Author::Viewer(number),
        };
        let tongue = drawn(&mut dice, TONGUES, |tongue| tongue.share);
        let mut text = words(&mut dice, tongue, key, by_owner).replace("{topic}", topic);
        let likes = if key.reply.is_none() { dice.heavy_tail(900) - 1 } else { dice.heavy_tail(40) - 1 };
        let liked_by_owner = !by_owner && dice.chance(120);
        let mut updated_at = published_at;
        if !by_owner && dice.chance(40) {
            text.push_str("\nEdit: typo");
            updated_at = (published_at
                + TimeDelta::seconds(i64::try_from(dice.between(60, 86_400)).unwrap_or(60)))
            .min(self.newest_at.max(published_at));
        }
        Comment { key, author, text, likes, liked_by_owner, published_at, updated_at }
    }
}

fn words(dice: &mut Dice, tongue: &Tongue, key: CommentKey, by_owner: bool) -> String {
    if by_owner {
        return dice.pick(tongue.owner_replies).to_owned();
    }
    if key.reply.is_some() {
        return dice.pick(tongue.replies).to_owned();
    }
    let (intent, _) = drawn(dice, INTENTS, |&(_, share)| share);
    let words = dice.pick(tongue.of(*intent));
    // Tails are English, and would soften a complaint.
    let english = std::ptr::eq(tongue, &raw const TONGUES[0]);
    let tail = dice.pick(TAILS);
    if english && matches!(intent, Intent::Praise | Intent::Chatter | Intent::Request) {
        return format!("{words}{tail}");
    }
    words.to_owned()
}

/// Draws one of the choices by its share of 100.
fn drawn<'a, T>(dice: &mut Dice, choices: &'a [T], share: impl Fn(&T) -> u64) -> &'a T {
    let mut left = dice.below(100);
    for choice in choices {
        match left.checked_sub(share(choice)) {
            Some(rest) => left = rest,
            None => return choice,
        }
    }
    &choices[0]
}

fn place(key: CommentKey) -> [u64; 4] {
    [
        u64::from(key.thread.video.channel),
        u64::from(key.thread.video.index),
        u64::from(key.thread.index),
        key.reply.map_or(0, |reply| 1 + u64::from(reply)),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "seconds of some years fit a double"
)]
fn part_of(span: TimeDelta, part: f64) -> TimeDelta {
    TimeDelta::seconds((span.num_seconds() as f64 * part) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, world::keys::VideoKey};

    #[test]
    fn about_half_of_all_comments_are_replies_and_some_threads_need_a_walk() {
        let world = World::new(&Settings { videos: 1_000, comments: 100_000, ..Settings::default() });
        let channel = &world.channels[0];
        assert_eq!(channel.comments, 100_000);
        assert!((40_000..55_000).contains(&channel.threads), "{}", channel.threads);
        let walks = (0..)
            .zip(&channel.counts)
            .flat_map(|(index, counts)| {
                let video = VideoKey { channel: 0, index };
                (0..counts.threads).map(move |index| replies_drawn(world.seed, ThreadKey { video, index }))
            })
            .filter(|&replies| replies > 5)
            .count();
        assert!((3_000..6_000).contains(&walks), "{walks}");
    }

    #[test]
    fn handles_are_distinct_and_begin_with_an_at() {
        let handles: std::collections::HashSet<_> = (0..5_000).map(Author::handle).collect();
        assert_eq!(handles.len(), 5_000);
        assert!(handles.iter().all(|handle| handle.starts_with('@')));
    }
}
