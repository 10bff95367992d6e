//! Where things stand in the world, and the ids that YouTube would show for them.
//!
//! An id is its key, scrambled: reading one needs no table, so a world of 100,000 comments stores
//! none of them. Lengths and alphabets are YouTube's: 11 characters for a video, 26 for a comment,
//! `parent.suffix` for a reply.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::dice::{Dice, scramble, unscramble};

/// A video: its channel and its place there, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VideoKey {
    pub(crate) channel: u16,
    pub(crate) index: u32,
}

/// A comment thread: its video and its place there, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ThreadKey {
    pub(crate) video: VideoKey,
    pub(crate) index: u32,
}

/// A comment: a thread's opening, or one of its replies, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommentKey {
    pub(crate) thread: ThreadKey,
    pub(crate) reply: Option<u32>,
}

impl ThreadKey {
    /// Returns the comment that opens this thread.
    pub(crate) fn opening(self) -> CommentKey {
        CommentKey { thread: self, reply: None }
    }

    /// Returns one of the replies.
    pub(crate) fn reply(self, index: u32) -> CommentKey {
        CommentKey { thread: self, reply: Some(index) }
    }
}

/// Writes and reads ids; a world's seed is their key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    salt: u64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { salt: Dice::at(seed, &[0x1d5]).any() }
    }

    /// Returns the 22 characters that follow `UC` in a channel's id and `UU` in its uploads' id.
    pub(crate) fn channel(self, channel: u16) -> String {
        self.long(u64::from(channel))
    }

    /// Returns the same for somebody who only comments.
    pub(crate) fn author(self, author: u64) -> String {
        self.long(author | 1 << 63)
    }

    fn long(self, n: u64) -> String {
        let mut dice = Dice::at(self.salt, &[0xc4a, n]);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&dice.any().to_be_bytes());
        bytes[8..].copy_from_slice(&dice.any().to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn video(self, key: VideoKey) -> String {
        let packed = u64::from(key.channel) << 32 | u64::from(key.index);
        URL_SAFE_NO_PAD.encode((scramble(packed ^ self.salt)).to_be_bytes())
    }

    pub(crate) fn read_video(self, id: &str) -> Option<VideoKey> {
        let packed = unscramble(u64::from_be_bytes(decode(id)?)) ^ self.salt;
        Some(VideoKey {
            channel: u16::try_from(packed >> 32).ok()?,
            index: u32::try_from(packed & 0xffff_ffff).ok()?,
        })
    }

    pub(crate) fn comment(self, key: CommentKey) -> String {
        let place = (u64::from(key.thread.video.index) << 32 | u64::from(key.thread.index)) ^ self.salt;
        let channel = key.thread.video.channel;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&scramble(place).to_be_bytes());
        bytes[8..10].copy_from_slice(&(channel ^ self.mask(place, 1)).to_be_bytes());
        bytes[10..].copy_from_slice(&self.mask(place ^ u64::from(channel), 2).to_be_bytes());
        let thread = format!("Ugx{}4AaABAg", URL_SAFE_NO_PAD.encode(bytes));
        match key.reply {
            None => thread,
            Some(index) => {
                let suffix = scramble(u64::from(index) ^ place).to_be_bytes();
                format!("{thread}.9{}", URL_SAFE_NO_PAD.encode(suffix))
            }
        }
    }

    pub(crate) fn read_comment(self, id: &str) -> Option<CommentKey> {
        let (thread, suffix) = match id.split_once('.') {
            Some((thread, suffix)) => (thread, Some(suffix)),
            None => (id, None),
        };
        let bytes: [u8; 12] = decode(thread.strip_prefix("Ugx")?.strip_suffix("4AaABAg")?)?;
        let (high, low) = (bytes.first_chunk::<8>()?, bytes.last_chunk::<4>()?);
        let place = unscramble(u64::from_be_bytes(*high));
        let channel = u16::from_be_bytes([low[0], low[1]]) ^ self.mask(place, 1);
        if u16::from_be_bytes([low[2], low[3]]) != self.mask(place ^ u64::from(channel), 2) {
            return None;
        }
        let plain = place ^ self.salt;
        let video = VideoKey { channel, index: u32::try_from(plain >> 32).ok()? };
        let thread = ThreadKey { video, index: u32::try_from(plain & 0xffff_ffff).ok()? };
        let reply = match suffix {
            None => None,
            Some(suffix) => {
                let packed = unscramble(u64::from_be_bytes(decode(suffix.strip_prefix('9')?)?)) ^ place;
                Some(u32::try_from(packed).ok()?)
            }
        };
        Some(CommentKey { thread, reply })
    }

    /// Derives 16 bits that tell a made-up id from one of ours.
    fn mask(self, place: u64, purpose: u64) -> u16 {
        u16::try_from(scramble(place ^ self.salt.rotate_left(17) ^ purpose) >> 48).unwrap_or(0)
    }

    /// Writes a page token: a position that only the same walk of the same world can read.
    pub(crate) fn page_token(self, walk: u64, position: u64) -> String {
        let masked = scramble(position ^ self.salt ^ scramble(walk));
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&masked.to_be_bytes());
        bytes[8..].copy_from_slice(&self.check(walk, masked));
        format!("EAAa{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn read_page_token(self, walk: u64, token: &str) -> Option<u64> {
        let bytes: [u8; 12] = decode(token.strip_prefix("EAAa")?)?;
        let masked = u64::from_be_bytes(*bytes.first_chunk()?);
        (*bytes.last_chunk::<4>()? == self.check(walk, masked))
            .then(|| unscramble(masked) ^ self.salt ^ scramble(walk))
    }

    fn check(self, walk: u64, masked: u64) -> [u8; 4] {
        let word = scramble(masked ^ self.salt.rotate_left(31) ^ walk).to_be_bytes();
        [word[0], word[1], word[2], word[3]]
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_look_like_youtubes() {
        let ids = Ids::new(3);
        for (channel, index) in [(0, 0), (0, 1), (7, 999_999), (u16::MAX, u32::MAX)] {
            let video = VideoKey { channel, index };
            let id = ids.video(video);
            assert_eq!((id.len(), ids.read_video(&id)), (11, Some(video)));
            for thread in [0, 1, u32::MAX] {
                let thread = ThreadKey { video, index: thread };
                let id = ids.comment(thread.opening());
                assert_eq!((id.len(), ids.read_comment(&id)), (26, Some(thread.opening())));
                let reply = ids.comment(thread.reply(12));
                assert_eq!(ids.read_comment(&reply), Some(thread.reply(12)));
                assert!(reply.starts_with(&format!("{id}.")));
            }
        }
    }

    #[test]
    fn what_another_world_wrote_is_not_read() {
        let (ours, theirs) = (Ids::new(1), Ids::new(2));
        let thread = ThreadKey { video: VideoKey { channel: 0, index: 1 }, index: 2 };
        assert_eq!(ours.read_comment(&theirs.comment(thread.opening())), None);
        assert_eq!(ours.read_comment("UgxAAAAAAAAAAAAAAAA4AaABAg"), None);
        assert_eq!(ours.read_comment("nonsense"), None);
        assert_eq!(ours.read_page_token(9, &theirs.page_token(9, 100)), None);
    }

    #[test]
    fn a_page_token_belongs_to_its_walk() {
        let ids = Ids::new(1);
        let token = ids.page_token(5, 200);
        assert_eq!(ids.read_page_token(5, &token), Some(200));
        assert_eq!(ids.read_page_token(6, &token), None);
        assert_eq!(ids.read_page_token(5, "EAAa"), None);
        assert_eq!(ids.read_page_token(5, "CAUQAA"), None);
    }
}
