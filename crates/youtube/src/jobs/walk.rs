//! The walk through a channel, page by page; each page commits with its cursor.
//!
//! ```text
//!   channel ─▶ uploads, 50 a page ─▶ videos with comments, several at once
//!                                       └─ threads, 100 a page, and the replies a thread was cut of
//! ```
//!
//! A page's transaction: rows, counts of the run, cursor, and last the job's own row, which is the fence:
//! it fails when the job was taken away, and it orders the pages that are stored at the same time. What
//! is in memory at any time is a page for each video being read. Cursors carry the job's id, so a new
//! sync starts from the beginning and a killed one goes on.

use std::collections::{BTreeMap, HashSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use greenroom_comments::{IncomingComment, upsert_many};
use greenroom_connections::youtube::Connection;
use greenroom_model::{JobId, Platform};
use greenroom_queue::Context;
use greenroom_sync::{Counts, Run, cursors, runs};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;

use super::tally::Tally;
use crate::client::comment_threads::Thread;
use crate::client::comments::Comment;
use crate::client::{Client, videos::BATCH};
use crate::error::Error;
use crate::store::videos::ToRead;
use crate::store::{channels, videos};

/// The stream of the uploads; a video's comments are `comments:` and its row's id.
const UPLOADS: &str = "uploads";
const COMMENTS: &str = "comments:";

/// Where a stream stands, for the job that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    job: JobId,
    /// The next page; `None` at the beginning.
    page: Option<String>,
    done: bool,
}

pub(super) struct Walk<'a> {
    pub ctx: &'a Context,
    pub pool: &'a PgPool,
    pub client: &'a Client,
    pub connection: &'a Connection,
    pub run: &'a Run,
    pub tally: Mutex<Tally>,
    pub videos_at_once: usize,
}

impl Walk<'_> {
    /// Reads the channel to its end, from wherever this job has got to.
    pub(super) async fn channel(&self) -> Result<(), Error> {
        let channel = self.client.channel(&self.connection.channel_id).await?;
        let channel = channel.ok_or_else(|| Error::ChannelGone(self.connection.channel_id.clone()))?;
        let mut tx = self.pool.begin().await?;
        channels::store(&mut tx, self.connection.id, &channel).await?;
        let uploads = self.begin(&mut tx).await?;
        tx.commit().await?;
        self.uploads(&channel.content_details.related_playlists.uploads, uploads).await?;
        self.comments().await
    }

    /// Returns where the uploads stand; what another job left is forgotten.
    async fn begin(&self, conn: &mut PgConnection) -> Result<Position, Error> {
        let stored: Option<Position> = cursors::get(conn, self.connection.id, UPLOADS).await?;
        if let Some(position) = stored.filter(|position| position.job == self.ctx.id()) {
            return Ok(position);
        }
        cursors::clear_all(conn, self.connection.id).await?;
        Ok(Position { job: self.ctx.id(), page: None, done: false })
    }

    async fn uploads(&self, playlist: &str, mut position: Position) -> Result<(), Error> {
        let mut pages = Pages::default();
        while !position.done {
            self.interruptible()?;
            let page = match self.client.uploads(playlist, position.page.as_deref()).await {
                Err(error) if pages.may_restart(&position, &error) => {
                    position.page = None;
                    continue;
                }
                // A channel that never had an upload has no playlist.
                Err(error) if error.reason() == Some("playlistNotFound") => return Ok(()),
                page => page?,
            };
            let ids: Vec<String> = page.items.into_iter().map(|item| item.content_details.video_id).collect();
            let repeated = pages.is_repeated(ids.iter().cloned().collect());
            let (mut found, mut unreadable) = (Vec::with_capacity(ids.len()), page.unreadable);
            for batch in ids.chunks(BATCH) {
                let videos = self.client.videos(batch).await?;
                unreadable += videos.unreadable;
                found.extend(videos.items);
            }
            let answered = found.len() as u64 + unreadable;
            let vanished = (ids.len() as u64).saturating_sub(answered);
            position.done = page.next_page_token.is_none() || repeated;
            position.page = page.next_page_token;

            let mut tx = self.pool.begin().await?;
            channels::must_be_active(&mut tx, self.connection.id).await?;
            let stored = videos::upsert_many(&mut tx, self.connection.id, &found).await?;
            cursors::put(&mut tx, self.connection.id, UPLOADS, &position).await?;
            let counts = Counts { videos: count(found.len()), comments: 0 };
            self.store_page(tx, counts, |tally| {
                tally.add_videos(stored);
                tally.skip("videoNotFound", vanished);
                tally.skip("unreadable", unreadable);
                tally.skip("repeatedPage", u64::from(repeated));
            })
            .await?;
        }
        Ok(())
    }

    async fn comments(&self) -> Result<(), Error> {
        let mut conn = self.pool.acquire().await?;
        let positions: Vec<(String, Position)> =
            cursors::under(&mut conn, self.connection.id, COMMENTS).await?;
        let to_read = videos::with_comments(&mut conn, self.connection.id).await?;
        drop(conn);
        let mut positions: BTreeMap<String, Position> = positions.into_iter().collect();
        let left = to_read.into_iter().filter_map(|video| {
            let position = positions
                .remove(&video.id.to_string())
                .filter(|position| position.job == self.ctx.id())
                .unwrap_or(Position { job: self.ctx.id(), page: None, done: false });
            (!position.done).then_some((video, position))
        });
        stream::iter(left.map(Ok))
            .try_for_each_concurrent(self.videos_at_once, |(video, position)| self.threads(video, position))
            .await
    }

    /// Reads one video's threads to their end.
    async fn threads(&self, video: ToRead, mut position: Position) -> Result<(), Error> {
        let mut pages = Pages::default();
        while !position.done {
            self.interruptible()?;
            let page = match self.client.threads(&video.video_id, position.page.as_deref()).await {
                Err(error) if pages.may_restart(&position, &error) => {
                    position.page = None;
                    continue;
                }
                Err(error) => match error.reason() {
                    Some(
                        reason @ ("commentsDisabled" | "videoNotFound" | "forbidden" | "processingFailure"),
                    ) => {
                        return self.skip(&video, position, reason.to_owned()).await;
                    }
                    _ => return Err(error),
                },
                Ok(page) => page,
            };
            let ids = page.items.iter().map(|thread| thread.snippet.top_level_comment.id.clone()).collect();
            let repeated = pages.is_repeated(ids);
            position.done = page.next_page_token.is_none() || repeated;
            position.page = page.next_page_token;
            let skipped = [("unreadable", page.unreadable), ("repeatedPage", u64::from(repeated))];
            self.store_threads(&video, &position, page.items, skipped).await?;
        }
        Ok(())
    }

    async fn store_threads(
        &self,
        video: &ToRead,
        position: &Position,
        threads: Vec<Thread>,
        skipped: [(&str, u64); 2],
    ) -> Result<(), Error> {
        let comments: Vec<Vec<IncomingComment>> = stream::iter(threads)
            .map(|thread| self.thread(video, thread))
            .buffered(self.videos_at_once)
            .try_collect()
            .await?;
        let comments = comments.concat();
        let mut tx = self.pool.begin().await?;
        channels::must_be_active(&mut tx, self.connection.id).await?;
        let stored = upsert_many(&mut tx, Platform::Youtube, self.connection.id, &comments).await?;
        cursors::put(&mut tx, self.connection.id, &stream_of(video), position).await?;
        let counts = Counts { videos: 0, comments: count(comments.len()) };
        self.store_page(tx, counts, |tally| {
            tally.add_comments(stored);
            for (reason, units) in skipped {
                tally.skip(reason, units);
            }
        })
        .await
    }

    /// Returns a thread's comments, fetching the replies it was cut of.
    async fn thread(&self, video: &ToRead, thread: Thread) -> Result<Vec<IncomingComment>, Error> {
        let cut = thread.is_cut();
        let replies_there_are = thread.snippet.total_reply_count;
        let top = thread.snippet.top_level_comment;
        let id = top.id.clone();
        let mut comments = vec![self.incoming(video, None, Some(replies_there_are), top)];
        let inline = thread.replies.map(|replies| replies.comments).unwrap_or_default();
        let replies = if cut { self.replies(&id).await? } else { inline };
        comments.extend(replies.into_iter().map(|reply| self.incoming(video, Some(&id), None, reply)));
        Ok(comments)
    }

    async fn replies(&self, thread: &str) -> Result<Vec<Comment>, Error> {
        let mut replies: Vec<Comment> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        let mut page: Option<String> = None;
        loop {
            self.interruptible()?;
            let answer = match self.client.replies(thread, page.as_deref()).await {
                // The thread was deleted since its page was read.
                Err(error) if error.reason() == Some("commentNotFound") => return Ok(replies),
                answer => answer?,
            };
            let before = replies.len();
            replies.extend(answer.items.into_iter().filter(|reply| seen.insert(reply.id.clone())));
            page = answer.next_page_token;
            if page.is_none() || replies.len() == before {
                return Ok(replies);
            }
        }
    }

    fn incoming(
        &self,
        video: &ToRead,
        parent: Option<&str>,
        replies: Option<i64>,
        comment: Comment,
    ) -> IncomingComment {
        let snippet = comment.snippet;
        let author_id = snippet.author_channel_id.and_then(|author| author.value);
        IncomingComment {
            comment_id: comment.id,
            piece: video.id.0,
            parent_comment_id: parent.map(str::to_owned).or(snippet.parent_id),
            author_name: snippet.author_display_name,
            by_owner: author_id.as_deref() == Some(self.connection.channel_id.as_str()),
            author_id,
            text: snippet.text_display,
            published_at: snippet.published_at,
            platform_updated_at: snippet.updated_at,
            like_count: u32::try_from(snippet.like_count).ok(),
            reply_count: replies.and_then(|replies| u32::try_from(replies).ok()),
            // The calls are made as the channel, so the viewer is the owner.
            liked_by_owner: snippet.viewer_rating.map(|rating| rating == "like"),
            moderation_status: snippet.moderation_status,
            is_hidden: None,
        }
    }

    /// Notes that a video's comments cannot be read; the sync goes on.
    async fn skip(&self, video: &ToRead, mut position: Position, reason: String) -> Result<(), Error> {
        position.done = true;
        let mut tx = self.pool.begin().await?;
        cursors::put(&mut tx, self.connection.id, &stream_of(video), &position).await?;
        self.store_page(tx, Counts::default(), |tally| tally.skip(&reason, 1)).await
    }

    /// Commits a page with the run's counts and the job's checkpoint and progress, under the fence.
    async fn store_page(
        &self,
        mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
        counts: Counts,
        add: impl FnOnce(&mut Tally),
    ) -> Result<(), Error> {
        // Held over the commit: checkpoints then stand in the order in which they grew.
        let mut tally = self.tally.lock().await;
        let mut grown = tally.clone();
        grown.pages += 1;
        add(&mut grown);
        runs::progress(&mut tx, self.run.id, counts).await?;
        self.ctx.save_checkpoint_and_progress(&mut tx, &grown, &grown.progress()).await?;
        tx.commit().await?;
        *tally = grown;
        Ok(())
    }

    fn interruptible(&self) -> Result<(), Error> {
        if self.ctx.is_interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

fn stream_of(video: &ToRead) -> String {
    format!("{COMMENTS}{}", video.id)
}

/// What a walk through the pages of one list remembers, so that it comes to an end.
#[derive(Default)]
struct Pages {
    last: HashSet<String>,
    restarted: bool,
}

impl Pages {
    /// Tells whether a page token has died and the list may be read from its beginning, which it may once.
    fn may_restart(&mut self, position: &Position, error: &Error) -> bool {
        let stale = matches!(error.reason(), Some("invalidPageToken" | "processingFailure"));
        if position.page.is_none() || !stale || self.restarted {
            return false;
        }
        // The first page is expected again.
        *self = Self { last: HashSet::new(), restarted: true };
        true
    }

    /// Tells a page that is the one before again: a server that ignores the token would serve it for ever.
    fn is_repeated(&mut self, ids: HashSet<String>) -> bool {
        let repeated = !ids.is_empty() && ids == self.last;
        self.last = ids;
        repeated
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
